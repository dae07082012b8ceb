"""The oldest version of a runtime that runs a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Runtime:
    """A runtime, and the oldest version of it that has all that a model asks of it.

    Attributes:
        name: Such as "TensorFlow Lite".
        oldest: Such as "2.14".
    """

    name: str
    oldest: str

    def __str__(self) -> str:
        return f"{self.name} {self.oldest} or newer"


def version_key(version: str) -> tuple[int, ...]:
    """What versions such as "2.9" and "2.14" are sorted by."""
    return tuple(int(number) for number in version.split("."))

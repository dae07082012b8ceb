"""A known fault of apps: what it changes of the right preparation, in words and as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fault:
    """A way in which apps prepare inputs otherwise than the training did.

    Attributes:
        key: Its name for programs; the variants of one fault share it.
        title: What is wrong, in words.
        cure: What to change in the app, with the model's own values.
        changes: Fields of the preparation that it sets; two faults that set none in common can
            come together.
        likely: Whether it is tried together with others.
    """

    key: str
    title: str
    cure: str
    changes: Mapping[str, Any] = field(hash=False)
    likely: bool = False


def together(first: Fault, second: Fault) -> bool:
    """Whether two faults can come together."""
    return not first.changes.keys() & second.changes.keys()

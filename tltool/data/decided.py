"""What a table of decisions changed of some data: see `tltool.data.decisions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tltool.support.words import count


@dataclass(frozen=True)
class Decided:
    """What decisions changed.

    Attributes:
        file: The table, as it was named.
        sha256: Of its content, in hex.
        dropped: Origins of rows that were left out.
        relabelled: Origin, label before and label after, in words.
        kept: Contents (sha256, in hex) and labels of rows that someone looked at and left.
        findings: How many rows of the table have each finding and decision, by both; either is
            empty where there is none.
        shown: The inputs of some of the rows that were left out or changed, by origin.
        pictures: Whether inputs are pictures.
    """

    file: str
    sha256: str
    dropped: tuple[str, ...] = ()
    relabelled: tuple[tuple[str, str, str], ...] = ()
    kept: frozenset[tuple[str, str]] = field(default=frozenset())
    findings: Mapping[tuple[str, str], int] = field(default_factory=dict)
    shown: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    pictures: bool = False

    def __str__(self) -> str:
        return (
            f"data.decisions: by {self.file}, {count(len(self.dropped), 'row')} left out and "
            f"{count(len(self.relabelled), 'label')} changed; the data itself is as it was"
        )

    def counted(self) -> dict[str, Any]:
        """The table, and how many rows it changed, as JSON values."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "dropped": len(self.dropped),
            "relabelled": len(self.relabelled),
            "kept": len(self.kept),
        }

    def to_json(self) -> dict[str, Any]:
        """The same with the rows that were changed."""
        return {
            **self.counted(),
            "dropped": list(self.dropped),
            "relabelled": [dict(zip(("origin", "before", "after"), one, strict=True))
                           for one in self.relabelled],
        }  # fmt: skip

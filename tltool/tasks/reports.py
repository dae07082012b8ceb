"""What a kind of target gives to reports, as plain values: scores, tables, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tltool.support.words import number, percent


@dataclass(frozen=True)
class Score:
    """A figure of merit.

    Attributes:
        key: In metrics; `KEY_interval` holds its 95 % interval where it has one.
        title: For people.
        share: Whether it is a share, shown in per cent.
        higher_is_better: Which direction is better.
    """

    key: str
    title: str
    share: bool = False
    higher_is_better: bool = True

    def text(self, value: float | None) -> str:
        """A value of it for people."""
        if value is None or not self.share:
            return number(value)
        return percent(value)


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: Its heading.
        header: Names of the columns; the first is text, the others are numbers.
        rows: Cells.
        brief: Those rows that a short report shows, and a note on the others; None shows all.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    brief: tuple[str, Sequence[Sequence[str]], str] | None = None


@dataclass(frozen=True)
class Matrix:
    """Counts of true (rows) and predicted (columns) classes.

    Attributes:
        counts: (classes, classes).
        labels: Names of the classes.
        true, predicted: Class numbers of each row that was counted, (n,).
        title: What it shows.
    """

    counts: Sequence[Sequence[int]]
    labels: Sequence[str]
    true: Any = field(default=(), repr=False, compare=False)
    predicted: Any = field(default=(), repr=False, compare=False)
    title: str = "Confusion matrix"


@dataclass(frozen=True)
class Scatter:
    """Predicted against true values: for each number its name, predictions and truths (n,)."""

    panels: Sequence[tuple[str, Any, Any]]
    title: str = "Predicted against true values"


@dataclass(frozen=True)
class Bars:
    """Shares (0..1) of each label, several of them side by side."""

    labels: Sequence[str]
    shares: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    title: str = "Scores of each label"


@dataclass(frozen=True)
class Map:
    """Points in a plane, (n, 2), and the name of each one's group, the first ones in colours."""

    points: Any
    names: Sequence[str]
    title: str


Picture = Matrix | Scatter | Bars | Map

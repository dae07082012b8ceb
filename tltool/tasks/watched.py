"""What is watched of rows that a model answers, to tell whether they drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

CONFIDENCE = "confidence"
"""The column that says how probable a model finds its answer."""
MOST_NAMES = 200
"""Of more names than these the rates say little, and are not watched by themselves."""
LEAST_WATCHED = 1e-4
"""Probabilities below this are one to who watches: 8 bits cannot tell them apart."""


@dataclass(frozen=True)
class Watched:
    """Answers to n rows, as plain numbers and words.

    Attributes:
        columns: Values (n,) by name: numbers, or names as strings.
        vectors: float64 (n, k): the whole answer of each row, such as its logits.
        names: All that can stand in each column of names. Those that some rows happen to have
            would not do: of a name that only other rows have, any is too many.
    """

    columns: Mapping[str, Array]
    vectors: Array
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

"""Sets of classes that hold the right one at a stated rate: split conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def least_rows(coverage: float) -> int:
    """Rows that a set of that coverage needs: with fewer, only the set of all classes has it."""
    # Of shares such as 0.9, which no float is, the quotient is a little above a whole number.
    return math.ceil(coverage / (1 - coverage) - 1e-9)


@dataclass(frozen=True)
class PredictionSets:
    """From which probability on a class is in the set of an input.

    The least ambiguous sets of a given coverage: Sadinle, Lei and Wasserman 2019
    (arXiv:1609.00451); see Angelopoulos and Bates 2021 (arXiv:2107.07511, section 1).

    Attributes:
        coverage: Share of inputs whose set was to hold the right class.
        threshold: The lowest probability of a class that is in the set.
        rows: Rows that it was chosen on.
    """

    coverage: float
    threshold: float
    rows: int

    @classmethod
    def of(cls, likely: Array, coverage: float) -> Self:
        """The sets as small as the coverage allows.

        Args:
            likely: Probability of the true class of rows that were not trained on, (n,).
            coverage: Above 0 and below 1.
        """
        from tltool.tasks.unknown.scores import threshold_of

        return cls(coverage, 1 - threshold_of(1 - likely.astype("float64"), coverage), len(likely))

    def members(self, probabilities: Array) -> Array:
        """Which classes are in the set, bool (n, classes): the most probable one always is."""
        best = probabilities.max(axis=-1, keepdims=True)
        found: Array = (probabilities >= self.threshold) | (probabilities == best)
        return found

    def metrics(self, probabilities: Array, likely: Array) -> dict[str, Any]:
        """What the sets of labelled rows are worth.

        Args:
            probabilities: (n, classes), or the highest of each row.
            likely: Of the true class, (n,).

        Returns:
            The settings; `found_coverage`, the share of sets that hold the right class; `mean_size`
            and `share_of_one`, how many classes they hold.
        """
        members = self.members(probabilities)
        sizes = members.sum(axis=-1)
        held = (likely >= self.threshold) | (likely == probabilities.max(axis=-1))
        return {
            **self.to_json(),
            "found_coverage": float(held.mean()),
            "mean_size": float(sizes.mean()),
            "share_of_one": float((sizes == 1).mean()),
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Restores it.

        Raises:
            LookupError, TypeError, ValueError: The values are not those of it.
        """
        return cls(float(values["coverage"]), float(values["threshold"]), int(values["rows"]))

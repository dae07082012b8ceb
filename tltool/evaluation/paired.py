"""Two models on the same rows: which is better, and on which rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tltool.data.examples import Examples
from tltool.evaluation.comparison import Comparison, compare
from tltool.tasks.target import Target

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Paired:
    """What two models say of the same rows.

    Attributes:
        examples: The rows.
        target: Says it in words.
        before, after: Outputs of the first model and of the second, as `Target.kept` gives them.
        comparison: How much better the second is; None where a score is undefined.
        gained, lost: Numbers of rows on which the second is better, or worse, by the most first;
            None where rows are not judged one by one.
    """

    examples: Examples
    target: Target
    before: Any
    after: Any
    comparison: Comparison | None
    gained: Array | None
    lost: Array | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; rows by where they came from."""
        origins = self.examples.origins
        named = {
            name: None if rows is None else [origins[row] for row in rows.tolist()]
            for name, rows in (("gained", self.gained), ("lost", self.lost))
        }
        comparison = None if self.comparison is None else self.comparison.to_json()
        return {"rows": len(self.examples), "comparison": comparison, **named}


def pair(examples: Examples, target: Target, before: Array, after: Array) -> Paired:
    """Sets two models' outputs on the same rows side by side.

    Raises:
        DataError: A row without target or with a label that is not known.
    """
    truth = target.truth(examples.targets, examples.origins)
    gained = lost = None
    judged = [target.row_errors(outputs, truth) for outputs in (before, after)]
    if judged[0] is not None and judged[1] is not None:
        change = judged[1][1] - judged[0][1]
        order = np.argsort(change, kind="stable")
        gained = order[change[order] < 0]
        lost = np.argsort(-change, kind="stable")[: int((change > 0).sum())]
    comparison = compare(after, before, truth, target)
    return Paired(examples, target, before, after, comparison, gained, lost)

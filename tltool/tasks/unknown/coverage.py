"""What a model's answers are worth where it may refuse the inputs that it knows least."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SHARES = (1.0, 0.99, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Of the rows, those of the lowest scores, that the curve is of."""


def coverage_curve(scores: Array, right: Array | None) -> list[dict[str, Any]]:
    """How often answers are right among the rows that are known best (the risk-coverage curve of
    Geifman and El-Yaniv 2017, arXiv:1705.08500).

    Args:
        scores: How unknown each row is, (n,).
        right: Whether its answer is right, bool (n,); None where that is not known.

    Returns:
        For each of `SHARES` its `coverage`, `rows`, and the `accuracy` of these rows or None.
    """
    order = np.argsort(scores, kind="stable")
    curve = []
    for share in SHARES:
        rows = max(1, round(share * len(scores)))
        accuracy = None if right is None else float(right[order[:rows]].mean())
        curve.append({"coverage": share, "rows": rows, "accuracy": accuracy})
    return curve

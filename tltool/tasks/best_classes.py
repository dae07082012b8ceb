"""Of the probabilities of very many classes the best of each row, which is all that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MANY_CLASSES = 1_000
"""With more classes, evaluation makes no table of rows by classes or of classes by classes."""
BEST = 20
"""Classes of each row that are kept then."""


def best_classes(probabilities: Array, truth: Sequence[int] | Array) -> Array:
    """What is kept of rows of probabilities.

    Args:
        probabilities: (n, classes), more than `BEST` of them.
        truth: The class of each row (n,), -1 where it is not known.

    Returns:
        Records (n,): `classes` (int32) and their `probabilities` (float32), `BEST` of
        each, the highest first and of equal ones that of the lower number; and `likely`,
        the probability of the true class, 0 where that is not known. All NaN in rows where
        one of the probabilities is not a finite number.
    """
    import numpy as np

    fields = [("classes", "i4", BEST), ("probabilities", "f4", BEST), ("likely", "f4")]
    kept = np.zeros(len(probabilities), fields)
    classes = np.argpartition(-probabilities, BEST, axis=1)[:, :BEST]
    # Of more equal ones than fit, the first is among them.
    first = probabilities.argmax(axis=1)
    absent = (classes != first[:, None]).all(axis=1)
    classes[absent, -1] = first[absent]
    values = np.take_along_axis(probabilities, classes, axis=1)
    order = np.lexsort((classes, -values))
    kept["classes"] = np.take_along_axis(classes, order, axis=1)
    kept["probabilities"] = np.take_along_axis(values, order, axis=1)
    numbers = np.asarray(truth)
    rows = np.flatnonzero(numbers >= 0)
    kept["likely"][rows] = probabilities[rows, numbers[rows]]
    bad = ~np.isfinite(probabilities).all(axis=1)
    kept["probabilities"][bad] = kept["likely"][bad] = np.nan
    return kept

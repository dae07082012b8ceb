"""How often what a model states with some probability comes true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tltool.tasks.metrics.common import wilson_interval

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Statements of much the same probability.

    Attributes:
        stated: Their mean probability.
        came_true: Share of them that came true.
        interval: 95 % of that share (Wilson 1927).
        count: How many there are.
    """

    stated: float
    came_true: float
    interval: tuple[float, float]
    count: int


def reliability(stated: np.ndarray[Any, Any], came_true: np.ndarray[Any, Any]) -> list[Bin]:
    """Ten bins of equal width, those with statements, from 0 to 1.

    A reliability diagram draws them: DeGroot and Fienberg 1983; Guo et al. 2017
    (arXiv:1706.04599), section 2.

    Args:
        stated: Probabilities (n,).
        came_true: bool (n,).
    """
    numbers = np.minimum((np.asarray(stated, np.float64) * BINS).astype(np.int64), BINS - 1)
    found = []
    for number in np.unique(numbers).tolist():
        own = numbers == number
        count, hits = int(own.sum()), int(came_true[own].sum())
        mean = float(stated[own].mean(dtype=np.float64))
        found.append(Bin(mean, hits / count, wilson_interval(hits, count), count))
    return found

"""Which of two models is better on the same rows, told from the luck of these rows.

Two models are right and wrong on much the same rows, so that intervals of each by
itself hide a difference that a paired one shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from tltool.tasks.target import Target

Array = np.ndarray[Any, Any]

RESAMPLES = 1000
_SEED = 0
_TAIL = 0.025
# Of draws x rows that are held at once.
_MOST_CELLS = 8_000_000


@dataclass(frozen=True)
class Comparison:
    """How much better a model is than another one on the same rows.

    Attributes:
        gain: Its headline score less the other's; of errors the other's less its own. So more is
            better, and 0 is as good.
        interval: 95 % of it; None for one row.
        value, other: The two scores.
        rows: How many were compared.
        method: How the interval was found.
    """

    gain: float
    interval: tuple[float, float] | None
    value: float
    other: float
    rows: int
    method: str

    @property
    def is_better(self) -> bool:
        """Whether the gain is more than these rows could give by chance."""
        return self.interval is not None and self.interval[0] > 0

    @property
    def is_worse(self) -> bool:
        """Whether the loss is more than these rows could give by chance."""
        return self.interval is not None and self.interval[1] < 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def compare(outputs: Array, others: Array, truth: Array, target: Target) -> Comparison | None:
    """Compares two models' outputs on the same rows; None where a score is undefined on them.

    Where the headline is the share of rows that are right, by the rows on which the models differ
    (McNemar 1947): of these, the share that the first one has right has an exact interval (Clopper
    and Pearson 1934), which leaves out one half just where McNemar's exact test rejects. Of other
    scores, by a percentile bootstrap of the rows (Efron and Tibshirani 1993, chapter 13), the same
    draws for both, seeded.

    Args:
        outputs, others: As `Target.kept` gives them.
        truth: Of the rows.
        target: Measures.
    """
    right, also = target.right(outputs, truth), target.right(others, truth)
    if right is not None and also is not None:
        return _of_shares(right, also) if len(right) else None
    once = np.ones((1, len(truth)))
    value, other = (float(target.resampled(x, truth, once)[0]) for x in (outputs, others))
    if not np.isfinite(value - other):
        return None
    sign = 1.0 if target.headline().higher_is_better else -1.0
    interval = None
    if len(truth) > 1:
        gains = [
            sign * (target.resampled(outputs, truth, c) - target.resampled(others, truth, c))
            for c in _draws(len(truth))
        ]
        # A draw can lack what a score needs, such as rows of any label.
        low, high = np.nanquantile(np.concatenate(gains), (_TAIL, 1 - _TAIL))
        interval = float(low), float(high)
    method = f"paired bootstrap, {RESAMPLES} draws of the rows"
    return Comparison(sign * (value - other), interval, value, other, len(truth), method)


def _of_shares(right: Array, also: Array) -> Comparison:
    """Of the shares of rows that two models have right, bool (n,) each."""
    rows = len(right)
    won, lost = int((right & ~also).sum()), int((~right & also).sum())
    differ = won + lost
    low = beta.ppf(_TAIL, won, lost + 1) if won else 0.0
    high = beta.ppf(1 - _TAIL, won + 1, lost) if lost else 1.0
    interval = tuple(float(differ / rows * (2 * share - 1)) for share in (low, high))
    method = f"exact, by the {differ:,} rows that one of the two alone has right (McNemar)"
    value, other = float(right.mean()), float(also.mean())
    return Comparison((won - lost) / rows, (interval[0], interval[1]), value, other, rows, method)


def _draws(rows: int) -> Iterator[Array]:
    """How often each row is drawn, in parts of the draws: (draws, rows)."""
    rng = np.random.default_rng(_SEED)
    step = max(1, _MOST_CELLS // rows)
    for start in range(0, RESAMPLES, step):
        drawn = (rng.integers(0, rows, rows) for _ in range(min(step, RESAMPLES - start)))
        yield np.stack([np.bincount(one, minlength=rows) for one in drawn]).astype(np.float64)

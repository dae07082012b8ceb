"""Intervals and checks that the metrics of all kinds share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tltool.support.errors import EvaluationError

Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which holds for few rows and near 0 and 1."""
    share, z2 = successes / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def rank_correlation_interval(correlation: float | None, n: int) -> list[float] | None:
    """The 95 % interval of Spearman's correlation (Bonett and Wright 2000); None for few rows."""
    if correlation is None or n < 4 or abs(correlation) >= 1:
        return None
    half = Z95 * math.sqrt((1 + correlation**2 / 2) / (n - 3))
    return [math.tanh(math.atanh(correlation) + side) for side in (-half, half)]


def check_rows(outputs: np.ndarray, targets: np.ndarray) -> None:
    """Raises EvaluationError unless there are as many outputs as targets, all of them finite."""
    if len(outputs) == 0 or outputs.shape[0] != targets.shape[0]:
        raise EvaluationError(
            "As many outputs as targets are needed, at least one. "
            f"Received: outputs {outputs.shape}, targets {targets.shape}."
        )
    for name, values in (("outputs", outputs), ("targets", targets)):
        if bad := int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum()):
            raise EvaluationError(
                f"{bad} of {len(values)} {name} are not finite numbers.",
                hint="outputs like these mean that training diverged: lower the learning rate",
            )


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return float(np.mean(values))


def finite(value: float) -> float | None:
    """A number, or None where it is none."""
    return float(value) if math.isfinite(value) else None


def mean_interval(values: np.ndarray) -> list[float] | None:
    """The 95 % interval of the mean of positive values (normal approximation); None for one."""
    if len(values) < 2:
        return None
    mean, half = float(values.mean()), Z95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return [max(0.0, mean - half), mean + half] if math.isfinite(mean + half) else None


def sign_test_p(worse: int, better: int) -> float:
    """How often luck makes as many of the rows that changed worse: the sign test, one-sided.

    Of rows that are right or wrong it is McNemar's exact test.
    """
    from scipy.stats import binomtest

    changed = worse + better
    return float(binomtest(worse, changed, alternative="greater").pvalue) if changed else 1.0

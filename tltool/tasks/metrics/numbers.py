"""Errors of predicted numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from tltool.support.errors import EvaluationError
from tltool.tasks.metrics.common import check_rows, finite, mean, mean_interval


def numbers_metrics(
    predictions: np.ndarray, targets: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Errors of one number a row, or of several and their mean.

    Args:
        predictions, targets: (n,), or (n, numbers).
        names: Of the numbers.

    Returns:
        As `regression_metrics`, the mean over the numbers where there are
        several (None where one of them has none; no interval), and then
        `per_number`: the same of each, with its `name`.
    """
    if len(names) == 1:
        return regression_metrics(predictions, targets)
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    if predictions.shape != targets.shape or predictions.shape[1:] != (len(names),):
        raise EvaluationError(
            f"Numbers of shape (n, {len(names)}) are needed. Received: outputs "
            f"{predictions.shape}, targets {targets.shape}."
        )
    rows = [
        {"name": name, **regression_metrics(predictions[:, i], targets[:, i])}
        for i, name in enumerate(names)
    ]
    means = {key: _mean_of([row[key] for row in rows]) for key in _SCORES}
    return {"n": len(targets), **means, "mae_interval": None, "per_number": rows}


_SCORES = ("mae", "rmse", "r2", "pearson", "spearman")


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def regression_metrics(predictions: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Errors of predicted numbers, in the units of the targets.

    Args:
        predictions: (n,) or (n, 1).
        targets: (n,).

    Returns:
        `n`, `mae` with `mae_interval` (95 %, normal approximation of the mean;
        None for one row), `rmse`, `r2`, `pearson`, `spearman` (None where the
        values are constant or there is just one row).

    Raises:
        EvaluationError: No rows, different lengths, or values that are not finite.
    """
    predictions = np.asarray(predictions, dtype=np.float64).reshape(-1)
    targets = np.asarray(targets, dtype=np.float64).reshape(-1)
    check_rows(predictions, targets)
    errors = np.abs(predictions - targets)
    with np.errstate(all="ignore"):  # what overflows or vanishes is reported as None
        return {
            "n": len(targets),
            "mae": finite(errors.mean()),
            "mae_interval": mean_interval(errors),
            "rmse": finite(sk.root_mean_squared_error(targets, predictions)),
            "r2": finite(sk.r2_score(targets, predictions)) if np.ptp(targets) > 0 else None,
            "pearson": _correlation(predictions, targets),
            "spearman": _correlation(_ranks(predictions), _ranks(targets)),
        }


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing their mean rank."""
    import pandas as pd

    return pd.Series(values).rank().to_numpy()


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    # Scaled to 0..1 first, lest the squares of very large or small values over- or underflow.
    scaled = [(values - values.min()) / np.ptp(values) for values in (first, second)]
    return finite(np.corrcoef(*scaled)[0, 1])

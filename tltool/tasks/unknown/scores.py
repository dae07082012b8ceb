"""Scores of how unlike the training rows an input is, fitted on the features of these rows.

- `knn`: the distance to the k-th nearest training feature, all of length 1 (Sun et al. 2022,
  "Out-of-Distribution Detection with Deep Nearest Neighbors", arXiv:2204.06507).
- `mahalanobis`: the distance to the nearest mean of a class, under one covariance of all classes
  (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples",
  arXiv:1807.03888), which is shrunk as Ledoit and Wolf 2004 do.
- `max_probability`: 1 minus the highest probability (Hendrycks and Gimpel 2017, arXiv:1610.02136).
- `energy`: minus the log-sum-exp of the logits (Liu et al. 2020, arXiv:2010.03759).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tltool.tasks.unknown.settings import Method

if TYPE_CHECKING:
    from tltool.tasks.unknown.layers import UnknownScore

Array = np.ndarray[Any, Any]

MOST_STORED = 1_000
"""Features that a `knn` score keeps, drawn from the training rows: 1.5 MB of 384 channels."""
MOST_DIRECTIONS = 256
"""Directions that a `mahalanobis` score keeps of more channels, those of the largest variance."""
_MOST_NEIGHBOURS, _ROWS_A_NEIGHBOUR = 10, 50


def fit_score(method: Method, features: Array, groups: Array, seed: int) -> UnknownScore:
    """Fits a score on training rows.

    Args:
        method: Which one.
        features: (n, channels), at least two rows.
        groups: The class of each row, whole numbers (n,).
        seed: Of the draw of what `knn` keeps.
    """
    from tltool.tasks.unknown.layers import UnknownScore

    if method == "knn":
        bank = _unit(_some(features, MOST_STORED, seed))
        neighbours = max(1, min(_MOST_NEIGHBOURS, len(bank) // _ROWS_A_NEIGHBOUR))
        return UnknownScore.of(method, {"bank": bank.T}, neighbours)
    if method == "mahalanobis":
        return UnknownScore.of(method, _whitened(features, groups))
    return UnknownScore.of(method, {})


def threshold_of(scores: Array, coverage: float) -> float:
    """The score up to which that share of rows like these is accepted, at least.

    It lies between the ceil((n + 1) coverage)-th smallest of n scores and the next: the quantile of
    split conformal prediction, whose rate holds on average over draws of the rows (Vovk et al.
    2005; Angelopoulos and Bates 2021, arXiv:2107.07511, section 1).

    Args:
        scores: Of rows that the score was not fitted on, (n,), at least one.
        coverage: Above 0 and below 1.
    """
    place = min(math.ceil((len(scores) + 1) * coverage), len(scores))
    ordered = np.sort(scores)
    # Halfway to the next one: arithmetic in another order must not decide about a row.
    return float(ordered[place - 1 : place + 1].mean())


def _some(rows: Array, most: int, seed: int) -> Array:
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])]


def _unit(features: Array) -> Array:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)


def _whitened(features: Array, groups: Array) -> dict[str, Array]:
    """What makes the covariance within classes the identity, and the classes' means under it."""
    from sklearn.covariance import LedoitWolf

    values = features.astype(np.float64)
    numbers, place = np.unique(groups, return_inverse=True)
    means = np.stack([values[place == i].mean(axis=0) for i in range(len(numbers))])
    within = values - means[place]
    covariance = LedoitWolf(assume_centered=True, store_precision=False).fit(within).covariance_
    variances, directions = np.linalg.eigh(covariance)
    kept = np.argsort(variances)[::-1][:MOST_DIRECTIONS]
    least = np.finfo(np.float32).eps * max(float(variances.max()), 1e-12)
    whitening = directions[:, kept] / np.sqrt(np.maximum(variances[kept], least))
    centre = values.mean(axis=0)
    white = (means - centre) @ whitening
    lengths = np.square(white).sum(axis=1)[None]
    return {"centre": centre, "whitening": whitening, "means": white.T, "lengths": lengths}

"""LogME: how well features suit a target, without training anything.

You, Liu, Wang and Long 2021, "LogME: Practical Assessment of Pre-trained
Models for Transfer Learning" (arXiv:2102.11005): the logarithm of the evidence
of a Bayesian linear model, its two precisions chosen to maximise it, for each
example.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_MAX_STEPS = 500
_TOLERANCE = 1e-6
# Precisions beyond these come of targets without noise or without signal; the
# evidence hardly changes there.
_LARGEST, _SMALLEST = 1e12, 1e-12


def logme(features: np.ndarray, targets: np.ndarray) -> float:
    """The LogME score; higher is better.

    Its value compares features of the same examples and targets, and only
    those: it depends on the scale of the targets.

    Args:
        features: (n, channels), finite, as the backbone gives them.
        targets: (n, outputs): one-hot for classes, of which each is scored
            against the rest; numbers for regression. The mean over outputs is
            taken.
    """
    spectrum = _Spectrum.of(np.asarray(features, np.float64))
    columns = np.asarray(targets, np.float64).T
    return float(np.mean([_largest_evidence(spectrum, y) for y in columns])) / len(features)


@dataclass(frozen=True)
class _Spectrum:
    """The singular value decomposition of the features F (n, channels).

    Attributes:
        left: Left singular vectors (n, rank).
        squares: Squared singular values (rank,), above 0.
    """

    left: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> _Spectrum:
        # The smaller of FᵀF and FFᵀ is much faster to decompose than F itself.
        wide = features.shape[0] < features.shape[1]
        squares, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
        kept = squares > max(features.shape) * np.finfo(np.float64).eps * squares.max(initial=0.0)
        squares, vectors = squares[kept], vectors[:, kept]
        return cls(vectors if wide else features @ vectors / np.sqrt(squares), squares)


def _largest_evidence(spectrum: _Spectrum, target: np.ndarray) -> float:
    """log p(y | F, α, β) at the precisions α of the weights and β of the noise that maximise it.

    By the paper's fixed point: α = γ / mᵀm and β = (n - γ) / ‖Fm - y‖², with
    m the mean of the weights and γ = Σ βσ² / (α + βσ²).
    """
    count, squares = len(target), spectrum.squares
    projected = (spectrum.left.T @ target) ** 2
    outside = max(0.0, float(target @ target) - float(projected.sum()))
    alpha = beta = 1.0
    for _ in range(_MAX_STEPS):
        ratio = alpha / beta
        gamma = float((squares / (squares + ratio)).sum())
        weights, residual = _norms(squares, projected, outside, ratio)
        alpha = _bounded(gamma, weights)
        beta = _bounded(count - gamma, residual)
        if abs(alpha / beta - ratio) <= _TOLERANCE * ratio:
            break
    weights, residual = _norms(squares, projected, outside, alpha / beta)
    return (
        0.5 * count * math.log(beta / (2 * math.pi))
        - 0.5 * beta * residual
        - 0.5 * alpha * weights
        # ½ (rank log α - log |αI + βFᵀF|), of which channels beyond the rank cancel.
        - 0.5 * float(np.log1p(beta / alpha * squares).sum())
    )


def _norms(
    squares: np.ndarray, projected: np.ndarray, outside: float, ratio: float
) -> tuple[float, float]:
    """mᵀm and ‖Fm - y‖² for α / β = `ratio`."""
    weights = (squares * projected / (squares + ratio) ** 2).sum()
    residual = (projected * (ratio / (squares + ratio)) ** 2).sum() + outside
    return float(weights), float(residual)


def _bounded(numerator: float, denominator: float) -> float:
    if denominator <= numerator * _SMALLEST:
        return _LARGEST
    return max(_SMALLEST, numerator / denominator)

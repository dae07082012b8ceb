"""Rows of an epoch drawn by class, so that rare classes are seen more often than they come."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf

Sampling = Literal["balanced", "sqrt"]


class ClassSampling:
    """Draws the rows of an epoch: as many as there are, of each class its share.

    "balanced" gives each class the same share, "sqrt" one that grows with the root of its
    rows (Mahajan et al. 2018, arXiv:1805.00932, section 2.2). Within a class each row comes once
    before any comes again; of those for which there is no room others are left out in each epoch.

    Args:
        classes: Of each row, integers (n,).
        sampling: Which shares.
    """

    def __init__(self, classes: np.ndarray, sampling: Sampling) -> None:
        _, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)
        self._members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts)[:-1])
        shares = np.ones(len(counts)) if sampling == "balanced" else np.sqrt(counts)
        self.quotas = _quotas(shares, len(classes))

    @property
    def weights(self) -> np.ndarray:
        """How often each row comes in an epoch, on average: float32 (n,)."""
        found = np.empty(self.quotas.sum(), np.float32)
        for members, quota in zip(self._members, self.quotas, strict=True):
            found[members] = quota / len(members)
        return found

    def rows(self, seed: Any) -> Any:
        """The rows of an epoch, class by class, int64 (n,); may be traced in a graph.

        Args:
            seed: Decides them; int64 (2,).
        """
        rows = tf.numpy_function(self._draw, [seed], tf.int64)
        return tf.ensure_shape(rows, (int(self.quotas.sum()),))

    def _draw(self, seed: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(seed.astype(np.uint64))
        return np.concatenate(
            [
                _drawn(members, quota, random)
                for members, quota in zip(self._members, self.quotas, strict=True)
            ]
        )


def _drawn(members: np.ndarray, quota: int, random: np.random.Generator) -> np.ndarray:
    whole, rest = divmod(quota, len(members))
    drawn = np.concatenate([np.tile(members, whole), random.permutation(members)[:rest]])
    return drawn.astype(np.int64)


def _quotas(shares: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers in these proportions that add up to `count`, by the largest remainders."""
    exact = shares / shares.sum() * count
    quotas = np.floor(exact).astype(np.int64)
    most = np.argsort(quotas - exact, kind="stable")[: count - int(quotas.sum())]
    quotas[most] += 1
    return quotas

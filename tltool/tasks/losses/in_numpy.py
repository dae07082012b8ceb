"""Training losses in NumPy, row by row, with their gradients: what solvers of heads minimise.

Each is the loss of the same name that Keras computes while it trains, for raw
outputs and encoded targets of shape (n, outputs).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class RowLoss(Protocol):
    """A loss of raw outputs."""

    closed_form: bool
    """Whether a linear layer's minimum has a closed form (least squares)."""

    def values(self, outputs: Array, targets: Array) -> Array:
        """The loss of each row (n,), or of each of its outputs (n, outputs), to be averaged."""

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """Derivative of the row's loss by each of its raw outputs, (n, outputs).

        A row's loss is the mean of what `values` gives for it.
        """


class Softmax:
    """Cross-entropy of one-hot targets, or of shares that add up to their sum."""

    closed_form = False

    def values(self, outputs: Array, targets: Array) -> Array:
        """See `RowLoss`: one value a row, in nats."""
        largest = outputs.max(axis=1, keepdims=True)
        sums = largest[:, 0] + np.log(np.exp(outputs - largest).sum(axis=1))
        losses: Array = sums * targets.sum(axis=1) - (outputs * targets).sum(axis=1)
        return losses

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """See `RowLoss`."""
        gradient: Array = softmax(outputs) * targets.sum(axis=1, keepdims=True) - targets
        return gradient


class Sigmoid:
    """Binary cross-entropy of each output by itself; a row's loss is their mean."""

    closed_form = False

    def values(self, outputs: Array, targets: Array) -> Array:
        """See `RowLoss`: one value an output, in nats."""
        losses: Array = np.logaddexp(0, outputs) - outputs * targets
        return losses

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """See `RowLoss`."""
        gradient: Array = (sigmoid(outputs) - targets) / np.float32(targets.shape[1])
        return gradient


class Squared:
    """Squared error; a row's loss is the mean over its outputs."""

    closed_form = True

    def values(self, outputs: Array, targets: Array) -> Array:
        """See `RowLoss`: one value an output."""
        losses: Array = (outputs - targets) ** 2
        return losses

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """See `RowLoss`."""
        gradient: Array = (outputs - targets) * np.float32(2 / targets.shape[1])
        return gradient


def softmax(logits: Array) -> Array:
    """Probabilities (n, classes) of logits."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    return odds


def sigmoid(logits: Array) -> Array:
    """Probabilities of logits, each by itself, without overflow."""
    shares: Array = np.exp(-np.logaddexp(0, -logits))
    return shares


def mean_loss(loss: RowLoss, outputs: Array, targets: Array, weights: Array) -> float:
    """The mean weighted loss, as Keras averages it.

    Args:
        loss: Of rows, or of single outputs.
        outputs, targets: (n, outputs).
        weights: Of each row (n,), or of each of its outputs (n, outputs).
    """
    values = loss.values(outputs.astype(np.float64), targets)
    if values.ndim > weights.ndim:
        weights = weights[:, None]
    return float(np.mean(values * weights))

"""Losses that draw like rows together: what a row costs depends on the others of its batch.

Similarities are cosines. A row's loss is scaled so that the mean over a batch is the
mean over the rows that have something to compare with; the others count 0.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

SUPCON_TEMPERATURE = 0.1
"""That of Khosla et al. 2020, section 4."""
RANKING_SCALE = 20.0
"""Factor of cosines, as sentence-transformers has it for both losses of pairs."""
_FAR = -1e9


def unit(raw: Any) -> Any:
    """Raw outputs (n, width) with length 1, float32; 0 stays 0."""
    raw = ops.cast(raw, "float32")
    squares = ops.sum(ops.square(raw), axis=-1, keepdims=True)
    return raw * ops.rsqrt(ops.maximum(squares, 1e-12))


def same_class(truth: Any) -> Any:
    """Which rows of a batch share their class, and are not the same row: float32 (n, n).

    Args:
        truth: Encoded targets (n, ...), equal for rows of one class.
    """
    rows = ops.reshape(truth, (ops.shape(truth)[0], -1))
    same = ops.all(ops.equal(rows[:, None], rows[None, :]), axis=-1)
    return ops.cast(same, "float32") * _others(ops.cast(rows[:, 0], "float32"))


def _others(row_values: Any) -> Any:
    """1 everywhere but on the diagonal, (n, n), for a batch of n."""
    places = ops.cumsum(ops.ones_like(row_values))
    return ops.cast(ops.not_equal(places[:, None], places[None, :]), "float32")


def _mean_where(values: Any, counts: Any) -> Any:
    """Values (n,) scaled so that their mean is the mean where `counts` (0 or 1) is 1."""
    rows = ops.sum(ops.ones_like(counts))
    return values * counts * rows / ops.maximum(ops.sum(counts), 1.0)


@keras.saving.register_keras_serializable(package="tltool")
class SupervisedContrastive(keras.losses.Loss):
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, equation 2).

    Args:
        temperature: What cosines are divided by.
    """

    def __init__(
        self,
        temperature: float = SUPCON_TEMPERATURE,
        name: str = "supervised_contrastive",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (n,) of what `same_class` takes, and of raw outputs (n, width)."""
        rows = unit(y_pred)
        logits = ops.matmul(rows, ops.transpose(rows)) / self.temperature
        logits = logits + (1.0 - _others(rows[:, 0])) * _FAR
        positives = same_class(y_true)
        likely = logits - ops.logsumexp(logits, axis=1, keepdims=True)
        counts = ops.sum(positives, axis=1)
        losses = -ops.sum(positives * likely, axis=1) / ops.maximum(counts, 1.0)
        return _mean_where(losses, ops.cast(counts > 0, "float32"))

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "temperature": self.temperature}


def nearest_is_alike(truth: Any, raw: Any) -> Any:
    """Whether the nearest other row of the batch is of the same class, (n,), scaled as losses."""
    rows = unit(raw)
    cosines = ops.matmul(rows, ops.transpose(rows)) + (1.0 - _others(rows[:, 0])) * _FAR
    positives = same_class(truth)
    # Rounding ties with nothing: equal rows of two classes count for the first.
    best = ops.argmax(cosines, axis=1)
    hits = ops.take_along_axis(positives, best[:, None], axis=1)[:, 0]
    return _mean_where(hits, ops.cast(ops.sum(positives, axis=1) > 0, "float32"))

"""Losses that Keras itself does not have."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tltool")
class BinaryCrossentropyByOutput(keras.losses.Loss):
    """Binary cross-entropy of logits, for each output by itself; weights may differ by output.

    Args:
        label_smoothing: Share by which targets are drawn towards one half.
        focal_gamma: Exponent of the focal loss (Lin et al. 2017,
            arXiv:1708.02002, equation 4); 0 is plain cross-entropy.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        name: str = "binary_crossentropy_by_output",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """See Keras; weights of rows (n,), or of their outputs (n, outputs)."""
        if sample_weight is not None and len(ops.shape(sample_weight)) == 1:
            sample_weight = ops.expand_dims(sample_weight, -1)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (n, outputs) of targets in 0..1 and logits of that shape."""
        logits = ops.cast(y_pred, "float32")
        truth = ops.cast(y_true, "float32")
        smoothed = truth * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = ops.softplus(logits) - smoothed * logits
        if self.focal_gamma:
            # 1 - p of what is true, as a sigmoid of the logit turned against the truth.
            miss = ops.sigmoid(logits * (1 - 2 * truth))
            losses = losses * ops.power(miss, self.focal_gamma)
        return losses

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        own = {"label_smoothing": self.label_smoothing, "focal_gamma": self.focal_gamma}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tltool")
class RankedSquaredError(keras.losses.Loss):
    """Squared error, and what is wrong in the order of a batch's rows.

    The second part is CoSENT, `log(1 + sum exp(scale * (p_j - p_i)))` over all
    rows i, j of which i has the larger target. Source: Su 2022
    (https://kexue.fm/archives/8847), whose scale is 20 for cosines, which spread
    by about a quarter; here it is 5 standard deviations of the batch's own
    predictions, so that the squared error alone decides their size.

    Args:
        ranking: Weight of the second part.
    """

    def __init__(
        self,
        ranking: float = 1.0,
        name: str = "ranked_squared_error",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ranking = ranking

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (n,) of standardised numbers (n, numbers); that of the order is in each row."""
        truth, found = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        squared = ops.mean(ops.square(found - truth), axis=-1)
        larger = truth[:, None] > truth[None, :]
        # Of equal predictions, as of a batch of one row, a standard deviation has no gradient.
        found = _SCALE * found / ops.sqrt(ops.var(found, axis=0) + 1e-6)
        excess = found[None, :] - found[:, None]
        excess = ops.where(larger, excess, -1e9)
        none = ops.zeros_like(excess[:1, 0])
        every = ops.concatenate([none, ops.reshape(excess, (-1, excess.shape[-1]))], axis=0)
        order = ops.mean(ops.logsumexp(every, axis=0))
        return squared + self.ranking * order

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "ranking": self.ranking}


_SCALE = 5.0

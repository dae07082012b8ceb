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
class CrossentropyByPlace(keras.losses.Loss):
    """Cross-entropy of logits at each place of a row, such as each token of a text.

    Places whose weight is 0 count nothing, in the mean neither.

    Args:
        label_smoothing: Share of each target spread over all classes.
        focal_gamma: Exponent of the focal loss (Lin et al. 2017,
            arXiv:1708.02002, equation 4); 0 is plain cross-entropy.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        name: str = "crossentropy_by_place",
        reduction: str = "mean_with_sample_weight",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (n, places) of class numbers (n, places), -1 for none, and logits."""
        logits = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        classes = logits.shape[-1]
        truth = ops.one_hot(ops.cast(y_true, "int32"), classes, dtype="float32")
        smoothed = truth * (1 - self.label_smoothing) + self.label_smoothing / classes
        losses = -ops.sum(smoothed * logits, axis=-1)
        if self.focal_gamma:
            likely = ops.exp(ops.sum(truth * logits, axis=-1))
            losses = losses * ops.power(1 - likely, self.focal_gamma)
        return losses

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        own = {"label_smoothing": self.label_smoothing, "focal_gamma": self.focal_gamma}
        return {**super().get_config(), **own}

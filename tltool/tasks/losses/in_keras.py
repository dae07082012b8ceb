"""Losses that Keras itself does not have."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops


def rows_that_count(weights: Any) -> Any:
    """1 for each row of which any weight is above 0, else 0: float32 (n,).

    Args:
        weights: Of rows (n,), or of what is in them (n, …).
    """
    above = ops.cast(ops.greater(weights, 0), "float32")
    return ops.max(above, axis=range(1, len(above.shape))) if len(above.shape) > 1 else above


def where_counted(numbers: Any, weights: Any, other: int) -> Any:
    """Class numbers (n, …), `other` in all places of rows of weight 0."""
    counted = rows_that_count(weights) > 0
    shape = [-1] + [1] * (len(numbers.shape) - 1)
    return ops.where(ops.reshape(counted, shape), numbers, ops.cast(other, numbers.dtype))


class ComparingLoss(keras.losses.Loss):
    """A loss of rows that are compared with each other, but for those whose weight is 0."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """See Keras; `call` gets the targets with what `rows_that_count` says."""
        return super().__call__(with_counts(y_true, y_pred, sample_weight), y_pred, sample_weight)


def with_counts(truth: Any, raw: Any, weights: Any) -> tuple[Any, Any]:
    """Targets, and which of their rows count; without weights all do."""
    if weights is None:
        weights = ops.ones_like(ops.cast(raw, "float32")[:, 0])
    return truth, rows_that_count(weights)


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
        return _entropies(truth, logits, self.label_smoothing, self.focal_gamma)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        own = {"label_smoothing": self.label_smoothing, "focal_gamma": self.focal_gamma}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tltool")
class PixelLoss(keras.losses.Loss):
    """Cross-entropy of each pixel's class, and the Dice loss of the classes' areas.

    Pixels of class number `ignored` count for nothing. The Dice loss is 1
    minus the mean over the classes in a batch of `2 sum(p y) / sum(p + y)`
    (Milletari et al. 2016, arXiv:1606.04797, without the squares).

    Args:
        ignored: The class number of pixels without class.
        dice: Share of the Dice loss in the whole, 0..1.
        label_smoothing: Share of each pixel's target spread over all classes.
        focal_gamma: Exponent of the focal loss of the cross-entropy.
    """

    def __init__(
        self,
        ignored: int = 255,
        dice: float = 0.0,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        name: str = "pixel_loss",
        reduction: str = "mean_with_sample_weight",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ignored, self.dice = ignored, dice
        self.label_smoothing, self.focal_gamma = label_smoothing, focal_gamma

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch, a scalar.

        Args:
            y_true: Class numbers, integers (n, height, width).
            y_pred: Logits (n, height, width, classes).
            sample_weight: Of rows (n,), or of their classes (n, classes).
        """
        logits = ops.cast(y_pred, "float32")
        truth, weights = self._weighted(y_true, logits, sample_weight)
        log_shares = ops.log_softmax(logits, axis=-1)
        losses = _entropies(truth, log_shares, self.label_smoothing, self.focal_gamma)
        entropy = ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1e-6)
        loss = (1 - self.dice) * entropy
        if self.dice:
            counted = ops.cast(weights > 0, "float32")[..., None]
            loss += self.dice * self._dice(truth * counted, ops.exp(log_shares) * counted)
        # Those of all devices are added up; Keras' own reductions divide by their number too.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def count(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The sum of the weights of all pixels, which the cross-entropy is a mean over: a scalar.

        Arguments are those of `__call__`.
        """
        return ops.sum(self._weighted(y_true, y_pred, sample_weight)[1])

    def _weighted(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any]:
        """One-hot truth (n, height, width, classes), and the pixels' weights."""
        numbers = ops.cast(y_true, "int32")
        known = ops.cast(ops.not_equal(numbers, self.ignored), "float32")
        classes = y_pred.shape[-1]
        truth = ops.one_hot(numbers * ops.cast(known, "int32"), classes) * known[..., None]
        if sample_weight is None:
            return truth, known
        weights = ops.cast(sample_weight, "float32")
        if len(weights.shape) == 1:
            weights = weights[:, None]
        return truth, ops.sum(truth * weights[:, None, None, :], axis=-1)

    def _dice(self, truth: Any, shares: Any) -> Any:
        both = ops.sum(truth * shares, axis=(0, 1, 2))
        either = ops.sum(truth + shares, axis=(0, 1, 2))
        there = ops.cast(ops.any(truth > 0, axis=(0, 1, 2)), "float32")
        overlap = (2 * both + 1e-6) / (either + 1e-6)
        return ops.sum((1 - overlap) * there) / ops.maximum(ops.sum(there), 1.0)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """As `__call__`, without weights."""
        return self(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        own = {
            "ignored": self.ignored,
            "dice": self.dice,
            "label_smoothing": self.label_smoothing,
            "focal_gamma": self.focal_gamma,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tltool")
class RankedSquaredError(ComparingLoss):
    """Squared error, and what is wrong in the order of a batch's rows.

    The second part is CoSENT, see `disorder`, whose scale is 20 for cosines, which
    spread by about a quarter; here it is 5 standard deviations of the batch's own
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
        """Losses (n,) of standardised numbers (n, numbers); that of the order is in each row.

        Of numbers, and which rows count; see `ComparingLoss`.
        """
        (truth, counted), found = y_true, ops.cast(y_pred, "float32")
        truth, shares = ops.cast(truth, "float32"), counted / ops.maximum(ops.sum(counted), 1.0)
        squared = ops.mean(ops.square(found - truth), axis=-1)
        both = (counted[:, None] * counted[None, :])[..., None] > 0
        larger = ops.logical_and(truth[:, None] > truth[None, :], both)
        mean = ops.sum(shares[:, None] * found, axis=0)
        variance = ops.sum(shares[:, None] * ops.square(found - mean), axis=0)
        # Of equal predictions, as of a batch of one row, a standard deviation has no gradient.
        found = _SCALE * found / ops.sqrt(variance + 1e-6)
        return squared + self.ranking * disorder(larger, found)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "ranking": self.ranking}


def _entropies(truth: Any, log_shares: Any, label_smoothing: float, focal_gamma: float) -> Any:
    """Smoothed cross-entropies, focal where gamma is not 0, of one-hot truth (…, classes)."""
    smoothed = truth * (1 - label_smoothing) + label_smoothing / truth.shape[-1]
    losses = -ops.sum(smoothed * log_shares, axis=-1)
    if focal_gamma:
        hit = ops.exp(ops.sum(truth * log_shares, axis=-1))
        losses = losses * ops.power(1 - hit, focal_gamma)
    return losses


def disorder(larger: Any, found: Any) -> Any:
    """`log(1 + sum exp(p_j - p_i))` over all rows i, j of which i has the larger target.

    CoSENT. Source: Su 2022 (https://kexue.fm/archives/8847).

    Args:
        larger: Whether the target of i is larger than that of j, (n, n, numbers).
        found: Scaled predictions p (n, numbers).

    Returns:
        The mean over the numbers, a scalar.
    """
    excess = ops.where(larger, found[None, :] - found[:, None], -1e9)
    none = ops.zeros_like(excess[:1, 0])
    every = ops.concatenate([none, ops.reshape(excess, (-1, excess.shape[-1]))], axis=0)
    return ops.mean(ops.logsumexp(every, axis=0))


_SCALE = 5.0

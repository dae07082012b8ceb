"""Losses that draw like rows together: what a row costs depends on the others of its batch.

Similarities are cosines. A row's loss is scaled so that the mean over a batch is the
mean over the rows that have something to compare with; the others count 0. Rows of weight
0 are not there, for themselves and for others (`ComparingLoss`, `ComparingMean`).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tltool.tasks.losses.in_keras import ComparingLoss, disorder, with_counts

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


def _mean_where(values: Any, counts: Any, there: Any) -> Any:
    """Values (n,) scaled so that their mean over the rows there is that where `counts` is 1.

    All are 0 or 1.
    """
    return values * counts * ops.sum(there) / ops.maximum(ops.sum(counts), 1.0)


@keras.saving.register_keras_serializable(package="tltool")
class SupervisedContrastive(ComparingLoss):
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
        """Losses (n,) of what `same_class` takes with the rows there, and of raw outputs."""
        (truth, there), rows = y_true, unit(y_pred)
        logits = ops.matmul(rows, ops.transpose(rows)) / self.temperature
        logits = logits + (1.0 - _others(rows[:, 0]) * there) * _FAR
        positives = same_class(truth) * _both(there)
        likely = logits - ops.logsumexp(logits, axis=1, keepdims=True)
        counts = ops.sum(positives, axis=1)
        losses = -ops.sum(positives * likely, axis=1) / ops.maximum(counts, 1.0)
        return _mean_where(losses, ops.cast(counts > 0, "float32"), there)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "temperature": self.temperature}


class _LossOfScaledCosines(ComparingLoss):
    """A loss of cosines of which each is multiplied by the same number, `scale`."""

    own_name = ""

    def __init__(
        self,
        scale: float = RANKING_SCALE,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name or self.own_name, reduction=reduction, dtype=dtype)
        self.scale = scale

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="tltool")
class MultipleNegativesRanking(_LossOfScaledCosines):
    """Cross-entropy of each anchor's positive among the texts of a batch, by scaled cosines.

    The others are the positives of other rows and all hard negatives (Henderson et al. 2017,
    arXiv:1705.00652, section 4.4), but for texts that equal the anchor or its positive, and for
    positives of rows with the same anchor.

    Args:
        scale: Factor of the cosines.
    """

    own_name = "multiple_negatives_ranking"

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses (n,) of what `PairTarget.truth` gives with the rows there, and of raw outputs."""
        rows = unit(y_pred)
        logits = ops.matmul(rows, ops.transpose(rows)) * self.scale
        own, rivals = _own_and_rivals(y_true)
        every = ops.logsumexp(logits + (1.0 - own - rivals) * _FAR, axis=1)
        losses = every - ops.sum(own * logits, axis=1)
        return _mean_where(losses, ops.sum(own, axis=1), y_true[1])


def _both(there: Any) -> Any:
    """1 for each two rows that are there, (n, n)."""
    return there[:, None] * there[None, :]


def _positives(truth: Any, there: Any) -> Any:
    """1 where the one text of a batch is an anchor and the other its own positive, (n, n)."""
    row, role = truth[:, 0], truth[:, 1]
    anchors, positives = ops.equal(role, 0)[:, None], ops.equal(role, 1)[None, :]
    same = ops.logical_and(ops.equal(row[:, None], row[None, :]), anchors)
    return ops.cast(ops.logical_and(same, positives), "float32") * _both(there)


def _own_and_rivals(truth_and_there: tuple[Any, Any]) -> tuple[Any, Any]:
    """`_positives`, and 1 for each text that an anchor must keep away from, (n, n) both."""
    truth, there = (ops.cast(part, "float32") for part in truth_and_there)
    role, text, anchor = truth[:, 1], truth[:, 2], truth[:, 3]
    own = _positives(truth, there)
    mine = ops.matmul(own, text[:, None])
    like = ops.logical_or(
        ops.equal(text[None, :], text[:, None]),
        ops.logical_or(
            ops.equal(text[None, :], mine),
            ops.logical_and(ops.equal(anchor[None, :], text[:, None]), ops.equal(role, 1)[None, :]),
        ),
    )
    rivals = ops.logical_and(ops.logical_not(like), ops.greater(role, 0)[None, :])
    return own, ops.cast(rivals, "float32") * _both(there)


def nearest_is_positive(truth: tuple[Any, Any], raw: Any) -> Any:
    """Whether an anchor's positive is the nearest of a batch's other texts, (n,), as losses."""
    rows = unit(raw)
    own, rivals = _own_and_rivals(truth)
    cosines = ops.matmul(rows, ops.transpose(rows)) + (1.0 - own - rivals) * _FAR
    best = ops.argmax(cosines, axis=1)
    hits = ops.take_along_axis(own, best[:, None], axis=1)[:, 0]
    return _mean_where(hits, ops.sum(own, axis=1), truth[1])


@keras.saving.register_keras_serializable(package="tltool")
class CosineOrder(_LossOfScaledCosines):
    """What is wrong in the order of the cosines of a batch's pairs (CoSENT, see `disorder`).

    Args:
        scale: Factor of the cosines.
    """

    own_name = "cosine_order"

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of the batch for each row (n,), of what `PairTarget.truth` gives.

        That with the rows there, and raw outputs (n, width).
        """
        cosines, numbers, there = _pairs(y_true, y_pred)
        both = ops.logical_and(there[:, None], there[None, :])
        larger = ops.logical_and(numbers[:, None] > numbers[None, :], both)
        return disorder(larger[..., None], self.scale * cosines[:, None]) * ops.ones_like(cosines)


def _pairs(truth_and_there: tuple[Any, Any], raw: Any) -> tuple[Any, Any, Any]:
    """The cosine of the pair that each text begins, its number, and if it does, (n,) each."""
    truth, there = (ops.cast(part, "float32") for part in truth_and_there)
    rows, own = unit(raw), _positives(truth, there)
    cosines = ops.sum(own * ops.matmul(rows, ops.transpose(rows)), axis=1)
    return cosines, truth[:, 4], ops.sum(own, axis=1) > 0


def rank_correlation(truth: tuple[Any, Any], raw: Any) -> Any:
    """Spearman's, of the cosines and numbers of a batch's pairs, the same for each row (n,)."""
    cosines, numbers, there = _pairs(truth, raw)
    counted = ops.cast(there, "float32")
    first, second = (_centred_ranks(values, counted) for values in (cosines, numbers))
    spreads = ops.sum(first**2) * ops.sum(second**2)
    shared = ops.sum(first * second) * ops.rsqrt(ops.maximum(spreads, 1e-12))
    return shared * ops.ones_like(cosines)


def _centred_ranks(values: Any, counted: Any) -> Any:
    """How many of the counted values (n,) are smaller less how many are larger; else 0."""
    signs = ops.sign(values[:, None] - values[None, :])
    return counted * ops.sum(signs * counted[None, :], axis=1)


def nearest_is_alike(truth_and_there: tuple[Any, Any], raw: Any) -> Any:
    """Whether the nearest other row of the batch is of the same class, (n,), scaled as losses."""
    (truth, there), rows = truth_and_there, unit(raw)
    cosines = ops.matmul(rows, ops.transpose(rows)) + (1.0 - _others(rows[:, 0]) * there) * _FAR
    positives = same_class(truth) * _both(there)
    # Rounding ties with nothing: equal rows of two classes count for the first.
    best = ops.argmax(cosines, axis=1)
    hits = ops.take_along_axis(positives, best[:, None], axis=1)[:, 0]
    return _mean_where(hits, ops.cast(ops.sum(positives, axis=1) > 0, "float32"), there)


class ComparingMean(keras.metrics.MeanMetricWrapper):
    """The mean of what compares the rows of a batch, but for those whose weight is 0.

    Its function takes the targets with what `rows_that_count` says, and raw outputs.
    """

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """See Keras."""
        super().update_state(with_counts(y_true, y_pred, sample_weight), y_pred, sample_weight)

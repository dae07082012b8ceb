"""A correlation that is shown while a model of numbers trains, in TensorFlow."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

BINS = 256


class Spearman(keras.metrics.Metric):
    """Spearman's correlation over all rows so far, the mean over the numbers; 0 of a constant.

    Rows are counted in `BINS` × `BINS` cells of their number and prediction, and those of a
    bin share a rank: so memory does not grow with the rows, and devices can add up what they
    found. Near the mean a bin is 1/128 of a standard deviation wide, three of them away 1/8.

    Args:
        numbers: Of a row.
        name: In histories.
    """

    def __init__(self, numbers: int, name: str = "spearman") -> None:
        super().__init__(name=name)
        self._numbers = numbers
        shape = (numbers, BINS, BINS)
        self._cells = self.add_weight(shape=shape, initializer="zeros", name="cells")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts standardised numbers (n, numbers); rows of weight 0 are left out."""
        places = tf.stack([_bins(y_true), _bins(y_pred)], axis=-1)
        if sample_weight is not None:
            places = tf.boolean_mask(places, tf.reshape(sample_weight, [-1]) > 0)
        rows = tf.shape(places)[0]
        columns = tf.tile(tf.range(self._numbers)[None, :, None], [rows, 1, 1])
        indices = tf.concat([columns, places], axis=-1)
        ones = tf.ones(tf.shape(indices)[:-1])
        self._cells.assign_add(tf.scatter_nd(indices, ones, self._cells.shape))

    def result(self) -> Any:
        """From -1 to 1."""
        cells = tf.convert_to_tensor(self._cells)
        rows = tf.maximum(tf.reduce_sum(cells, axis=(1, 2), keepdims=True), 1.0)
        shares = cells / rows
        first, second = _centred_ranks(shares, 2), _centred_ranks(shares, 1)
        spreads = tf.reduce_sum(shares * first**2, (1, 2)) * tf.reduce_sum(
            shares * second**2, (1, 2)
        )
        shared = tf.reduce_sum(shares * first * second, (1, 2))
        return tf.reduce_mean(tf.math.divide_no_nan(shared, tf.sqrt(spreads)))

    def reset_state(self) -> None:
        """Counts from 0."""
        self._cells.assign(tf.zeros_like(self._cells))


def _bins(values: Any) -> Any:
    """Numbers of the bins of standardised numbers, which are wider further out."""
    values = tf.cast(values, tf.float32)
    places = (values / (1.0 + tf.abs(values)) + 1.0) * (BINS / 2)
    return tf.clip_by_value(tf.cast(tf.floor(places), tf.int32), 0, BINS - 1)


def _centred_ranks(shares: Any, other: int) -> Any:
    """The rank that rows of a bin share, as a share of all rows less a half."""
    own = tf.reduce_sum(shares, axis=other, keepdims=True)
    return tf.cumsum(own, axis=3 - other) - own / 2 - 0.5

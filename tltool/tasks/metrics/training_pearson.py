"""A correlation that is shown while a model of numbers trains, in Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Pearson(keras.metrics.Metric):
    """Pearson's correlation over all rows so far, the mean over the numbers; 0 of a constant.

    From the moments (as Chan et al. 1979 name it, the textbook algorithm): targets are
    standardised, so that nothing cancels.

    Args:
        numbers: Of a row.
        name: In histories.
    """

    def __init__(self, numbers: int, name: str = "pearson") -> None:
        super().__init__(name=name)
        self._rows = self.add_weight(shape=(), initializer="zeros", name="rows")
        self._sums = self.add_weight(shape=(5, numbers), initializer="zeros", name="sums")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds standardised numbers (n, numbers); rows of weight 0 are left out."""
        truth, found = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        counted = ops.ones_like(truth[:, 0])
        if sample_weight is not None:
            weights = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
            counted = ops.cast(weights > 0, "float32")
        parts = (truth, found, truth * truth, found * found, truth * found)
        sums = [ops.sum(counted[:, None] * part, axis=0) for part in parts]
        self._rows.assign_add(ops.sum(counted))
        self._sums.assign_add(ops.stack(sums))

    def result(self) -> Any:
        """From -1 to 1."""
        means = self._sums / ops.maximum(self._rows, 1.0)
        first, second = means[0], means[1]
        spreads = (means[2] - first * first) * (means[3] - second * second)
        shared = means[4] - first * second
        return ops.mean(ops.where(spreads > 0, shared * ops.rsqrt(spreads), 0.0))

    def reset_state(self) -> None:
        """Sums from 0."""
        for variable in self.variables:
            variable.assign(ops.zeros_like(variable))

"""An exponential moving average of the weights that train, in whose place it is measured and kept.

Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging". The warm-up is
that of TensorFlow's `tf.train.ExponentialMovingAverage`, without which the average of a short
training would be made of its first weights for the most part.

Keras' own (`use_ema`) has no warm-up and leaves the statistics of BatchNorm layers out; a
checkpoint within validation would have the averages in place of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from tltool.training.course import device_values


def momentum_at(momentum: float, updates: Any) -> Any:
    """Share of the average that stays at an update.

    Args:
        momentum: Its limit, 0..1.
        updates: How many there were before; a number or a tensor.
    """
    updates = ops.cast(updates, "float32")
    return ops.minimum(momentum, (1.0 + updates) / (10.0 + updates))


class MovingAverage:
    """Averages of some weights; each is a variable of the optimizer, and is kept with it.

    Args:
        momentum: Share of the average that stays at each update, 0..1.
        weights: What is averaged.
    """

    def __init__(self, momentum: float, weights: Sequence[keras.Variable]) -> None:
        self._momentum = momentum
        self._weights = list(weights)
        self._averages: list[keras.Variable] = []
        self._shown = False

    def build(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Begins with the weights as they are; called in the strategy's scope."""
        for weight in self._weights:
            average = optimizer.add_variable_from_reference(weight, "average")
            average.assign(weight)
            self._averages.append(average)

    def update(self, updates: Any) -> None:
        """Takes in the weights of a step; each device does so for itself.

        Args:
            updates: How many steps there were before this one.
        """
        rest = 1.0 - momentum_at(self._momentum, updates)
        for weight, average in zip(self._weights, self._averages, strict=True):
            # Of a weight that has not moved, the average is equal to the bit.
            step = ops.cast(rest, average.dtype) * (weight - average)
            average.assign(average + step)

    def show(self) -> None:
        """Puts the averages into the model, and its weights where they were."""
        if not self._shown:
            self._exchange()
            self._shown = True

    def hide(self) -> None:
        """Takes the averages out again."""
        if self._shown:
            self._exchange()
            self._shown = False

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """While open, the model has the weights that train."""
        shown = self._shown
        self.hide()
        try:
            yield
        finally:
            if shown:
                self.show()

    def _exchange(self) -> None:
        for weight, average in zip(self._weights, self._averages, strict=True):
            pairs = zip(device_values(weight), device_values(average), strict=True)
            for one, other in pairs:
                kept = one.numpy()
                one.assign(other.numpy())
                other.assign(kept)


class ShowAverage(keras.callbacks.Callback):
    """Measures and keeps the averages: called before what keeps the best weights."""

    def __init__(self, average: MovingAverage) -> None:
        super().__init__()
        self._average = average

    def on_test_begin(self, logs: Any = None) -> None:
        """Validation begins."""
        self._average.show()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The epoch's weights are about to be kept, also where there is no validation."""
        self._average.show()


class HideAverage(keras.callbacks.Callback):
    """Goes on with the weights that train: called after what keeps the best weights."""

    def __init__(self, average: MovingAverage) -> None:
        super().__init__()
        self._average = average

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The epoch's weights are kept."""
        self._average.hide()

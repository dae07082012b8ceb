"""A backbone's weights before any training, to train on it again and again."""

from __future__ import annotations

import keras


class Pretrained:
    """The values of a model's variables, kept in memory.

    Args:
        model: Freshly loaded.
    """

    def __init__(self, model: keras.Model) -> None:
        self._kept = [(v, v.trainable, v.numpy()) for v in model.variables]

    def put_back(self) -> None:
        """Gives the model these values again; the states of random generators are among them."""
        for variable, learns, value in self._kept:
            # One that no longer learns would be taken for a statistic.
            variable.trainable = learns
            variable.assign(value)

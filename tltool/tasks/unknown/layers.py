"""How unlike the training rows an input is, as a layer: part of the graph in every export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tltool.tasks.unknown.settings import ACCEPTED, SCORE, Method

# As `ops.normalize` has it: a vector of zeros has no direction.
_SMALLEST = 1e-12


@keras.saving.register_keras_serializable(package="tltool")
class UnknownScore(keras.layers.Layer):
    """From logits (n, outputs) and features (n, channels) to a score (n, 1), higher if less known.

    Args:
        method: Which score; see `tltool.tasks.unknown.scores`.
        shapes: Of the arrays that it is made of, by name.
        neighbours: Which of the nearest stored features counts, of "knn".
        name, dtype: As for every layer.
    """

    def __init__(
        self,
        method: Method,
        shapes: Mapping[str, Sequence[int]],
        neighbours: int = 1,
        name: str = SCORE,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=False)
        self._method, self._neighbours = method, neighbours
        self._shapes = {key: tuple(shape) for key, shape in shapes.items()}
        self._arrays = {
            key: self.add_weight(shape=shape, initializer="zeros", trainable=False, name=key)
            for key, shape in self._shapes.items()
        }
        self.built = True

    @classmethod
    def of(
        cls, method: Method, arrays: Mapping[str, np.ndarray[Any, Any]], neighbours: int = 1
    ) -> UnknownScore:
        """A layer of these arrays."""
        layer = cls(method, {key: value.shape for key, value in arrays.items()}, neighbours)
        for key, value in arrays.items():
            layer._arrays[key].assign(value.astype("float32"))
        return layer

    def call(self, inputs: Any) -> Any:
        """The score of each row."""
        logits, features = (ops.cast(part, "float32") for part in inputs)
        match self._method:
            case "knn":
                return self._neighbour(features)
            case "mahalanobis":
                return self._mahalanobis(features)
            case "energy":
                return -ops.logsumexp(logits, axis=-1, keepdims=True)
        return 1 - ops.max(ops.softmax(logits, axis=-1), axis=-1, keepdims=True)

    def _neighbour(self, features: Any) -> Any:
        """1 minus the cosine of the k-th nearest; of unit vectors half the squared distance."""
        length = ops.sqrt(ops.sum(ops.square(features), axis=-1, keepdims=True))
        near = ops.matmul(features / ops.maximum(length, _SMALLEST), self._arrays["bank"])
        if self._neighbours == 1:
            return 1 - ops.max(near, axis=-1, keepdims=True)
        return 1 - ops.top_k(near, self._neighbours)[0][..., -1:]

    def _mahalanobis(self, features: Any) -> Any:
        """The squared distance to the nearest mean, a channel."""
        arrays = self._arrays
        white = ops.matmul(features - arrays["centre"], arrays["whitening"])
        squares = ops.sum(ops.square(white), axis=-1, keepdims=True)
        distances = squares - 2 * ops.matmul(white, arrays["means"]) + arrays["lengths"]
        return ops.min(distances, axis=-1, keepdims=True) / white.shape[-1]

    def compute_output_shape(self, shapes: Any) -> tuple[int | None, int]:
        """See Keras."""
        return (shapes[0][0], 1)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        shapes = {key: list(shape) for key, shape in self._shapes.items()}
        return {
            "method": self._method,
            "shapes": shapes,
            "neighbours": self._neighbours,
            "name": self.name,
            "dtype": "float32",
        }


@keras.saving.register_keras_serializable(package="tltool")
class Accepted(keras.layers.Layer):
    """1 where a score is at most the threshold, else 0, float32 (n, 1).

    Args:
        threshold: Of the score.
        name, dtype: As for every layer.
    """

    def __init__(self, threshold: float, name: str = ACCEPTED, dtype: Any = "float32") -> None:
        super().__init__(name=name, dtype=dtype)
        self._threshold = threshold

    def call(self, score: Any) -> Any:
        """Whether each row is accepted."""
        return ops.cast(score <= self._threshold, "float32")

    def compute_output_shape(self, shape: Any) -> Any:
        """See Keras."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {"threshold": self._threshold, "name": self.name, "dtype": "float32"}

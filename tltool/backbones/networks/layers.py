"""Keras layers and functions of tltool's own that a saved model may hold."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray


@keras.saving.register_keras_serializable(package="tltool")
def exact_gelu(x: Any) -> Any:
    """GELU with the error function, `x / 2 * (1 + erf(x / sqrt 2))` (arXiv:1606.08415).

    KerasHub's BERT has the tanh approximation, while the weights of the
    transformers library were trained with this one. Spelt with `erf`, because
    Keras' own exact GELU becomes `Erfc` in ONNX, which ONNX does not have.
    """
    return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))


@keras.saving.register_keras_serializable(package="tltool")
def tanh_gelu(x: Any) -> Any:
    """GELU by its tanh approximation (arXiv:1606.08415, section 2)."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="tltool")
class MaskedMean(keras.layers.Layer):
    """Mean over the real tokens, as sentence-transformers pools (Reimers and Gurevych 2019).

    Call with a sequence of shape (batch, tokens, channels) and a padding mask
    of shape (batch, tokens), 1 for real tokens; returns (batch, channels).
    A row without any real token gives zeros. The sum is made in float32 also
    in mixed precision, where half of it would lose digits.
    """

    def call(self, sequence: Any, padding_mask: Any) -> Any:
        """Pools; see the class."""
        mask = ops.expand_dims(ops.cast(padding_mask, "float32"), -1)
        total = ops.sum(ops.cast(sequence, "float32") * mask, axis=1)
        mean = total / ops.maximum(ops.sum(mask, axis=1), 1.0)
        return ops.cast(mean, sequence.dtype)

    def compute_output_shape(self, sequence_shape: Any, padding_mask_shape: Any) -> Any:
        """(batch, channels)."""
        return (sequence_shape[0], sequence_shape[-1])


@keras.saving.register_keras_serializable(package="tltool")
class MaskedTokens(keras.layers.Layer):
    """Sets the vectors of padding to zero.

    Call with a sequence (batch, tokens, channels) and a padding mask (batch,
    tokens), 1 for real tokens; returns the shape of the sequence.
    """

    def call(self, sequence: Any, padding_mask: Any) -> Any:
        """Masks; see the class."""
        return sequence * ops.expand_dims(ops.cast(padding_mask, sequence.dtype), -1)

    def compute_output_shape(self, sequence_shape: Any, padding_mask_shape: Any) -> Any:
        """As the sequence."""
        return sequence_shape


@keras.saving.register_keras_serializable(package="tltool")
class FirstToken(keras.layers.Layer):
    """The output at the first token, where BERT and ViT have their class token.

    Call with a sequence (batch, tokens, channels); returns (batch, channels).
    """

    def call(self, sequence: Any) -> Any:
        """Picks the token; see the class."""
        return sequence[:, 0, :]

    def compute_output_shape(self, sequence_shape: Any) -> Any:
        """(batch, channels)."""
        return (sequence_shape[0], sequence_shape[-1])


@keras.saving.register_keras_serializable(package="tltool")
class TokensAndPositions(keras.layers.Layer):
    """Puts learnt tokens before a sequence of patches and adds learnt position embeddings.

    Call with patches (batch, patches, channels); returns (batch,
    prefix_tokens + patches, channels). As in ViT (arXiv:2010.11929), whose
    prefix is a class token, and DeiT (arXiv:2012.12877), which adds a
    distillation token.

    Args:
        prefix_tokens: Number of learnt tokens, possibly 0.
    """

    def __init__(self, prefix_tokens: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix_tokens = prefix_tokens

    def build(self, input_shape: Any) -> None:
        """Makes the weights for patches of shape (batch, patches, channels)."""
        _, patches, channels = input_shape
        self.tokens = self.add_weight(
            shape=(self.prefix_tokens, channels), initializer="zeros", name="tokens"
        )
        self.positions = self.add_weight(
            shape=(self.prefix_tokens + patches, channels),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )
        self.built = True

    def call(self, patches: Any) -> Any:
        """Adds tokens and positions; see the class."""
        shape = (ops.shape(patches)[0], self.prefix_tokens, patches.shape[-1])
        tokens = ops.broadcast_to(ops.cast(self.tokens, patches.dtype), shape)
        return ops.concatenate([tokens, patches], axis=1) + self.positions

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(batch, prefix_tokens + patches, channels)."""
        return (input_shape[0], self.prefix_tokens + input_shape[1], input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make the layer again."""
        return {**super().get_config(), "prefix_tokens": self.prefix_tokens}


@keras.saving.register_keras_serializable(package="tltool")
class GatherNeighbours(keras.layers.Layer):
    """Each 2×2 positions of a map side by side.

    Call with (batch, height, width, channels), height and width even; returns
    (batch, height / 2, width / 2, 4 * channels), a column of two after the other.
    """

    def call(self, x: Any) -> Any:
        """Gathers; see the class."""
        parts = [x[:, row::2, column::2, :] for column in (0, 1) for row in (0, 1)]
        return ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(batch, height / 2, width / 2, 4 * channels)."""
        batch, height, width, channels = input_shape
        return (batch, height // 2, width // 2, 4 * channels)


@keras.saving.register_keras_serializable(package="tltool")
class WindowAttention(keras.layers.Layer):
    """Self-attention within windows of a map, with a learnt bias for each relative position.

    Call with (batch, height, width, channels); returns the same shape.

    Args:
        num_heads: Of attention; divides the channels.
        window: Height and width of a window; divides the map's.
        shift: By how much the windows are shifted, cyclically; positions that
            are no neighbours in the map do not see each other.
    """

    def __init__(self, num_heads: int, window: int, shift: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.window, self.shift = num_heads, window, shift

    def build(self, input_shape: Any) -> None:
        """Makes the weights for maps of this shape."""
        _, height, width, channels = input_shape
        self.input_projection = keras.layers.Dense(3 * channels, name="input_projection")
        self.input_projection.build((None, None, channels))
        self.output_projection = keras.layers.Dense(channels, name="output_projection")
        self.output_projection.build((None, None, channels))
        self.bias_table = self.add_weight(
            shape=((2 * self.window - 1) ** 2, self.num_heads),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            name="bias_table",
        )
        self._places = _relative_places(self.window)
        self._mask = _border_mask(height, width, self.window, self.shift) if self.shift else None
        self.built = True

    def call(self, x: Any) -> Any:
        """Attends; see the class."""
        _, height, width, channels = x.shape
        w, area = self.window, self.window**2
        rows, columns, size = height // w, width // w, channels // self.num_heads
        if self.shift:
            x = ops.roll(x, (-self.shift, -self.shift), axis=(1, 2))
        x = ops.reshape(x, (-1, rows, w, columns, w, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, area, channels))
        x = ops.reshape(self.input_projection(x), (-1, area, 3, self.num_heads, size))
        query, key, value = (ops.transpose(x[:, :, i], (0, 2, 1, 3)) for i in range(3))
        scores = ops.matmul(query * size**-0.5, ops.transpose(key, (0, 1, 3, 2)))
        bias = ops.take(self.bias_table, self._places.reshape(-1), axis=0)
        bias = ops.transpose(ops.reshape(bias, (area, area, self.num_heads)), (2, 0, 1))
        scores = scores + ops.cast(bias, scores.dtype)
        if self._mask is not None:
            windows = rows * columns
            scores = ops.reshape(scores, (-1, windows, self.num_heads, area, area))
            scores = scores + ops.cast(self._mask[None, :, None], scores.dtype)
            scores = ops.reshape(scores, (-1, self.num_heads, area, area))
        x = ops.matmul(ops.softmax(scores), value)
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, area, channels))
        x = ops.reshape(self.output_projection(x), (-1, rows, columns, w, w, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, channels))
        return ops.roll(x, (self.shift, self.shift), axis=(1, 2)) if self.shift else x

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make the layer again."""
        own = {"num_heads": self.num_heads, "window": self.window, "shift": self.shift}
        return {**super().get_config(), **own}


def _relative_places(window: int) -> NDArray[Any]:
    """The row of the bias table for each pair of a window's positions, (area, area)."""
    rows, columns = (part.reshape(-1) for part in np.mgrid[:window, :window])
    rows, columns = rows[:, None] - rows[None], columns[:, None] - columns[None]
    return (rows + window - 1) * (2 * window - 1) + columns + window - 1


def _border_mask(height: int, width: int, window: int, shift: int) -> NDArray[Any]:
    """-100 where two positions of a window come from different sides of the map, else 0.

    Returns:
        float32 (windows, area, area).
    """
    region = np.zeros((height, width))
    spans = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in spans for c in spans):
        region[rows, columns] = number
    windows = region.reshape(height // window, window, width // window, window)
    parts = windows.transpose(0, 2, 1, 3).reshape(-1, window**2)
    return np.where(parts[:, None] == parts[:, :, None], 0.0, -100.0).astype("float32")


@keras.saving.register_keras_serializable(package="tltool")
class PairComparison(keras.layers.Layer):
    """Compares the vectors u and v of the two texts of each pair.

    Call with vectors (2 n, channels), both of the first pair, then of the next.

    Args:
        compare: "vectors" gives (u, v, |u - v|, u * v, cos(u, v)), (n, 4 channels + 1),
            as Sentence-BERT (Reimers and Gurevych 2019, arXiv:1908.10084) with
            the product of Conneau et al. 2017 (arXiv:1705.02364); "cosine"
            gives the cosine alone, (n, 1).
    """

    joins_rows = True
    """It gives a row for two (see `tltool.graph.cut`)."""

    def __init__(self, compare: str = "vectors", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compare = compare

    def call(self, vectors: Any) -> Any:
        """Compares; see the class."""
        pairs = ops.reshape(vectors, (-1, 2, vectors.shape[-1]))
        first, second = pairs[:, 0], pairs[:, 1]
        cosine = ops.sum(_of_length_one(first) * _of_length_one(second), axis=-1, keepdims=True)
        if self.compare == "cosine":
            return cosine
        apart, product = ops.abs(first - second), first * second
        return ops.concatenate([first, second, apart, product, cosine], axis=-1)

    def compute_output_shape(self, vectors_shape: Any) -> Any:
        """(n, features)."""
        return (None, 1 if self.compare == "cosine" else 4 * vectors_shape[-1] + 1)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "compare": self.compare}


def _of_length_one(vectors: Any) -> Any:
    squares = ops.sum(vectors * vectors, axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(squares, 1e-12))

"""Layers of DeBERTa: attention in which contents and relative positions are told apart.

He et al. 2021, arXiv:2006.03654 and arXiv:2111.09543. KerasHub has such layers
too, but they project the relative embeddings anew for every text of a batch.
Here they are projected once, only for the distances that occur, and what
belongs to each pair of tokens is found by reshaping instead of gathering.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from tltool.backbones.networks.layers import exact_gelu

SCORE_TERMS = 3
"""Content to content, content to position, position to content."""


def position_buckets(buckets: int, distance: int) -> NDArray[Any]:
    """The row of the relative embeddings for each relative position.

    Near positions have a bucket each, farther ones share it, the wider the
    farther they are. In float32 as in the transformers library
    (`make_log_bucket_position`): in other arithmetic a border may fall elsewhere.

    Args:
        buckets: In each direction.
        distance: Positions as far as this, and farther, are in the last bucket.

    Returns:
        int32 (2 * distance,), for the positions from -distance to distance - 1.
    """
    positions = np.arange(-distance, distance)
    middle = buckets // 2
    far = np.maximum(np.abs(positions), middle).astype("float32") / np.float32(middle)
    steps = np.log(far) / np.log(np.float32((distance - 1) / middle)) * np.float32(middle - 1)
    near = np.abs(positions) <= middle
    bucket = np.where(near, positions, np.sign(positions) * (np.ceil(steps) + middle))
    return np.clip(bucket + buckets, 0, 2 * buckets - 1).astype("int32")


@keras.saving.register_keras_serializable(package="tltool")
class RelativePositions(layers.Layer):
    """Embeddings of all relative positions that occur between the tokens of a text.

    Call with a padding mask (batch, tokens), which is only asked for its
    length; returns (1, 2 * tokens, width), the same for the whole batch: one
    vector for each place of a query minus that of a key, from 1 - tokens to
    tokens.

    Args:
        width: Of the embeddings.
        buckets, distance: As in `position_buckets`.
        initializer: Of the embeddings.
    """

    def __init__(
        self,
        width: int,
        buckets: int,
        distance: int,
        initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width, self.buckets, self.distance = width, buckets, distance
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: Any) -> None:
        """Makes the embeddings, a row for each bucket in each direction."""
        self.embeddings = self.add_weight(
            shape=(2 * self.buckets, self.width), initializer=self.initializer, name="embeddings"
        )
        self._rows = position_buckets(self.buckets, self.distance)
        self.built = True

    def call(self, padding_mask: Any) -> Any:
        """Looks them up; see the class."""
        tokens = ops.shape(padding_mask)[1]
        places = ops.arange(1 - tokens, tokens + 1) + self.distance
        rows = ops.take(self._rows, ops.clip(places, 0, 2 * self.distance - 1))
        return ops.expand_dims(ops.take(self.embeddings, rows, axis=0), 0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(1, 2 * tokens, width)."""
        tokens = input_shape[1]
        return (1, None if tokens is None else 2 * tokens, self.width)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make the layer again."""
        own = {"width": self.width, "buckets": self.buckets, "distance": self.distance}
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), **own, "initializer": initializer}


@keras.saving.register_keras_serializable(package="tltool")
class DisentangledAttention(layers.Layer):
    """Self-attention by content, and by content and relative position, in both directions.

    The score of a query i and a key j is, with the relative position of the
    two as `p`, `(q_i·k_j + q_i·key(p) + k_j·query(p)) / sqrt(3 d)` (He et al.
    2021, equation 4), where contents and positions share their projections.

    Call with a sequence (batch, tokens, channels), the positions of
    `RelativePositions` and a padding mask (batch, tokens); returns the shape of
    the sequence. What stands at padding is never attended to.

    Args:
        num_heads: Divides the channels; d is the width of one.
        dropout: Of the probabilities, and of the positions.
        kernel_initializer: Of all four projections.
    """

    def __init__(
        self,
        num_heads: int,
        dropout: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.dropout = num_heads, dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(
        self, sequence_shape: Any, positions_shape: Any = None, padding_mask_shape: Any = None
    ) -> None:
        """Makes the projections, named as in Keras' own attention."""
        channels = sequence_shape[-1]
        self.size = channels // self.num_heads

        def projection(name: str, equation: str, shape: tuple[int | None, ...]) -> Any:
            return layers.EinsumDense(
                equation,
                output_shape=shape,
                bias_axes=equation.partition("->")[2][2:],
                kernel_initializer=self.kernel_initializer.clone(),
                dtype=self.dtype_policy,
                name=name,
            )

        heads = (None, self.num_heads, self.size)
        self.query, self.key, self.value = (
            projection(name, "abc,cde->abde", heads) for name in ("query", "key", "value")
        )
        for dense in (self.query, self.key, self.value):
            dense.build((None, None, channels))
        self.attention_output = projection("attention_output", "abde,dec->abc", (None, channels))
        self.attention_output.build((None, None, self.num_heads, self.size))
        self.position_dropout = layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name="position_dropout"
        )
        self.attention_dropout = layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name="attention_dropout"
        )
        self.built = True

    def call(
        self, sequence: Any, positions: Any, padding_mask: Any, training: bool | None = None
    ) -> Any:
        """Attends; see the class."""

        def by_head(x: Any) -> Any:
            return ops.transpose(x, (0, 2, 1, 3))

        scale = (SCORE_TERMS * self.size) ** -0.5
        positions = self.position_dropout(positions, training=training)
        query = by_head(self.query(sequence)) * scale
        key, value = by_head(self.key(sequence)), by_head(self.value(sequence))
        position_query = by_head(self.query(positions)) * scale
        position_key = by_head(self.key(positions))
        tokens = ops.shape(sequence)[1]
        scores = ops.matmul(query, _transposed(key))
        scores += _diagonals(ops.matmul(query, _transposed(ops.flip(position_key, 2))), tokens)
        scores += _transposed(_diagonals(ops.matmul(key, _transposed(position_query)), tokens - 1))
        probabilities = ops.cast(_masked_softmax(scores, padding_mask), value.dtype)
        probabilities = self.attention_dropout(probabilities, training=training)
        return self.attention_output(by_head(ops.matmul(probabilities, value)))

    def compute_output_shape(
        self, sequence_shape: Any, positions_shape: Any = None, padding_mask_shape: Any = None
    ) -> Any:
        """As the sequence."""
        return sequence_shape

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make the layer again."""
        initializer = keras.initializers.serialize(self.kernel_initializer)
        own = {"num_heads": self.num_heads, "dropout": self.dropout}
        return {**super().get_config(), **own, "kernel_initializer": initializer}


def _transposed(x: Any) -> Any:
    return ops.transpose(x, (0, 1, 3, 2))


def _diagonals(x: Any, start: Any) -> Any:
    """Of (batch, heads, tokens, 2 * tokens) the elements [i, start - i + j] as [i, j].

    In the flat order of its elements, rows that are one shorter each begin one
    place farther left than the row before (Huang et al. 2018, arXiv:1809.04281,
    section 3.4.1).
    """
    heads, tokens = x.shape[1], ops.shape(x)[2]
    flat = ops.reshape(x, (-1, heads, 2 * tokens * tokens))
    shorter = flat[:, :, start : start + tokens * (2 * tokens - 1)]
    return ops.reshape(shorter, (-1, heads, tokens, 2 * tokens - 1))[:, :, :, :tokens]


def _masked_softmax(scores: Any, padding_mask: Any) -> Any:
    """In float32, whose range no score leaves; where nothing is real, all weigh the same."""
    mask = ops.cast(padding_mask, "bool")
    pairs = ops.logical_and(mask[:, None, :, None], mask[:, None, None, :])
    lowest = float(np.finfo("float32").min)
    return ops.softmax(ops.where(pairs, ops.cast(scores, "float32"), lowest))


@keras.saving.register_keras_serializable(package="tltool")
class DisentangledBlock(layers.Layer):
    """Disentangled attention and an MLP, each added to what it reads and normalised after.

    Call as `DisentangledAttention`.

    Args:
        num_heads: Of attention.
        intermediate_dim: Width of the MLP.
        dropout: Of both, and inside attention.
        epsilon: Of the normalisations.
        kernel_initializer: Of all dense layers.
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        epsilon: float = 1e-7,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.intermediate_dim = num_heads, intermediate_dim
        self.dropout, self.epsilon = dropout, epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(
        self, sequence_shape: Any, positions_shape: Any = None, padding_mask_shape: Any = None
    ) -> None:
        """Makes the layers, named as in KerasHub's encoder."""
        shape, policy = (None, None, sequence_shape[-1]), self.dtype_policy
        inner = (*shape[:2], self.intermediate_dim)
        initializer = self.kernel_initializer

        def made(layer: Any, built_for: Any = shape) -> Any:
            layer.build(built_for)
            return layer

        def dense(width: int, name: str, activation: Any = None) -> Any:
            return layers.Dense(
                width, activation, kernel_initializer=initializer.clone(), dtype=policy, name=name
            )

        def norm(name: str) -> Any:
            return made(layers.LayerNormalization(epsilon=self.epsilon, dtype=policy, name=name))

        self.attention = made(
            DisentangledAttention(
                self.num_heads,
                self.dropout,
                initializer.clone(),
                dtype=policy,
                name="self_attention_layer",
            )
        )
        self.attention_norm = norm("self_attention_layer_norm")
        self.hidden = made(
            dense(self.intermediate_dim, "feedforward_intermediate_dense", exact_gelu)
        )
        self.output_dense = made(dense(shape[-1], "feedforward_output_dense"), inner)
        self.output_norm = norm("feedforward_layer_norm")
        self.hidden_dropout = layers.Dropout(self.dropout, dtype=policy, name="hidden_dropout")
        self.built = True

    def call(
        self, sequence: Any, positions: Any, padding_mask: Any, training: bool | None = None
    ) -> Any:
        """Computes the block; see the class."""
        added = self.attention(sequence, positions, padding_mask, training=training)
        x = self.attention_norm(sequence + self.hidden_dropout(added, training=training))
        added = self.output_dense(self.hidden(x))
        return self.output_norm(x + self.hidden_dropout(added, training=training))

    def compute_output_shape(
        self, sequence_shape: Any, positions_shape: Any = None, padding_mask_shape: Any = None
    ) -> Any:
        """As the sequence."""
        return sequence_shape

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make the layer again."""
        own = {
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "epsilon": self.epsilon,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
        return {**super().get_config(), **own}

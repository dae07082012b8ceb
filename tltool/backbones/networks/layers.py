"""Keras layers and functions of tltool's own that a saved model may hold."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tltool")
def exact_gelu(x: Any) -> Any:
    """GELU with the error function, `x / 2 * (1 + erf(x / sqrt 2))` (arXiv:1606.08415).

    KerasHub's BERT has the tanh approximation, while the weights of the
    transformers library were trained with this one. Spelt with `erf`, because
    Keras' own exact GELU becomes `Erfc` in ONNX, which ONNX does not have.
    """
    return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))


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

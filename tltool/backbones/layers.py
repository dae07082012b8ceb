"""Keras layers of tltool's own that a saved model may hold."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tltool")
class MaskedMean(keras.layers.Layer):
    """Mean over the real tokens, as sentence-transformers pools (Reimers and Gurevych 2019).

    Call with a sequence of shape (batch, tokens, channels) and a padding mask
    of shape (batch, tokens), 1 for real tokens; returns (batch, channels).
    A row without any real token gives zeros.
    """

    def call(self, sequence: Any, padding_mask: Any) -> Any:
        mask = ops.expand_dims(ops.cast(padding_mask, sequence.dtype), -1)
        total = ops.sum(sequence * mask, axis=1)
        return total / ops.maximum(ops.sum(mask, axis=1), 1e-9)

    def compute_output_shape(self, sequence_shape: Any, padding_mask_shape: Any) -> Any:
        return (sequence_shape[0], sequence_shape[-1])

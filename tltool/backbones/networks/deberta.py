"""DeBERTa-v3's encoder as a flat functional model (He et al. 2021, arXiv:2111.09543)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from tltool.backbones.networks.disentangled import DisentangledBlock, RelativePositions
from tltool.backbones.networks.layers import MaskedTokens


@dataclass(frozen=True)
class DebertaShape:
    """The sizes of an encoder.

    Attributes:
        vocabulary, width, blocks, heads, inner: As everywhere; `inner` is the
            width inside a block.
        buckets: Of relative positions in each direction.
        distance: From which on all relative positions share a bucket.
        epsilon: Of all layer normalisations.
        spread: Standard deviation of fresh weights.
    """

    vocabulary: int
    width: int
    blocks: int
    heads: int
    inner: int
    buckets: int
    distance: int
    epsilon: float = 1e-7
    spread: float = 0.02


def build_deberta(shape: DebertaShape, dropout: float) -> tuple[dict[str, Any], Any]:
    """The inputs by name, int32 (batch, tokens), and the sequence output (batch, tokens, width)."""

    def norm(name: str) -> layers.LayerNormalization:
        return layers.LayerNormalization(epsilon=shape.epsilon, name=name)

    initializer = keras.initializers.TruncatedNormal(stddev=shape.spread)
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in ("token_ids", "padding_mask")
    }
    mask = inputs["padding_mask"]
    x = layers.Embedding(
        shape.vocabulary,
        shape.width,
        embeddings_initializer=initializer.clone(),
        name="token_embedding",
    )(inputs["token_ids"])
    x = norm("embeddings_layer_norm")(x)
    x = MaskedTokens(name="embeddings_masked")(x, mask)
    x = layers.Dropout(dropout, name="embeddings_dropout")(x)
    positions = RelativePositions(
        shape.width, shape.buckets, shape.distance, initializer.clone(), name="relative_positions"
    )(mask)
    positions = norm("relative_norm")(positions)
    for index in range(shape.blocks):
        x = DisentangledBlock(
            shape.heads,
            shape.inner,
            dropout=dropout,
            epsilon=shape.epsilon,
            kernel_initializer=initializer.clone(),
            name=f"transformer_layer_{index}",
        )(x, positions, mask)
    return inputs, x

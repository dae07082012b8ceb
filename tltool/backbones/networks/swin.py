"""Swin Transformer as a flat functional model, with weights of timm or transformers.

Liu et al. 2021 (arXiv:2103.14030). Maps stay (batch, height, width, channels)
from end to end, so that the model has layer groups, cuts and a feature pyramid
like a CNN. The size of the images is fixed: windows must divide every map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.torch.weights import TensorReader
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.networks.layers import GatherNeighbours, WindowAttention, exact_gelu
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError


@dataclass(frozen=True)
class SwinShape:
    """The sizes of a Swin.

    Attributes:
        width: Channels of the first stage; each next one has twice as many.
        depths, heads: Of each stage.
        window: Height and width of a window, in tokens.
        size_px: Height and width of the images.
        patch_size: Height and width of a patch in pixels.
        mlp_ratio: Width inside a block, in terms of the stage's.
        epsilon: Of all layer normalisations.
    """

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int = 7
    size_px: int = 224
    patch_size: int = 4
    mlp_ratio: float = 4.0
    epsilon: float = 1e-5


@dataclass(frozen=True)
class SwinNames:
    """What a library calls the tensors; `{s}` is a stage and `{i}` a block in it, from 0.

    Attributes:
        patches, patch_norm, final_norm: Outside the stages.
        block: Beginning of a block's names.
        norms, attention, attended, bias_table, hidden, output: In a block; three
            names of `attention` for query, key and value, or one for all.
        merge_norm, merge: What halves the map before stage `{s}`, or after the
            one before, which is `{before}`.
        unused: Beginnings of names that the features do without.
    """

    patches: str
    patch_norm: str
    block: str
    norms: tuple[str, str]
    attention: tuple[str, ...]
    attended: str
    bias_table: str
    hidden: str
    output: str
    merge_norm: str
    merge: str
    final_norm: str
    unused: tuple[str, ...]


TIMM_SWIN = SwinNames(
    patches="patch_embed.proj",
    patch_norm="patch_embed.norm",
    block="layers.{s}.blocks.{i}.",
    norms=("norm1", "norm2"),
    attention=("attn.qkv",),
    attended="attn.proj",
    bias_table="attn.relative_position_bias_table",
    hidden="mlp.fc1",
    output="mlp.fc2",
    merge_norm="layers.{s}.downsample.norm",
    merge="layers.{s}.downsample.reduction",
    final_norm="norm",
    unused=("head.",),
)
TRANSFORMERS_SWIN = SwinNames(
    patches="embeddings.patch_embeddings.projection",
    patch_norm="embeddings.norm",
    block="encoder.layers.{s}.blocks.{i}.",
    norms=("layernorm_before", "layernorm_after"),
    attention=("attention.self.query", "attention.self.key", "attention.self.value"),
    attended="attention.output.dense",
    bias_table="attention.self.relative_position_bias_table",
    hidden="intermediate.dense",
    output="output.dense",
    merge_norm="encoder.layers.{before}.downsample.norm",
    merge="encoder.layers.{before}.downsample.reduction",
    final_norm="layernorm",
    unused=("classifier.", "embeddings.mask_token", "decoder."),
)
# Width, depths and heads (Liu et al. 2021, section 3.3).
SWIN_SIZES: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "large": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


def load_swin(
    names: SwinNames,
    shape: SwinShape,
    tensors: dict[str, NDArray[Any]] | None,
    preprocessing: ImagePreprocessing,
    *,
    name: str,
    dropout: float = 0.0,
) -> Backbone:
    """A Swin with weights of timm or the transformers library.

    Args:
        names: What the library calls its tensors.
        shape: Its sizes.
        tensors: The weights, or None for random ones.
        preprocessing: The contract.
        name: Of the backbone.
        dropout: After attention and in the MLP.

    Raises:
        BackboneError: A window does not divide a map, or a tensor is missing,
            is left over, or has another shape.
    """
    model = build_swin(shape, dropout, name)
    if tensors is not None:
        reader = TensorReader(tensors, name)
        _copy_tensors(model, names, shape, reader)
        # Where each pair of positions finds its bias: computed here.
        reader.finish((*names.unused, *_computed(tensors)))
    feature_map = model.get_layer("final_norm").output
    return Backbone(
        name=name,
        model=model,
        features=Features(pooled=model.output, feature_map=feature_map),
        groups=group_layers(model, GROUP_RULES["swin"], name),
        preprocessing=preprocessing,
    )


def build_swin(shape: SwinShape, dropout: float, name: str) -> keras.Model:
    """The network, from images (batch, height, width, 3) to the mean of the last map.

    Raises:
        BackboneError: A window does not divide a map.
    """

    def norm(own: str) -> layers.LayerNormalization:
        return layers.LayerNormalization(epsilon=shape.epsilon, name=own)

    image = keras.Input((shape.size_px, shape.size_px, 3), name="image")
    patch = shape.patch_size
    x = layers.Conv2D(shape.width, patch, patch, name="patch_embedding")(image)
    x = norm("patch_norm")(x)
    for stage, (depth, heads) in enumerate(zip(shape.depths, shape.heads, strict=True)):
        prefix = f"stage{stage + 1}"
        if stage:
            x = GatherNeighbours(name=f"{prefix}_merge_gather")(x)
            x = norm(f"{prefix}_merge_norm")(x)
            x = layers.Dense(x.shape[-1] // 2, use_bias=False, name=f"{prefix}_merge_reduction")(x)
        side, width = x.shape[1], x.shape[-1]
        window = min(shape.window, side)
        if side % window:
            raise BackboneError(
                f"Backbone {name!r}: windows of {window} tokens do not divide maps of {side}.",
                hint="maps that need padding are not supported",
            )
        for index in range(depth):
            block = f"{prefix}_block{index + 1}"
            # Every other block looks through windows that are shifted by half.
            shift = window // 2 if index % 2 and side > window else 0
            entry = x
            x = norm(f"{block}_norm1")(x)
            x = WindowAttention(heads, window, shift, name=f"{block}_attention")(x)
            x = layers.Dropout(dropout, name=f"{block}_dropout1")(x)
            x = entry = layers.Add(name=f"{block}_add1")([entry, x])
            x = norm(f"{block}_norm2")(x)
            inner = int(width * shape.mlp_ratio)
            x = layers.Dense(inner, exact_gelu, name=f"{block}_hidden")(x)
            x = layers.Dense(width, name=f"{block}_output")(x)
            x = layers.Dropout(dropout, name=f"{block}_dropout2")(x)
            x = layers.Add(name=f"{block}_add2")([entry, x])
    x = norm("final_norm")(x)
    return keras.Model(image, layers.GlobalAveragePooling2D(name="pooled")(x), name="swin")


def _copy_tensors(
    model: keras.Model, names: SwinNames, shape: SwinShape, reader: TensorReader
) -> None:
    """Fills the model."""
    fill, dense, norm, layer = reader.fill, reader.dense, reader.norm, model.get_layer
    fill(layer("patch_embedding"), reader.convolution(names.patches))
    fill(layer("patch_norm"), norm(names.patch_norm))
    for stage, depth in enumerate(shape.depths):
        place = {"s": stage, "before": stage - 1}
        if stage:
            fill(layer(f"stage{stage + 1}_merge_norm"), norm(names.merge_norm.format(**place)))
            reduction = reader.take(names.merge.format(**place) + ".weight")
            fill(layer(f"stage{stage + 1}_merge_reduction"), [reduction.T])
        for index in range(depth):
            block = f"stage{stage + 1}_block{index + 1}"
            prefix = names.block.format(s=stage, i=index)
            for own, theirs in zip(("norm1", "norm2"), names.norms, strict=True):
                fill(layer(f"{block}_{own}"), norm(prefix + theirs))
            fill(layer(f"{block}_hidden"), dense(prefix + names.hidden))
            fill(layer(f"{block}_output"), dense(prefix + names.output))
            parts = [dense(prefix + own) for own in names.attention]
            attention = layer(f"{block}_attention")
            attention.bias_table.assign(
                reader.folded(reader.take(prefix + names.bias_table), attention.bias_table)
            )
            joined = [np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)]
            fill(attention.input_projection, joined)
            fill(attention.output_projection, dense(prefix + names.attended))
    fill(layer("final_norm"), norm(names.final_norm))


def _computed(tensors: dict[str, NDArray[Any]]) -> tuple[str, ...]:
    suffixes = ("relative_position_index", "attn_mask")
    return tuple(key for key in tensors if key.endswith(suffixes))

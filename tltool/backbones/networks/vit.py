"""ViT, DeiT and DINOv2 as flat functional models, of KerasHub, timm or transformers.

KerasHub's ViT and DeiT keep all blocks inside one layer, so a model on them
can be neither cut nor frozen between blocks, and a saved one cannot be loaded
again (the configurations of their layers do not fit their constructors).
Here the same network is built of public layers and gets the same weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import layers
from numpy.typing import NDArray

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.torch.weights import TensorReader
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.networks.layers import FirstToken, TokensAndPositions
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class VitNames:
    """What a library calls the tensors of a ViT; `{i}` stands for the number of a block.

    Attributes:
        patches, positions, final_norm: Layers and tensors outside the blocks.
        tokens: The class token, and DeiT's distillation token where there is one.
        block: Beginning of a block's names.
        query, key, value: Attention's inputs; the same name for one that holds all three.
        attended, norms, hidden, output: The other layers of a block.
        unused: Beginnings of names that the features do without.
        scales: DINOv2's factors of what attention and the MLP add.
    """

    patches: str
    tokens: tuple[str, ...]
    positions: str
    block: str
    query: str
    key: str
    value: str
    attended: str
    norms: tuple[str, str]
    hidden: str
    output: str
    final_norm: str
    unused: tuple[str, ...]
    scales: tuple[str, str] | None = None


TIMM_VIT = VitNames(
    patches="patch_embed.proj",
    tokens=("cls_token",),
    positions="pos_embed",
    block="blocks.{i}.",
    query="attn.qkv",
    key="attn.qkv",
    value="attn.qkv",
    attended="attn.proj",
    norms=("norm1", "norm2"),
    hidden="mlp.fc1",
    output="mlp.fc2",
    final_norm="norm",
    unused=("head.",),
)
TIMM_DINOV2 = replace(TIMM_VIT, unused=("head.", "mask_token"), scales=("ls1.gamma", "ls2.gamma"))
TRANSFORMERS_VIT = VitNames(
    patches="embeddings.patch_embeddings.projection",
    tokens=("embeddings.cls_token",),
    positions="embeddings.position_embeddings",
    block="encoder.layer.{i}.",
    query="attention.attention.query",
    key="attention.attention.key",
    value="attention.attention.value",
    attended="attention.output.dense",
    norms=("layernorm_before", "layernorm_after"),
    hidden="intermediate.dense",
    output="output.dense",
    final_norm="layernorm",
    unused=("classifier.", "pooler.", "embeddings.mask_token", "decoder."),
)
TRANSFORMERS_DINOV2 = replace(
    TRANSFORMERS_VIT,
    norms=("norm1", "norm2"),
    hidden="mlp.fc1",
    output="mlp.fc2",
    unused=("classifier.", "embeddings.mask_token"),
    scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
)
# Width, blocks and heads (Dosovitskiy et al. 2021, table 1; Touvron et al. 2021, table 1).
_TIMM_SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


def timm_vit_config(architecture: str, size_px: tuple[int, int]) -> dict[str, Any]:
    """The configuration of a ViT that timm calls like `vit_base_patch16_224`."""
    match = re.fullmatch(r"\w+?_(tiny|small|base|large)_patch(\d+)_\w+", architecture)
    if match is None:
        raise BackboneError(f"{architecture!r} is no ViT of timm's that tltool knows.")
    width, blocks, heads = _TIMM_SIZES[match[1]]
    return {
        "hidden_dim": width,
        "num_layers": blocks,
        "num_heads": heads,
        "mlp_dim": 4 * width,
        "patch_size": int(match[2]),
        "image_shape": (*size_px, 3),
        "layer_norm_epsilon": 1e-6,
    }


def load_vit(
    names: VitNames,
    config: dict[str, Any],
    tensors: Tensors | None,
    preprocessing: ImagePreprocessing,
    *,
    name: str,
    dropout: float | None = None,
) -> Backbone:
    """A ViT with weights of timm or the transformers library.

    Args:
        names: What the library calls its tensors.
        config: As `timm_vit_config` gives it.
        tensors: The weights, or None for random ones.
        preprocessing: The contract.
        name: Of the backbone.
        dropout: In all blocks; None has none.

    Raises:
        BackboneError: A tensor is missing, is left over, or has another shape.
    """
    config = {**config, "dropout_rate": dropout or 0.0}
    model = _build(config, prefix_tokens=len(names.tokens))
    if tensors is not None:
        reader = TensorReader(tensors, name)
        _copy_tensors(model, names, reader, config["num_layers"])
        reader.finish(names.unused)
    return Backbone(
        name=name,
        model=model,
        features=Features(pooled=model.output, sequence=model.get_layer("final_norm").output),
        groups=group_layers(model, GROUP_RULES["vit"], name),
        preprocessing=preprocessing,
    )


def _copy_tensors(model: keras.Model, names: VitNames, reader: TensorReader, blocks: int) -> None:
    """Fills the model."""
    take, dense, layer = reader.take, reader.dense, model.get_layer
    reader.fill(layer("patch_embedding"), reader.convolution(names.patches))
    tokens = np.concatenate([take(key).reshape(1, -1) for key in names.tokens])
    joined = layer("tokens_and_positions")
    rows = joined.positions.shape[0]
    positions = resized_positions(take(names.positions), rows, len(tokens))
    reader.fill(joined, [tokens, positions])
    for index in range(blocks):
        prefix = names.block.format(i=index)
        attention = _attention(dense, names, prefix)
        first, second = (reader.norm(prefix + own) for own in names.norms)
        hidden, output = dense(prefix + names.hidden), dense(prefix + names.output)
        if names.scales is not None:
            # The factors of what a dense layer gives are factors of its weights.
            first_scale, second_scale = (take(prefix + own) for own in names.scales)
            attention[-2:] = [array * first_scale for array in attention[-2:]]
            output = [array * second_scale for array in output]
        weights = [*attention, *first, *second, *hidden, *output]
        reader.fill(layer(f"transformer_layer_{index}"), weights)
    reader.fill(layer("final_norm"), reader.norm(names.final_norm))


def resized_positions(positions: NDArray[Any], rows: int, prefix_tokens: int) -> NDArray[Any]:
    """Position embeddings for another number of patches, as the transformers library resizes them.

    Args:
        positions: (1, prefix_tokens + side * side, width) of a square image.
        rows: prefix_tokens + the square of another side.
        prefix_tokens: Rows before those of the patches, which stay.

    Returns:
        (rows, width); by bicubic interpolation where the side differs.
    """
    positions = positions.reshape(-1, positions.shape[-1])
    if len(positions) == rows:
        return positions
    prefix, patches = positions[:prefix_tokens], positions[prefix_tokens:]
    old, new = math.isqrt(len(patches)), math.isqrt(rows - prefix_tokens)
    weights = _bicubic(old, new)
    grid = patches.reshape(old, old, -1)
    resized = np.einsum("ai,bj,ijc->abc", weights, weights, grid)
    return np.concatenate([prefix, resized.reshape(new * new, -1)]).astype(positions.dtype)


def _bicubic(old: int, new: int) -> NDArray[Any]:
    """Weights (new, old) of torch's bicubic interpolation: Keys' kernel with a = -0.75.

    Source: `upsample_bicubic2d` of torch with `align_corners=False`.
    """
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centres).astype(int)
    weights = np.zeros((new, old))
    a = -0.75
    for offset in (-1, 0, 1, 2):
        x = np.abs(centres - (first + offset))
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * (x**3 - 5 * x**2 + 8 * x - 4)
        columns = np.clip(first + offset, 0, old - 1)
        np.add.at(weights, (np.arange(new), columns), np.where(x <= 1, near, far))
    return weights


def _attention(
    dense: Callable[[str], list[NDArray[Any]]], names: VitNames, prefix: str
) -> list[NDArray[Any]]:
    """Kernels and biases of query, key, value and output, as matrices."""
    if names.query == names.key == names.value:
        kernel, bias = dense(prefix + names.query)
        parts = zip(np.split(kernel, 3, axis=1), np.split(bias, 3), strict=True)
        read = [array for part in parts for array in part]
    else:
        read = [
            array for own in (names.query, names.key, names.value) for array in dense(prefix + own)
        ]
    return [*read, *dense(prefix + names.attended)]


def flatten_vit(backbone: Any, name: str) -> keras.Model:
    """Rebuilds a `ViTBackbone` or `DeiTBackbone` as a flat model with equal outputs.

    Args:
        backbone: The KerasHub model.
        name: Of the backbone, for messages.

    Returns:
        Functional model from images (batch, height, width, 3) to the class
        token's features (batch, hidden_dim); the layer `final_norm` gives all
        tokens. In training, dropout also falls on attention probabilities and
        not between the two layers of the MLP.

    Raises:
        BackboneError: A variant without class token or without attention biases.
    """
    config = backbone.get_config()
    distilled = isinstance(backbone, keras_hub.models.DeiTBackbone)
    needed = ("use_mha_bias", "use_mlp_bias", "use_class_token")
    lacking = [key for key in needed if not config.get(key, True)]
    if lacking:
        raise BackboneError(
            f"Backbone {name!r}: a ViT with {lacking[0]}=False is not supported.",
            hint="take one with a class token and biases, such as vit_base_patch16_224_imagenet",
        )
    prefix = "deit" if distilled else "vit"
    embedding = backbone.get_layer(f"{prefix}_patching_and_embedding")
    encoder = backbone.get_layer(f"{prefix}_encoder")
    model = _build(config, prefix_tokens=2 if distilled else 1)
    _copy_embedding(model, embedding, distilled)
    for index, block in enumerate(encoder.encoder_layers):
        _copy_block(model.get_layer(f"transformer_layer_{index}"), block)
    model.get_layer("final_norm").set_weights(encoder.layer_norm.get_weights())
    return model


def _build(config: dict[str, Any], prefix_tokens: int) -> keras.Model:
    width, rate = config["hidden_dim"], config["dropout_rate"]
    image = keras.Input(tuple(config["image_shape"]), name="image")
    x = layers.Conv2D(
        width,
        config["patch_size"],
        config["patch_size"],
        use_bias=config.get("use_patch_bias", True),
        name="patch_embedding",
    )(image)
    x = layers.Reshape((x.shape[1] * x.shape[2], width), name="patches")(x)
    x = TokensAndPositions(prefix_tokens, name="tokens_and_positions")(x)
    x = layers.Dropout(rate, name="embeddings_dropout")(x)
    for index in range(config["num_layers"]):
        x = keras_hub.layers.TransformerEncoder(
            intermediate_dim=config.get("mlp_dim", config.get("intermediate_dim")),
            num_heads=config["num_heads"],
            dropout=rate,
            activation="gelu",
            layer_norm_epsilon=config["layer_norm_epsilon"],
            normalize_first=True,
            name=f"transformer_layer_{index}",
        )(x)
    x = layers.LayerNormalization(epsilon=config["layer_norm_epsilon"], name="final_norm")(x)
    return keras.Model(image, FirstToken(name="pooled")(x), name="vit")


def _copy_embedding(model: keras.Model, embedding: Any, distilled: bool) -> None:
    model.get_layer("patch_embedding").set_weights(embedding.patch_embedding.get_weights())
    tokens = [embedding.class_token]
    positions = embedding.position_embedding
    if distilled:
        tokens.append(embedding.distillation_token)
    else:
        positions = positions.embeddings
    target = model.get_layer("tokens_and_positions")
    target.tokens.assign(keras.ops.concatenate([keras.ops.reshape(t, (1, -1)) for t in tokens]))
    target.positions.assign(keras.ops.reshape(positions, target.positions.shape))


def _copy_block(target: Any, source: Any) -> None:
    """Copies a block: the source lists norm, attention, norm, MLP; the target attention first."""
    weights = source.get_weights()
    norm, attention, rest = weights[:2], weights[2:10], weights[10:]
    target.set_weights([*attention, *norm, *rest])

"""EfficientNet-Lite0 as a flat functional model, and its weights from the torch checkpoint.

EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excite and
with ReLU6, as published in TensorFlow's `tpu/models/official/efficientnet/lite`.
KerasHub's EfficientNet pads symmetrically where these weights were trained
with TensorFlow's "same" padding, which costs accuracy; hence a builder here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
from keras import layers
from numpy.typing import NDArray

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.image_input import resized
from tltool.backbones.formats.torch.file import read_torch_file
from tltool.backbones.formats.torch.weights import copy_torch_weights
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.data.preprocessing import ImagePreprocessing

STEM_CHANNELS = 32
TOP_CHANNELS = 1280
NUM_IMAGENET_CLASSES = 1000
# As in the original; Keras' momentum is the share of the old average that is kept.
BATCH_NORM = {"epsilon": 1e-3, "momentum": 0.99}


class Stage(NamedTuple):
    """Inverted residual blocks of one width; the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def load_efficientnet_lite0(
    path: Path | None,
    contract: ImagePreprocessing,
    *,
    name: str,
    image_size_px: int | None = None,
) -> Backbone:
    """Loads EfficientNet-Lite0 as a backbone.

    Args:
        path: The torch checkpoint; None leaves fresh random weights.
        contract: Preprocessing at the size the weights were trained at.
        name: Of the backbone.
        image_size_px: Another height and width of the input, or None.

    Raises:
        BackboneError: The checkpoint cannot be read or does not fit, or the
            size is not a multiple of 32.
    """
    preprocessing = resized(contract, image_size_px, name)
    # What is loaded anyway is not drawn at random first.
    network = build_efficientnet_lite0(
        preprocessing.size_px, initializer="glorot_uniform" if path is None else "zeros"
    )
    if path is not None:
        load_torch_weights(network, read_torch_file(path))
    pooled = layers.GlobalAveragePooling2D(name="pooled")(network.output)
    model = keras.Model(network.input, pooled, name="efficientnet_lite0")
    return Backbone(
        name=name,
        model=model,
        features=Features(pooled=pooled, feature_map=network.output),
        groups=group_layers(model, GROUP_RULES["efficientnet_lite"], name),
        preprocessing=preprocessing,
    )


def build_efficientnet_lite0(
    size_px: tuple[int, int] = (224, 224),
    *,
    include_classifier: bool = False,
    initializer: str = "glorot_uniform",
) -> keras.Model:
    """Builds the network with fresh weights.

    Args:
        size_px: Height and width of the input; multiples of 32.
        include_classifier: Ends in the 1000 ImageNet logits instead of the last map.
        initializer: Of the kernels, a name that Keras knows.

    Returns:
        Functional model from float32 images (batch, height, width, 3), already
        preprocessed, to the map (batch, height / 32, width / 32, 1280) or to
        logits (batch, 1000).
    """
    image = keras.Input((*size_px, 3), name="image")
    convolution = partial(layers.Conv2D, use_bias=False, kernel_initializer=initializer)
    x = convolution(STEM_CHANNELS, 3, 2, padding="same", name="stem_conv")(image)
    x = _norm_relu6(x, "stem")
    for number, stage in enumerate(STAGES, start=1):
        for index in range(stage.repeats):
            x = _block(x, stage, index == 0, f"stage{number}_block{index + 1}", initializer)
    x = convolution(TOP_CHANNELS, 1, name="top_conv")(x)
    x = _norm_relu6(x, "top")
    if include_classifier:
        x = layers.GlobalAveragePooling2D(name="pooled")(x)
        x = layers.Dense(NUM_IMAGENET_CLASSES, name="classifier")(x)
    return keras.Model(image, x, name="efficientnet_lite0")


def _block(x: Any, stage: Stage, first: bool, name: str, initializer: str) -> Any:
    """An inverted residual block: expand, depthwise, project, and add where shapes agree."""
    convolution = partial(layers.Conv2D, use_bias=False, kernel_initializer=initializer)
    entry, channels = x, x.shape[-1]
    stride = stage.stride if first else 1
    if stage.expansion != 1:
        x = convolution(channels * stage.expansion, 1, name=f"{name}_expand_conv")(x)
        x = _norm_relu6(x, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        stage.kernel,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=initializer,
        name=f"{name}_depthwise_conv",
    )(x)
    x = _norm_relu6(x, f"{name}_depthwise")
    x = convolution(stage.channels, 1, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_project_bn", **BATCH_NORM)(x)
    if stride == 1 and channels == stage.channels:
        x = layers.Add(name=f"{name}_add")([entry, x])
    return x


def _norm_relu6(x: Any, name: str) -> Any:
    x = layers.BatchNormalization(name=f"{name}_bn", **BATCH_NORM)(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x)


def load_torch_weights(model: keras.Model, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Copies a torch state dict into a model of `build_efficientnet_lite0`.

    Args:
        model: With or without the classifier.
        tensors: As `read_torch_file` returns them; `_fc.*` is left aside where
            the model has no classifier.

    Raises:
        BackboneError: A tensor is missing, is left over, or has another shape.
    """
    copy_torch_weights(
        model, _torch_names().__getitem__, tensors, name=model.name, unused=("_fc.",)
    )


def _torch_names() -> dict[str, str]:
    """Layer name to the prefix of its tensors, as efficientnet_lite_pytorch names them."""
    names = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
        "classifier": "_fc",
    }
    parts = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    blocks = [
        f"stage{number}_block{index + 1}"
        for number, stage in enumerate(STAGES, start=1)
        for index in range(stage.repeats)
    ]
    for position, block in enumerate(blocks):
        for part, norm in parts.items():
            names[f"{block}_{part}_conv"] = f"_blocks.{position}._{part}_conv"
            names[f"{block}_{part}_bn"] = f"_blocks.{position}.{norm}"
    return names

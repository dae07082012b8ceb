"""KerasCV's CSPDarkNet and YOLOv8 backbones as flat functional models.

CSPDarkNet of YOLOX (Ge et al. 2021, arXiv:2107.08430) and the backbone of
YOLOv8, as keras-cv 0.9 has them. Its CSPDarkNet holds Lambda layers, which a
saved model can't be loaded with, and layers without names of their own; hence
builders here, whose models need no keras-cv. Both map images that are scaled
to 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import layers

from tltool.backbones.networks.layers import GatherNeighbours


@dataclass(frozen=True)
class DarkShape:
    """The sizes of one of these networks.

    Attributes:
        channels: Of each stage.
        depths: Blocks in each stage.
        activation: A name that Keras knows.
    """

    channels: Sequence[int]
    depths: Sequence[int]
    activation: str = "silu"


@dataclass(frozen=True)
class _Blocks:
    """Makes blocks of a convolution, a BatchNorm and an activation.

    Attributes:
        activation: A name that Keras knows.
        initializer: Of the kernels.
        momentum: Of BatchNorm, the share of the old average that is kept.
        symmetric: Whether a larger kernel pads alike on all sides, also with a
            stride; TensorFlow's "same" pads more at the end there.
    """

    activation: str
    initializer: str
    momentum: float
    symmetric: bool

    def __call__(self, x: Any, channels: int, kernel: int, name: str, stride: int = 1) -> Any:
        if self.symmetric and kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        x = layers.Conv2D(
            channels,
            kernel,
            stride,
            padding="valid" if self.symmetric else "same",
            use_bias=False,
            kernel_initializer=self.initializer,
            name=f"{name}_conv",
        )(x)
        x = layers.BatchNormalization(epsilon=1e-3, momentum=self.momentum, name=f"{name}_bn")(x)
        return layers.Activation(self.activation, name=f"{name}_{self.activation}")(x)


def build_csp_darknet(
    shape: DarkShape, size_px: tuple[int, int], initializer: str = "glorot_uniform"
) -> keras.Model:
    """Builds CSPDarkNet with fresh weights.

    Args:
        shape: Its sizes.
        size_px: Height and width of the input; multiples of 32 for four stages.
        initializer: Of the kernels, a name that Keras knows.

    Returns:
        From float32 images (batch, height, width, 3) in 0..1 to the last map;
        the map of stage n is half as high and wide as that of the one before.
    """
    block = _Blocks(shape.activation, initializer, momentum=0.99, symmetric=False)
    image = keras.Input((*size_px, 3), name="image")
    x = GatherNeighbours(name="stem_focus")(image)
    x = block(x, shape.channels[0] // 2, 3, "stem_conv")
    last = len(shape.depths) - 1
    for index, (channels, depth) in enumerate(zip(shape.channels, shape.depths, strict=True)):
        name = f"dark{index + 2}"
        x = block(x, channels, 3, f"{name}_conv", stride=2)
        if index == last:
            x = _pooled_at_once(x, channels, block, f"{name}_spp")
        x = _partial(x, channels, depth, index != last, block, f"{name}_csp")
    return keras.Model(image, x, name="csp_darknet")


def _pooled_at_once(x: Any, channels: int, block: _Blocks, name: str) -> Any:
    """Spatial pyramid pooling: the map beside its maxima over three sizes of window."""
    x = block(x, channels // 2, 1, f"{name}_conv1")
    pooled = [
        layers.MaxPooling2D(size, 1, padding="same", name=f"{name}_maxpool_{size}")(x)
        for size in (5, 9, 13)
    ]
    x = layers.Concatenate(name=f"{name}_concat")([x, *pooled])
    return block(x, channels, 1, f"{name}_conv2")


def _partial(x: Any, channels: int, depth: int, residual: bool, block: _Blocks, name: str) -> Any:
    """A cross-stage partial block: half of the channels pass by the bottlenecks."""
    deep = block(x, channels // 2, 1, f"{name}_conv1")
    short = block(x, channels // 2, 1, f"{name}_conv2")
    for index in range(1, depth + 1):
        entry = deep
        deep = block(deep, channels // 2, 1, f"{name}_bottleneck{index}_conv1")
        deep = block(deep, channels // 2, 3, f"{name}_bottleneck{index}_conv2")
        if residual:
            deep = layers.Add(name=f"{name}_bottleneck{index}_add")([entry, deep])
    x = layers.Concatenate(name=f"{name}_concat")([deep, short])
    return block(x, channels, 1, f"{name}_conv3")


def build_yolo_v8(
    shape: DarkShape, size_px: tuple[int, int], initializer: str = "glorot_uniform"
) -> keras.Model:
    """Builds the backbone of YOLOv8 with fresh weights; see `build_csp_darknet`."""
    block = _Blocks(shape.activation, initializer, momentum=0.97, symmetric=True)
    image = keras.Input((*size_px, 3), name="image")
    x = block(image, shape.channels[0] // 2, 3, "stem_1", stride=2)
    x = block(x, shape.channels[0], 3, "stem_2", stride=2)
    for index, (channels, depth) in enumerate(zip(shape.channels, shape.depths, strict=True)):
        name = f"stack{index + 1}"
        if index:
            x = block(x, channels, 3, f"{name}_downsample", stride=2)
        x = _all_depths(x, channels, depth, block, f"{name}_c2f")
        if index == len(shape.depths) - 1:
            x = _pooled_in_turn(x, channels, block, f"{name}_spp_fast")
    return keras.Model(image, x, name="yolo_v8")


def _all_depths(x: Any, channels: int, depth: int, block: _Blocks, name: str) -> Any:
    """A block that hands on what each of its bottlenecks makes.

    KerasCV has one convolution for `short` and `deep` and splits its output.
    """
    short = block(x, channels // 2, 1, f"{name}_short")
    deep = block(x, channels // 2, 1, f"{name}_deep")
    parts = [short, deep]
    for index in range(depth):
        deep = block(parts[-1], channels // 2, 3, f"{name}_pre_{index}_1")
        deep = block(deep, channels // 2, 3, f"{name}_pre_{index}_2")
        parts.append(layers.Add(name=f"{name}_add_{index}")([parts[-1], deep]))
    x = layers.Concatenate(name=f"{name}_concat")(parts)
    return block(x, channels, 1, f"{name}_output")


def _pooled_in_turn(x: Any, channels: int, block: _Blocks, name: str) -> Any:
    """Spatial pyramid pooling, each window over what the one before gave."""
    parts = [block(x, channels // 2, 1, f"{name}_pre")]
    for index in (1, 2, 3):
        pool = partial(layers.MaxPooling2D, 5, 1, padding="same")
        parts.append(pool(name=f"{name}_pool{index}")(parts[-1]))
    x = layers.Concatenate(name=f"{name}_concat")(parts)
    return block(x, channels, 1, f"{name}_output")

"""CNNs of inverted residual blocks as PyTorch's libraries define them, padded alike on all sides.

MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), MobileNetV3 (Howard et al.
2019, arXiv:1905.02244) and EfficientNet (Tan and Le 2019, arXiv:1905.11946),
flat, with the sizes of `torchvision.models`. Keras' own pad like TensorFlow,
which puts one pixel more below and to the right wherever a map is halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras
from keras import layers


class Block(NamedTuple):
    """An inverted residual block.

    Attributes:
        kernel, stride: Of the convolution that sees neighbours.
        expanded: Channels inside.
        channels: Channels that it gives.
        squeezed: Channels of squeeze-and-excite, 0 where there is none.
        activation: Name of a Keras activation.
    """

    kernel: int
    stride: int
    expanded: int
    channels: int
    squeezed: int = 0
    activation: str = "silu"


@dataclass(frozen=True)
class InvertedShape:
    """The sizes of a network.

    Attributes:
        stem: Channels of the first convolution.
        stages: Blocks that belong together.
        top: Channels of the last convolution.
        activation: Of both.
        gates: The two activations of squeeze-and-excite.
        epsilon, momentum: Of all BatchNorm; momentum as Keras means it.
    """

    stem: int
    stages: tuple[tuple[Block, ...], ...]
    top: int
    activation: str = "silu"
    gates: tuple[str, str] = ("silu", "sigmoid")
    epsilon: float = 1e-5
    momentum: float = 0.9

    def blocks(self) -> Iterator[tuple[str, int, int, Block, tuple[str, ...]]]:
        """Each block's name, its stage and place in it from 0, and the parts that it has."""
        channels = self.stem
        for stage, blocks in enumerate(self.stages):
            for index, block in enumerate(blocks):
                name = f"stage{stage + 1}_block{index + 1}"
                yield name, stage, index, block, _parts(block, channels)
                channels = block.channels


def _parts(block: Block, channels: int) -> tuple[str, ...]:
    """What a block that reads so many channels is made of, in order."""
    expands = ("expand",) if block.expanded != channels else ()
    squeezes = ("squeeze",) if block.squeezed else ()
    return (*expands, "depthwise", *squeezes, "project")


def build_inverted(shape: InvertedShape, size_px: tuple[int, int], name: str) -> keras.Model:
    """The network, from images (batch, height, width, 3) to the last map, halved five times."""
    image = keras.Input((*size_px, 3), name="image")
    x = _convolved(image, "stem", shape.stem, 3, 2)
    x = _normalised(x, "stem", shape, shape.activation)
    for own, _, _, block, parts in shape.blocks():
        x = _block(x, own, shape, block, parts)
    x = _convolved(x, "top", shape.top)
    return keras.Model(image, _normalised(x, "top", shape, shape.activation), name=name)


def _block(x: Any, name: str, shape: InvertedShape, block: Block, parts: tuple[str, ...]) -> Any:
    """Expand, see the neighbours, weigh, project, and add where shapes agree."""
    entry = x
    for part in parts:
        own = f"{name}_{part}"
        if part == "squeeze":
            x = _gated(x, name, block.squeezed, shape.gates)
        elif part == "expand":
            x = _normalised(_convolved(x, own, block.expanded), own, shape, block.activation)
        elif part == "depthwise":
            x = _normalised(_depthwise(x, own, block), own, shape, block.activation)
        else:
            x = _normalised(_convolved(x, own, block.channels), own, shape, None)
    if block.stride == 1 and entry.shape[-1] == block.channels:
        x = layers.Add(name=f"{name}_add")([entry, x])
    return x


def _normalised(x: Any, name: str, shape: InvertedShape, activation: str | None) -> Any:
    x = layers.BatchNormalization(
        epsilon=shape.epsilon, momentum=shape.momentum, name=f"{name}_bn"
    )(x)
    return x if activation is None else layers.Activation(activation, name=f"{name}_act")(x)


def _convolved(x: Any, name: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
    x, padding = _padded(x, kernel, stride, name)
    return layers.Conv2D(
        channels, kernel, stride, padding=padding, use_bias=False, name=f"{name}_conv"
    )(x)


def _depthwise(x: Any, name: str, block: Block) -> Any:
    x, padding = _padded(x, block.kernel, block.stride, name)
    return layers.DepthwiseConv2D(
        block.kernel, block.stride, padding=padding, use_bias=False, name=f"{name}_conv"
    )(x)


def _padded(x: Any, kernel: int, stride: int, name: str) -> tuple[Any, str]:
    """The map and the padding that a convolution then does itself."""
    if stride == 1:
        return x, "same"
    return layers.ZeroPadding2D((kernel - 1) // 2, name=f"{name}_pad")(x), "valid"


def _gated(x: Any, name: str, squeezed: int, gates: tuple[str, str]) -> Any:
    """Squeeze-and-excite: channels weighed by what all of them are on average."""
    weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    weight = layers.Conv2D(squeezed, 1, activation=gates[0], name=f"{name}_squeeze")(weight)
    weight = layers.Conv2D(x.shape[-1], 1, activation=gates[1], name=f"{name}_excite")(weight)
    return layers.Multiply(name=f"{name}_gated")([x, weight])


def _divisible(channels: float) -> int:
    """The nearest multiple of 8 that is not much smaller."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class _Row(NamedTuple):
    """Blocks of one width, as the papers' tables have them."""

    expansion: int
    kernel: int
    stride: int
    entering: int
    channels: int
    repeats: int


def _stage(row: _Row, *, squeezes: bool, activation: str) -> tuple[Block, ...]:
    blocks = []
    for index in range(row.repeats):
        entering = row.channels if index else row.entering
        block = Block(
            row.kernel,
            1 if index else row.stride,
            _divisible(entering * row.expansion),
            row.channels,
            max(1, entering // 4) if squeezes else 0,
            activation,
        )
        blocks.append(block)
    return tuple(blocks)


# Expansion, kernel, stride, channels before and after, repeats.
_EFFICIENTNET = (
    _Row(1, 3, 1, 32, 16, 1),
    _Row(6, 3, 2, 16, 24, 2),
    _Row(6, 5, 2, 24, 40, 2),
    _Row(6, 3, 2, 40, 80, 3),
    _Row(6, 5, 1, 80, 112, 3),
    _Row(6, 5, 2, 112, 192, 4),
    _Row(6, 3, 1, 192, 320, 1),
)
_MOBILENET_V2 = (
    _Row(1, 3, 1, 32, 16, 1),
    _Row(6, 3, 2, 16, 24, 2),
    _Row(6, 3, 2, 24, 32, 3),
    _Row(6, 3, 2, 32, 64, 4),
    _Row(6, 3, 1, 64, 96, 3),
    _Row(6, 3, 2, 96, 160, 3),
    _Row(6, 3, 1, 160, 320, 1),
)
# Kernel, channels inside and after, squeeze-and-excite, ReLU in place of hard swish, stride.
_MOBILENET_V3 = {
    "large": (
        ((3, 16, 16, False, True, 1),),
        ((3, 64, 24, False, True, 2), (3, 72, 24, False, True, 1)),
        ((5, 72, 40, True, True, 2), *((5, 120, 40, True, True, 1),) * 2),
        (
            (3, 240, 80, False, False, 2),
            (3, 200, 80, False, False, 1),
            *((3, 184, 80, False, False, 1),) * 2,
        ),
        ((3, 480, 112, True, False, 1), (3, 672, 112, True, False, 1)),
        ((5, 672, 160, True, False, 2), *((5, 960, 160, True, False, 1),) * 2),
    ),
    "small": (
        ((3, 16, 16, True, True, 2),),
        ((3, 72, 24, False, True, 2), (3, 88, 24, False, True, 1)),
        ((5, 96, 40, True, False, 2), *((5, 240, 40, True, False, 1),) * 2),
        ((5, 120, 48, True, False, 1), (5, 144, 48, True, False, 1)),
        ((5, 288, 96, True, False, 2), *((5, 576, 96, True, False, 1),) * 2),
    ),
}


def _efficientnet(
    width: float, depth: float, epsilon: float = 1e-5, momentum: float = 0.9
) -> InvertedShape:
    rows = [
        row._replace(
            entering=_divisible(row.entering * width),
            channels=_divisible(row.channels * width),
            repeats=math.ceil(row.repeats * depth),
        )
        for row in _EFFICIENTNET
    ]
    stages = tuple(_stage(row, squeezes=True, activation="silu") for row in rows)
    top = 4 * rows[-1].channels
    return InvertedShape(rows[0].entering, stages, top, epsilon=epsilon, momentum=momentum)


def _mobilenet_v2() -> InvertedShape:
    stages = tuple(_stage(row, squeezes=False, activation="relu6") for row in _MOBILENET_V2)
    return InvertedShape(32, stages, 1280, "relu6")


def _mobilenet_v3(size: str) -> InvertedShape:
    stages = tuple(
        tuple(
            Block(
                kernel,
                stride,
                inside,
                channels,
                _divisible(inside // 4) if squeezes else 0,
                "relu" if rectified else "hard_silu",
            )
            for kernel, inside, channels, squeezes, rectified, stride in blocks
        )
        for blocks in _MOBILENET_V3[size]
    )
    top = 6 * stages[-1][-1].channels
    gates = ("relu", "hard_sigmoid")
    return InvertedShape(16, stages, top, "hard_silu", gates, epsilon=1e-3, momentum=0.99)


INVERTED: dict[str, Callable[[], InvertedShape]] = {
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3_small": partial(_mobilenet_v3, "small"),
    "mobilenet_v3_large": partial(_mobilenet_v3, "large"),
    "efficientnet_b0": partial(_efficientnet, 1.0, 1.0),
    "efficientnet_b1": partial(_efficientnet, 1.0, 1.1),
    "efficientnet_b2": partial(_efficientnet, 1.1, 1.2),
    "efficientnet_b3": partial(_efficientnet, 1.2, 1.4),
    "efficientnet_b4": partial(_efficientnet, 1.4, 1.8),
    "efficientnet_b5": partial(_efficientnet, 1.6, 2.2, 1e-3, 0.99),
    "efficientnet_b6": partial(_efficientnet, 1.8, 2.6, 1e-3, 0.99),
    "efficientnet_b7": partial(_efficientnet, 2.0, 3.1, 1e-3, 0.99),
}
"""The sizes of a network by torchvision's name of it."""

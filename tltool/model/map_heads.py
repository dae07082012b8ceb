"""Heads that give an output at every pixel of the input, on the maps of a pyramid.

They use `features.pyramid` and end in logits at the size of the model's input,
(batch, height, width, task.num_outputs), float32. Their layers are those that
LiteRT, its GPU delegate and 8-bit processors have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltool.backbones.base import Features
from tltool.support.errors import HeadError
from tltool.tasks.table import Task

# Of the moving averages of new BatchNorm layers: Keras' 0.99 takes hundreds of steps to settle.
_MOMENTUM = 0.9


def fpn_head(
    features: Features,
    task: Task,
    *,
    width: int = 64,
    finest_stride: int = 2,
    dropout: float = 0.1,
) -> Any:
    """A light feature pyramid (Lin et al. 2017, arXiv:1612.03144), the head of masks by default.

    From the smallest map on, each is enlarged, added to the next larger one,
    and smoothed by a depthwise-separable convolution, as phones compute fast.

    Args:
        features: Uses `features.pyramid`.
        task: Sets the number of classes.
        width: Channels of every map.
        finest_stride: Pixels of the input to one of the largest map that is used.
        dropout: Share of the last map's values that are dropped.

    Raises:
        HeadError: The backbone has no such maps.
    """
    maps = _pyramid(features, task, finest_stride)
    x = _convolved(maps[-1], width, 1, "head_top")
    for level, lateral in reversed([*enumerate(maps[:-1])]):
        name = f"head_level{level}"
        x = _add(_resized(x, lateral, name), _convolved(lateral, width, 1, f"{name}_lateral"), name)
        x = _separable(x, width, f"{name}_smooth")
    return _logits(x, features, task, dropout)


def deeplab_head(
    features: Features,
    task: Task,
    *,
    width: int = 256,
    rates: Sequence[int] = (6, 12, 18),
    detail_width: int = 48,
    dropout: float = 0.1,
) -> Any:
    """DeepLabV3+ (Chen et al. 2018, arXiv:1802.02611), for more accuracy than `fpn` at more cost.

    Atrous spatial pyramid pooling with depthwise-separable convolutions, and a
    decoder that adds the detail of the map of stride 4. The backbone is as it
    was pretrained, without dilation: the pooling reads its map of stride 16
    together with the smaller one, enlarged.

    Args:
        features: Uses `features.pyramid`.
        task: Sets the number of classes.
        width: Channels of the pooling and the decoder.
        rates: Dilations of the pooling's convolutions.
        detail_width: Channels that the map of stride 4 is reduced to.
        dropout: Share of the last map's values that are dropped.

    Raises:
        HeadError: The backbone has no such maps.
    """
    from keras import layers

    maps = _pyramid(features, task, 4)
    detail = maps[0]
    middle = next((m for m in maps if _stride(features, m) >= 16), maps[-1])
    context = middle
    if middle is not maps[-1]:
        deepest = _resized(_convolved(maps[-1], width, 1, "head_deepest"), middle, "head_deepest")
        context = layers.Concatenate(name="head_context")([middle, deepest])
    branches = [_convolved(context, width, 1, "head_aspp0")]
    for number, rate in enumerate(rates, start=1):
        branches.append(_separable(context, width, f"head_aspp{number}", rate))
    whole = layers.GlobalAveragePooling2D(keepdims=True, name="head_pooled")(context)
    whole = _convolved(whole, width, 1, "head_pooled", normalised=False)
    branches.append(_resized(whole, middle, "head_pooled"))
    x = layers.Concatenate(name="head_aspp")(branches)
    x = _convolved(x, width, 1, "head_aspp")
    fine = _convolved(detail, detail_width, 1, "head_detail")
    x = layers.Concatenate(name="head_decoder")([_resized(x, detail, "head_decoder"), fine])
    x = _separable(x, width, "head_decoder1")
    x = _separable(x, width, "head_decoder2")
    return _logits(x, features, task, dropout)


def _pyramid(features: Features, task: Task, finest_stride: int) -> list[Any]:
    """The maps from a stride on, the largest first.

    Raises:
        HeadError: There are none, as of a transformer, or none that is large enough.
    """
    maps = [m for m in features.pyramid if _stride(features, m) >= finest_stride]
    if not maps or features.size_px is None:
        raise HeadError(
            f"The task {task.spec.name!r} needs a backbone with maps of several sizes, and "
            f"{'that is' if not features.pyramid else 'no map is'} none"
            f"{'' if not features.pyramid else f' with a stride of {finest_stride} or more'}.",
            hint="choose a convolutional network such as efficientnet-lite0: `tltool models list`",
        )
    return maps


def _stride(features: Features, tensor: Any) -> int:
    """Pixels of the input to one of a map."""
    assert features.size_px is not None
    return round(features.size_px[0] / tensor.shape[1])


def _convolved(x: Any, width: int, kernel: int, name: str, *, normalised: bool = True) -> Any:
    from keras import layers

    conv = layers.Conv2D(
        width, kernel, padding="same", use_bias=not normalised, name=f"{name}_conv"
    )
    x = conv(x)
    if normalised:
        x = layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _separable(x: Any, width: int, name: str, rate: int = 1) -> Any:
    """A depthwise convolution of 3 x 3 and one of 1 x 1, each with BatchNorm and ReLU6."""
    from keras import layers

    depthwise = layers.DepthwiseConv2D(
        3, padding="same", dilation_rate=rate, use_bias=False, name=f"{name}_depthwise"
    )
    x = layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_depthwise_norm")(depthwise(x))
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    return _convolved(x, width, 1, name)


def _add(one: Any, other: Any, name: str) -> Any:
    from keras import layers

    return layers.Add(name=f"{name}_add")([one, other])


def _resized(x: Any, like: Any, name: str) -> Any:
    """A map enlarged, bilinearly, to the size of another."""
    return _resized_to(x, tuple(like.shape[1:3]), f"{name}_up")


def _resized_to(x: Any, size: tuple[int, int], name: str, dtype: Any = None) -> Any:
    from keras import layers

    if tuple(x.shape[1:3]) == size:
        return x
    factors = [wanted // given for wanted, given in zip(size, x.shape[1:3], strict=True)]
    if tuple(f * given for f, given in zip(factors, x.shape[1:3], strict=True)) == size:
        return layers.UpSampling2D(factors, interpolation="bilinear", name=name, dtype=dtype)(x)
    return layers.Resizing(*size, name=name, dtype=dtype)(x)


def _logits(x: Any, features: Features, task: Task, dropout: float) -> Any:
    """Logits of each class at the size of the input."""
    from keras import layers

    x = layers.Dropout(dropout, name="head_dropout")(x)
    # float32 whatever the precision: a softmax of half-precision logits loses small probabilities.
    x = layers.Conv2D(task.num_outputs, 1, dtype="float32", name="head_output")(x)
    assert features.size_px is not None
    return _resized_to(x, features.size_px, "head_up", "float32")

"""What timm calls the layers of networks that keras.applications has too.

Only variants that compute the same: those of timm whose names begin with `tf_`
pad like TensorFlow, and so do Keras' EfficientNets and MobileNetV3; DenseNet,
VGG and ConvNeXt have one definition everywhere. ResNet-50 is not among them:
Keras' halves the map in another convolution.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

Prefix = Callable[[str], str | None]


class Twin(NamedTuple):
    """A network of keras.applications that computes what one of timm does.

    Attributes:
        application: Key of `tltool.backbones.networks.applications.APPLICATIONS`.
        prefix: From a layer's name to the beginning of its tensors' names;
            None for a layer that timm has not.
        unused: Beginnings of the names of timm's tensors that have no place.
    """

    application: str
    prefix: Prefix
    unused: tuple[str, ...]


def find_twin(architecture: str) -> Twin | None:
    """The twin of an architecture of timm, or None."""
    for pattern, find in _TWINS:
        match = re.fullmatch(pattern, architecture)
        if match:
            return find(match)
    return None


def _parts(pattern: str, name: str) -> tuple[str, ...]:
    """What the groups of a pattern match in a layer's name."""
    match = re.fullmatch(pattern, name)
    if match is None:
        raise ValueError(f"the layer {name!r} is not known")
    return match.groups()


def _efficientnet(match: re.Match[str]) -> Twin:
    return Twin(f"EfficientNetB{match[1]}", _efficientnet_prefix, ("classifier.",))


def _efficientnet_v2(match: re.Match[str]) -> Twin:
    return Twin(f"EfficientNetV2{match[1].upper()}", _efficientnet_v2_prefix, ("classifier.",))


def _mobilenet_v3(match: re.Match[str]) -> Twin:
    repeats = {"large": (1, 2, 3, 4, 2, 3), "small": (1, 2, 3, 2, 3)}[match[1]]
    places = [f"{stage}.{i}" for stage, count in enumerate(repeats) for i in range(count)]

    def prefix(name: str) -> str:
        if name in _STEM_AND_TOP_V3:
            return _STEM_AND_TOP_V3[name].format(top=len(repeats))
        number, part = _parts(r"expanded_conv_((?:\d+_)?)([a-z].*)", name)
        parts = _INVERTED_V3 if number else _SEPARABLE_V3
        return f"blocks.{places[int(number.rstrip('_') or 0)]}.{parts[part]}"

    # timm's last convolution comes after the pooling: it belongs to the classifier.
    return Twin(f"MobileNetV3{match[1].title()}", prefix, ("conv_head.", "classifier."))


def _densenet(match: re.Match[str]) -> Twin:
    return Twin(f"DenseNet{match[1]}", _densenet_prefix, ("classifier.",))


def _vgg(match: re.Match[str]) -> Twin:
    # Where timm's list of convolutions and poolings goes on, block by block.
    counts = {"16": (2, 2, 3, 3, 3), "19": (2, 2, 4, 4, 4)}[match[1]]
    starts = [sum(2 * count + 1 for count in counts[:block]) for block in range(5)]

    def prefix(name: str) -> str:
        block, place = _parts(r"block(\d)_conv(\d)", name)
        return f"features.{starts[int(block) - 1] + 2 * (int(place) - 1)}"

    return Twin(f"VGG{match[1]}", prefix, ("pre_logits.", "head."))


def _convnext(match: re.Match[str]) -> Twin:
    return Twin(f"ConvNeXt{match[1].title()}", _convnext_prefix, ("head.fc.",))


_TWINS: tuple[tuple[str, Callable[[re.Match[str]], Twin]], ...] = (
    (r"tf_efficientnet_b([0-4])", _efficientnet),
    (r"tf_efficientnetv2_(b[0-3]|[sm])", _efficientnet_v2),
    (r"tf_mobilenetv3_(large|small)_100", _mobilenet_v3),
    (r"densenet(121|169|201)", _densenet),
    (r"vgg(16|19)", _vgg),
    (r"convnext_(tiny|small|base)", _convnext),
)

_SQUEEZE = {"se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand"}
# By the kind of block: what follows the block's own name.
_SEPARABLE = {
    "dwconv": "conv_dw",
    "bn": "bn1",
    "project_conv": "conv_pw",
    "project_bn": "bn2",
    **_SQUEEZE,
}
_INVERTED = {
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "dwconv": "conv_dw",
    "dwconv2": "conv_dw",
    "bn": "bn2",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
    **_SQUEEZE,
}
_FUSED = {
    "expand_conv": "conv_exp",
    "expand_bn": "bn1",
    "project_conv": "conv_pwl",
    "project_bn": "bn2",
}
_PLAIN = {"project_conv": "conv", "project_bn": "bn1"}
_STEM_AND_TOP = {
    "stem_conv": "conv_stem",
    "stem_bn": "bn1",
    "top_conv": "conv_head",
    "top_bn": "bn2",
}
_SEPARABLE_V3 = {
    "depthwise": "conv_dw",
    "depthwise_bn": "bn1",
    "squeeze_excite_conv": "se.conv_reduce",
    "squeeze_excite_conv_1": "se.conv_expand",
    "project": "conv_pw",
    "project_bn": "bn2",
}
_INVERTED_V3 = {
    **_SEPARABLE_V3,
    "expand": "conv_pw",
    "expand_bn": "bn1",
    "depthwise_bn": "bn2",
    "project": "conv_pwl",
    "project_bn": "bn3",
}
_STEM_AND_TOP_V3 = {
    "conv": "conv_stem",
    "conv_bn": "bn1",
    "conv_1": "blocks.{top}.0.conv",
    "conv_1_bn": "blocks.{top}.0.bn1",
}
_DENSENET = {
    "conv1_conv": "features.conv0",
    "conv1_bn": "features.norm0",
    "bn": "features.norm5",
    "0_bn": "norm1",
    "1_conv": "conv1",
    "1_bn": "norm2",
    "2_conv": "conv2",
}
_CONVNEXT = {
    "depthwise_conv": "conv_dw",
    "layernorm": "norm",
    "pointwise_conv_1": "mlp.fc1",
    "pointwise_conv_2": "mlp.fc2",
    "layer_scale": "gamma",
}


def _efficientnet_prefix(name: str) -> str | None:
    if name == "stem_normalization":
        return None
    return _block_prefix(name, lambda stage: _SEPARABLE if stage == 1 else _INVERTED)


def _efficientnet_v2_prefix(name: str) -> str | None:
    kinds = {1: _PLAIN, 2: _FUSED, 3: _FUSED}
    return _block_prefix(name, lambda stage: kinds.get(stage, _INVERTED))


def _block_prefix(name: str, parts_of: Callable[[int], dict[str, str]]) -> str:
    """`block3b_…` is timm's `blocks.2.1.…`."""
    if name in _STEM_AND_TOP:
        return _STEM_AND_TOP[name]
    stage, letter, part = _parts(r"block(\d)([a-z])_(.+)", name)
    return f"blocks.{int(stage) - 1}.{ord(letter) - ord('a')}.{parts_of(int(stage))[part]}"


def _densenet_prefix(name: str) -> str:
    if name in _DENSENET:
        return _DENSENET[name]
    if match := re.fullmatch(r"pool(\d)_(bn|conv)", name):
        return f"features.transition{int(match[1]) - 1}.{'norm' if match[2] == 'bn' else 'conv'}"
    stage, layer, part = _parts(r"conv(\d)_block(\d+)_(.+)", name)
    return f"features.denseblock{int(stage) - 1}.denselayer{layer}.{_DENSENET[part]}"


def _convnext_prefix(name: str) -> str:
    if name == "top_layer_norm":
        return "head.norm"
    if match := re.fullmatch(r".*_stem/(\d)", name):
        return f"stem.{match[1]}"
    if match := re.fullmatch(r".*_downsampling_block_(\d)/(\d)", name):
        return f"stages.{int(match[1]) + 1}.downsample.{match[2]}"
    stage, block, part = _parts(r".*_stage_(\d)_block_(\d+)_(.+)", name)
    return f"stages.{stage}.blocks.{block}.{_CONVNEXT[part]}"

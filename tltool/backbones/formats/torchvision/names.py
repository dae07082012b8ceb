"""What torchvision calls the layers of networks that are built here, in today's spelling."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from tltool.backbones.formats.timm.names import find_twin
from tltool.backbones.networks.inverted import InvertedShape
from tltool.backbones.networks.swin import TIMM_SWIN
from tltool.backbones.networks.vgg import VGG_DEPTHS
from tltool.backbones.networks.vit import VitNames

Prefix = Callable[[str], str | None]
Tensors = Mapping[str, NDArray[Any]]

TORCHVISION_VIT = VitNames(
    patches="conv_proj",
    tokens=("class_token",),
    positions="encoder.pos_embedding",
    block="encoder.layers.encoder_layer_{i}.",
    query="self_attention.in_proj",
    key="self_attention.in_proj",
    value="self_attention.in_proj",
    attended="self_attention.out_proj",
    norms=("ln_1", "ln_2"),
    hidden="mlp.0",
    output="mlp.3",
    final_norm="encoder.ln",
    unused=("heads.",),
)
# Spellings of published files, and of parameters that are not of a layer, and what they become.
_RESPELLED = (
    (r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)", r"\1\2"),
    (r"(.*\.mlp\.)linear_1\.(.*)", r"\g<1>0.\2"),
    (r"(.*\.mlp\.)linear_2\.(.*)", r"\g<1>3.\2"),
    (r"(.*\.self_attention\.in_proj)_(weight|bias)", r"\1.\2"),
)


def respelled(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """A state dict as torchvision saves it today, whichever version saved it."""
    found = {_today(key): value for key, value in tensors.items()}
    # ConvNeXt's layer scale is (channels, 1, 1).
    return {k: v.reshape(-1) if k.endswith(".layer_scale") else v for k, v in found.items()}


def _today(key: str) -> str:
    for pattern, new in _RESPELLED:
        if match := re.fullmatch(pattern, key):
            return match.expand(new)
    return key


def resnet_prefix(name: str) -> str:
    """From a layer of KerasHub's ResNet."""
    if name in ("conv1_conv", "conv1_bn"):
        return "conv1" if name == "conv1_conv" else "bn1"
    stack, block, place, kind = _parts(r"stack(\d)_block(\d+)_(\d)_(conv|bn)", name)
    own = f"layer{int(stack) + 1}.{block}"
    if place == "0":
        return f"{own}.downsample.{0 if kind == 'conv' else 1}"
    return f"{own}.{kind}{place}"


def densenet_prefix(architecture: str) -> Prefix:
    """From a layer of Keras' DenseNet: timm took its names from torchvision."""
    twin = find_twin(architecture)
    if twin is None:
        raise ValueError(f"{architecture!r} is no DenseNet")
    return twin.prefix


def convnext_prefix(name: str) -> str:
    """From a layer of Keras' ConvNeXt."""
    parts = {
        "depthwise_conv": "block.0",
        "layernorm": "block.2",
        "pointwise_conv_1": "block.3",
        "pointwise_conv_2": "block.5",
        "layer_scale": "layer_scale",
    }
    if name == "top_layer_norm":
        return "classifier.0"
    if match := re.fullmatch(r".*_stem/(\d)", name):
        return f"features.0.{match[1]}"
    if match := re.fullmatch(r".*_downsampling_block_(\d)/(\d)", name):
        return f"features.{2 * int(match[1]) + 2}.{match[2]}"
    stage, block, part = _parts(r".*_stage_(\d)_block_(\d+)_(.+)", name)
    return f"features.{2 * int(stage) + 1}.{block}.{parts[part]}"


def vgg_prefix(depth: int, *, batch_norm: bool) -> Prefix:
    """From a layer of `build_vgg`."""
    step = 3 if batch_norm else 2
    # A pooling ends each block.
    starts = [
        sum(step * count + 1 for count in VGG_DEPTHS[depth][:block])
        for block in range(len(VGG_DEPTHS[depth]))
    ]

    def prefix(name: str) -> str:
        block, kind, place = _parts(r"block(\d)_(conv|bn)(\d)", name)
        return f"features.{starts[int(block) - 1] + step * (int(place) - 1) + (kind == 'bn')}"

    return prefix


def inverted_prefix(architecture: str, shape: InvertedShape) -> Prefix:
    """From a layer of `build_inverted`."""
    names = {"stem_conv": "features.0.0", "stem_bn": "features.0.1"}
    by_stage = architecture.startswith("efficientnet")
    position = 0
    for own, stage, index, _, parts in shape.blocks():
        position += 1
        block = f"features.{stage + 1}.{index}" if by_stage else f"features.{position}"
        block += ".conv" if architecture == "mobilenet_v2" else ".block"
        for place, part in enumerate(parts):
            if part == "squeeze":
                names |= {f"{own}_squeeze": f"{block}.{place}.fc1"}
                names |= {f"{own}_excite": f"{block}.{place}.fc2"}
            elif part == "project" and architecture == "mobilenet_v2":
                # Not wrapped together here, as everything else is.
                names |= {f"{own}_project_conv": f"{block}.{place}"}
                names |= {f"{own}_project_bn": f"{block}.{place + 1}"}
            else:
                names |= {f"{own}_{part}_conv": f"{block}.{place}.0"}
                names |= {f"{own}_{part}_bn": f"{block}.{place}.1"}
    top = f"features.{(len(shape.stages) if by_stage else position) + 1}"
    names |= {"top_conv": f"{top}.0", "top_bn": f"{top}.1"}
    return names.__getitem__


def swin_tensors(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """A Swin's state dict in timm's names, `TIMM_SWIN`."""
    return {_swin_name(key): value for key, value in tensors.items()}


def _swin_name(key: str) -> str:
    """Of `features`, stages and mergings stand in turn after the patches."""
    match = re.fullmatch(r"features\.(\d+)\.(.+)", key)
    if match is None:
        return key
    place, rest = int(match[1]), match[2]
    if place == 0:
        layer, _, suffix = rest.partition(".")
        return f"{TIMM_SWIN.patches if layer == '0' else TIMM_SWIN.patch_norm}.{suffix}"
    if place % 2 == 0:
        return f"layers.{place // 2}.downsample.{rest}"
    rest = rest.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
    return f"layers.{place // 2}.blocks.{rest}"


def _parts(pattern: str, name: str) -> tuple[str, ...]:
    """What the groups of a pattern match in a layer's name."""
    match = re.fullmatch(pattern, name)
    if match is None:
        raise ValueError(f"the layer {name!r} is not known")
    return match.groups()

"""torchvision's networks, and its state dicts in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_hub

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.folder_files import read_tensor_file
from tltool.backbones.formats.image_input import refuse_dropout, refuse_other_size, resized
from tltool.backbones.formats.torch.weights import copy_torch_weights
from tltool.backbones.formats.torchvision.names import (
    TORCHVISION_VIT,
    Prefix,
    Tensors,
    convnext_prefix,
    densenet_prefix,
    inverted_prefix,
    resnet_prefix,
    respelled,
    swin_tensors,
    vgg_prefix,
)
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.networks.applications import application_backbone, build_application
from tltool.backbones.networks.inverted import INVERTED, build_inverted
from tltool.backbones.networks.swin import SWIN_SIZES, TIMM_SWIN, SwinShape, load_swin
from tltool.backbones.networks.vgg import build_vgg
from tltool.backbones.networks.vit import load_vit
from tltool.backbones.sources.torchvision import TorchvisionWeights
from tltool.data.preprocessing import ImagePreprocessing

# Blocks of each stage, and whether they are bottlenecks.
_RESNETS = {
    "resnet18": ([2, 2, 2, 2], False),
    "resnet34": ([3, 4, 6, 3], False),
    "resnet50": ([3, 4, 6, 3], True),
    "resnet101": ([3, 4, 23, 3], True),
    "resnet152": ([3, 8, 36, 3], True),
}
_VITS = {"b": {"hidden_dim": 768, "num_layers": 12, "num_heads": 12, "mlp_dim": 3072}}
_SWINS = {"t": "tiny", "s": "small", "b": "base"}


def load_torchvision(
    weights: TorchvisionWeights,
    path: Path | None,
    *,
    name: str,
    image_size_px: int | None = None,
    dropout: float | None = None,
) -> Backbone:
    """Loads a network of torchvision.

    Args:
        weights: Says which network, and how its images are prepared.
        path: A state dict (`.pth`, `.pt`, `.bin`, `.safetensors`), read without
            torch, with any classifier; None leaves fresh random weights.
        name: Of the backbone.
        image_size_px: Height and width of the input of a CNN, a multiple of
            32; None takes that of the weights.
        dropout: Dropout inside a ViT or Swin; None has none.

    Raises:
        BackboneError: The file cannot be read, or its tensors are not those of
            the network, or an option does not fit it.
    """
    contract = weights.preprocessing
    tensors = None if path is None else respelled(read_tensor_file(path))
    if weights.architecture.startswith(("vit", "swin")):
        refuse_other_size(contract.size_px, image_size_px, name)
        build = _vit if weights.architecture.startswith("vit") else _swin
        backbone = build(weights.architecture, contract, tensors, name, dropout or 0.0)
    else:
        refuse_dropout(dropout, name)
        if (image_size_px, image_size_px) != contract.size_px:
            contract = resized(contract, image_size_px, name)
        backbone = _cnn(weights.architecture, contract, tensors, name)
    own = f"torchvision_{weights.architecture}"
    model = keras.Model(backbone.model.input, backbone.model.output, name=own)
    return replace(backbone, model=model, source=weights.name)


def _cnn(
    architecture: str, contract: ImagePreprocessing, tensors: Tensors | None, name: str
) -> Backbone:
    kind = re.match("[a-z]+", architecture)
    build = _CNNS[kind[0] if kind else ""]
    backbone, prefix = build(architecture, contract, name)
    if tensors is not None:
        copy_torch_weights(
            backbone.model, prefix, tensors, name=name, unused=("fc.", "classifier.")
        )
    return backbone


def _pooled(network: Any, rules: str, contract: ImagePreprocessing, name: str) -> Backbone:
    """A network as a backbone whose features are the mean of its last map."""
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(network.output)
    model = keras.Model(network.input, pooled)
    features = Features(pooled=pooled, feature_map=network.output)
    return Backbone(name, model, features, group_layers(model, GROUP_RULES[rules], name), contract)


def _resnet(architecture: str, contract: ImagePreprocessing, name: str) -> tuple[Backbone, Prefix]:
    blocks, bottleneck = _RESNETS[architecture]
    network = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=blocks,
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block" if bottleneck else "basic_block",
        image_shape=(*contract.size_px, 3),
    )
    return _pooled(network, "resnet", contract, name), resnet_prefix


def _densenet(
    architecture: str, contract: ImagePreprocessing, name: str
) -> tuple[Backbone, Prefix]:
    application = architecture.replace("densenet", "DenseNet")
    network = build_application(application, contract.size_px, None, name)
    backbone = application_backbone(application, network, contract, name)
    return backbone, densenet_prefix(architecture)


def _convnext(
    architecture: str, contract: ImagePreprocessing, name: str
) -> tuple[Backbone, Prefix]:
    application = "ConvNeXt" + architecture.removeprefix("convnext_").title()
    network = build_application(application, contract.size_px, None, name)
    return application_backbone(application, network, contract, name), convnext_prefix


def _vgg(architecture: str, contract: ImagePreprocessing, name: str) -> tuple[Backbone, Prefix]:
    depth, batch_norm = int(re.sub(r"\D", "", architecture)), architecture.endswith("_bn")
    network = build_vgg(depth, contract.size_px, architecture, batch_norm=batch_norm)
    prefix = vgg_prefix(depth, batch_norm=batch_norm)
    return _pooled(network, "vgg", contract, name), prefix


def _inverted(
    architecture: str, contract: ImagePreprocessing, name: str
) -> tuple[Backbone, Prefix]:
    shape = INVERTED[architecture]()
    network = build_inverted(shape, contract.size_px, architecture)
    prefix = inverted_prefix(architecture, shape)
    return _pooled(network, "inverted", contract, name), prefix


_CNNS: dict[str, Callable[[str, ImagePreprocessing, str], tuple[Backbone, Prefix]]] = {
    "resnet": _resnet,
    "densenet": _densenet,
    "convnext": _convnext,
    "vgg": _vgg,
    "mobilenet": _inverted,
    "efficientnet": _inverted,
}


def _vit(
    architecture: str,
    contract: ImagePreprocessing,
    tensors: Tensors | None,
    name: str,
    dropout: float,
) -> Backbone:
    _, size, patch = architecture.split("_")
    config = {
        **_VITS[size],
        "patch_size": int(patch),
        "image_shape": (*contract.size_px, 3),
        "layer_norm_epsilon": 1e-6,
    }
    return load_vit(TORCHVISION_VIT, config, tensors, contract, name=name, dropout=dropout)


def _swin(
    architecture: str,
    contract: ImagePreprocessing,
    tensors: Tensors | None,
    name: str,
    dropout: float,
) -> Backbone:
    shape = SwinShape(*SWIN_SIZES[_SWINS[architecture[-1]]], size_px=contract.size_px[0])
    renamed = None if tensors is None else swin_tensors(tensors)
    return load_swin(TIMM_SWIN, shape, renamed, contract, name=name, dropout=dropout)

"""CNNs, ViTs and Swins from a folder in timm's format (`config.json` and `model.safetensors`).

A network is loaded where one is known to compute the same: a twin of
keras.applications (`timm_names`), KerasHub's own where its converter is right,
or tltool's ViT. All others are refused: KerasHub loads some of them, such as
DenseNet or EfficientNetV2-RW, without a word and computes something else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from tltool.backbones.base import Backbone
from tltool.backbones.formats.folder_files import read_json, read_tensors
from tltool.backbones.formats.image_input import checked_size, refuse_dropout, refuse_other_size
from tltool.backbones.formats.presets.keras_hub import converted_backbone
from tltool.backbones.formats.timm.names import Twin, find_twin
from tltool.backbones.formats.torch.weights import copy_torch_weights
from tltool.backbones.networks.applications import (
    APPLICATIONS,
    application_backbone,
    build_application,
)
from tltool.backbones.networks.swin import SWIN_SIZES, TIMM_SWIN, SwinShape, load_swin
from tltool.backbones.networks.vit import TIMM_DINOV2, TIMM_VIT, load_vit, timm_vit_config
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError

# Architectures that KerasHub's converter loads rightly, and its class for them.
_CONVERTED = {
    r"resnet(18|34|50|101|152)": "ResNetBackbone",
    r"resnetv2_(50|101)": "ResNetBackbone",
    r"efficientnet_b[0-4]": "EfficientNetBackbone",
    r"mobilenetv3_(large|small)_100": "MobileNetBackbone",
}
_VIT = r"(vit|deit)_(tiny|small|base|large)_patch(8|16|32)_\d+"
_DINOV2 = r"vit_(small|base|large)_patch14_dinov2"
_SWIN = r"swin_(tiny|small|base|large)_patch4_window(\d+)_\d+"
_SUPPORTED = (
    "resnet18 to 152, resnetv2_50 and 101, efficientnet_b0 to b4, tf_efficientnet_b0 to b4, "
    "tf_efficientnetv2_b0 to b3, s and m, mobilenetv3_*_100, tf_mobilenetv3_*_100, densenet121 to "
    "201, vgg16 and 19, convnext_tiny to base, vit_* and deit_*_patch*, "
    "vit_*_patch14_dinov2, swin_*_patch4_window*"
)


def load_timm_folder(
    folder: Path,
    *,
    name: str,
    image_size_px: int | None = None,
    dropout: float | None = None,
    weights: Literal["pretrained", "random"] = "pretrained",
) -> Backbone:
    """Loads a backbone and its preprocessing from a folder of timm's.

    Args:
        folder: With `config.json` and `model.safetensors` (or
            `pytorch_model.bin`, read without torch).
        name: Of the backbone.
        image_size_px: Height and width of the input of a CNN, a multiple of
            32; None takes the folder's.
        dropout: Dropout inside a ViT; None has none.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: The folder cannot be read, its architecture is not known
            to be computed rightly here, or an option does not fit it.
    """
    config = read_json(folder / "config.json")
    architecture = str(config.get("architecture"))
    dinov2 = re.fullmatch(_DINOV2, architecture) is not None
    if dinov2 or re.fullmatch(_VIT, architecture):
        contract = _preprocessing(config, folder, None, name)
        refuse_other_size(contract.size_px, image_size_px, name)
        tensors = read_tensors(folder) if weights == "pretrained" else None
        shape = timm_vit_config(architecture, contract.size_px)
        names = TIMM_DINOV2 if dinov2 else TIMM_VIT
        return load_vit(names, shape, tensors, contract, name=name, dropout=dropout)
    swin = re.fullmatch(_SWIN, architecture)
    if swin is not None:
        contract = _preprocessing(config, folder, None, name)
        refuse_other_size(contract.size_px, image_size_px, name)
        tensors = read_tensors(folder) if weights == "pretrained" else None
        size = SwinShape(*SWIN_SIZES[swin[1]], int(swin[2]), contract.size_px[0])
        return load_swin(TIMM_SWIN, size, tensors, contract, name=name, dropout=dropout or 0.0)
    refuse_dropout(dropout, name)
    contract = _preprocessing(config, folder, image_size_px, name)
    twin = find_twin(architecture)
    if twin is not None:
        return _twin(twin, folder, contract, name, weights)
    for pattern, class_name in _CONVERTED.items():
        if re.fullmatch(pattern, architecture):
            return converted_backbone(folder, class_name, contract, name=name, weights=weights)
    raise BackboneError(
        f"Backbone {name!r} is timm's {architecture!r}, which is not known to be computed rightly "
        f"here. Known are: {_SUPPORTED}.",
        hint="loading it anyway would give other features than the original's",
    )


def _twin(
    twin: Twin, folder: Path, contract: ImagePreprocessing, name: str, weights: str
) -> Backbone:
    network = build_application(twin.application, contract.size_px, None, name)
    if APPLICATIONS[twin.application].scaling == "inside":
        contract = _scaled_outside(network, contract)
    if weights == "pretrained":
        copy_torch_weights(
            network, twin.prefix, read_tensors(folder), name=name, unused=twin.unused
        )
    return application_backbone(twin.application, network, contract, name)


def _scaled_outside(network: Any, contract: ImagePreprocessing) -> ImagePreprocessing:
    """The contract for a network that first divides by 255 and subtracts nothing.

    Keras' EfficientNet scales its input itself: by 1/255, and by a mean and
    variance that are 0 and 1 unless weights say otherwise.
    """
    factors = [layer.scale for layer in network.layers if type(layer).__name__ == "Rescaling"]
    if factors != [1.0 / 255.0]:
        raise BackboneError(f"Keras builds its EfficientNet otherwise now: scales {factors}.")
    std = tuple(value / 255.0 for value in contract.std)
    return contract.model_copy(update={"std": std})


def _preprocessing(
    config: dict[str, Any], folder: Path, image_size_px: int | None, name: str
) -> ImagePreprocessing:
    """How timm prepares images for evaluation (timm.data.create_transform)."""
    own = {**config, **config.get("pretrained_cfg", {})}
    path = folder / "config.json"
    try:
        _, height, width = own["input_size"]
        crop = float(own["crop_pct"])
        mean = tuple(255.0 * float(value) for value in own["mean"])
        std = tuple(255.0 * float(value) for value in own["std"])
    except (KeyError, TypeError, ValueError) as error:
        raise BackboneError(
            f"{path} does not say how images are prepared: it needs input_size, crop_pct, mean "
            "and std in pretrained_cfg.",
            hint="wrong scaling would give wrong features without any error",
        ) from error
    interpolation, mode = own.get("interpolation", "bicubic"), own.get("crop_mode", "center")
    if interpolation not in ("bilinear", "bicubic") or mode not in ("center", "squash"):
        raise BackboneError(
            f"{path}: interpolation {interpolation!r} with crop_mode {mode!r} is not supported."
        )
    size = (height, width)
    if image_size_px is not None and image_size_px != height:
        size = checked_size(image_size_px, name)
    return ImagePreprocessing(
        size_px=size,
        resize_px=int(max(size) / crop),
        fit="crop" if mode == "center" else "stretch",
        interpolation=interpolation,
        antialias=True,
        mean=mean,
        std=std,
    )

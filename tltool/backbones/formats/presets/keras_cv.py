"""Backbones from a preset folder of KerasCV, of those that it alone has.

A folder holds `config.json`, whose `registered_name` begins with `keras_cv`,
and `model.weights.h5`. The configuration is read here; keras-cv builds its own
network to read the weights, which are then copied by name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.folder_files import read_json, refuse_otherwise
from tltool.backbones.formats.image_input import checked_size, refuse_dropout
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.networks.darknet import DarkShape, build_csp_darknet, build_yolo_v8
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError, first_line

# The kernel, and gamma, beta, mean and variance of the BatchNorm after it.
Block = list[NDArray[Any]]


@dataclass(frozen=True)
class Family:
    """A row of `FAMILIES`.

    Attributes:
        rules: Key of `GROUP_RULES`.
        build: From sizes, input size and initializer to the network.
        blocks: The weights of keras-cv's own network by the names of ours.
        activation: What a configuration without one means.
    """

    rules: str
    build: Callable[[DarkShape, tuple[int, int], str], keras.Model]
    blocks: Callable[[Any], Iterator[tuple[str, Block]]]
    activation: str


def _csp_blocks(model: Any) -> Iterator[tuple[str, Block]]:
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            yield layer.name, _arrays(*layer.layers[:2])
        elif type(layer).__name__ == "CrossStagePartial":
            parts = {"conv1": layer.darknet_conv1, "conv2": layer.darknet_conv2}
            for position, block in enumerate(layer.bottleneck_convs):
                parts[f"bottleneck{position // 2 + 1}_conv{position % 2 + 1}"] = block
            parts["conv3"] = layer.darknet_conv3
            for part, block in parts.items():
                yield f"{layer.name}_{part}", _arrays(*block.layers[:2])


def _yolo_blocks(model: Any) -> Iterator[tuple[str, Block]]:
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Conv2D):
            continue
        name = layer.name.removesuffix("_conv")
        arrays = _arrays(layer, model.get_layer(f"{name}_bn"))
        if name.endswith("_c2f_pre"):
            halves = [np.split(array, 2, axis=-1) for array in arrays]
            for index, half in enumerate(("short", "deep")):
                yield f"{name.removesuffix('pre')}{half}", [both[index] for both in halves]
        else:
            yield name, arrays


def _arrays(convolution: Any, norm: Any) -> Block:
    return [*convolution.get_weights(), *norm.get_weights()]


FAMILIES: dict[str, Family] = {
    "CSPDarkNetBackbone": Family("csp_darknet", build_csp_darknet, _csp_blocks, "silu"),
    "YOLOV8Backbone": Family("yolo_v8", build_yolo_v8, _yolo_blocks, "swish"),
}

ELSEWHERE: dict[str, str] = {
    "DenseNetBackbone": "keras.applications.DenseNet121",
    "EfficientNetLiteBackbone": "efficientnet-lite0",
    "EfficientNetV1Backbone": "keras.applications.EfficientNetB0",
    "EfficientNetV2Backbone": "keras.applications.EfficientNetV2B0",
    "MobileNetV3Backbone": "keras.applications.MobileNetV3Large",
    "ResNetBackbone": "resnet_50_imagenet of KerasHub, or keras.applications.ResNet50",
    "ResNetV2Backbone": "resnet_v2_50_imagenet of KerasHub, or keras.applications.ResNet50V2",
    "VGG16Backbone": "keras.applications.VGG16",
    "ViTDetBackbone": "vit_base_patch16_224_imagenet of KerasHub",
}
"""What has the network of a KerasCV backbone that is not loaded from its own folders."""


def load_keras_cv_folder(
    folder: Path,
    *,
    name: str,
    image_size_px: int | None = None,
    dropout: float | None = None,
    weights: Literal["pretrained", "random"] = "pretrained",
) -> Backbone:
    """Loads a backbone from a preset folder of KerasCV.

    A preset states the scale of its images by `include_rescaling` and nothing
    else; size, fit and filter are those of KerasCV's own ImageNet pipeline
    (224 pixels, a crop, bilinear without antialiasing).

    Args:
        folder: With `config.json` and `model.weights.h5`.
        name: Of the backbone.
        image_size_px: Height and width of the input; None takes the preset's, else 224.
        dropout: Must be None: these networks have none.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: The folder cannot be read, is of another family, or
            keras-cv is not installed.
    """
    file = folder / "config.json"
    content = read_json(file)
    kind = str(content["registered_name"]).rpartition(">")[2]
    family, config = _family(kind, name), content.get("config")
    if not isinstance(config, dict):
        raise BackboneError(f"{file} is not a KerasCV configuration.")
    refuse_dropout(dropout, name)
    if config.get("include_rescaling") is not True:
        raise BackboneError(
            f"Backbone {name!r}: include_rescaling is not true in {file}, so how its images were "
            "scaled is unknown; wrong scaling would give wrong features without any error.",
            hint="load it with include_rescaling=True where its weights were made so, and save "
            "it again",
        )
    refuse_otherwise(config, {"use_depthwise": False}, file)
    shape = _shape(config, family, file)
    preprocessing = _preprocessing(config, image_size_px, name)
    pretrained = weights == "pretrained"
    network = family.build(
        shape, preprocessing.size_px, "zeros" if pretrained else "glorot_uniform"
    )
    if pretrained:
        source = _source(kind, config, folder / "model.weights.h5", name)
        _copy(network, dict(family.blocks(source)), name)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(network.output)
    model = keras.Model(network.input, pooled, name=family.rules)
    return Backbone(
        name=name,
        model=model,
        features=Features(pooled=pooled, feature_map=network.output),
        groups=group_layers(model, GROUP_RULES[family.rules], name),
        preprocessing=preprocessing,
    )


def _family(kind: str, name: str) -> Family:
    if kind in FAMILIES:
        return FAMILIES[kind]
    elsewhere = ELSEWHERE.get(kind)
    raise BackboneError(
        f"Backbone {name!r} is a {kind} of KerasCV, of which tltool loads "
        f"{' and '.join(FAMILIES)} only.",
        hint=f"the same kind of network: {elsewhere}" if elsewhere else None,
    )


def _shape(config: Mapping[str, Any], family: Family, file: Path) -> DarkShape:
    channels, depths = config.get("stackwise_channels"), config.get("stackwise_depth")
    activation = config.get("activation", family.activation)
    whole = [
        isinstance(values, list) and all(type(x) is int and x > 0 for x in values)
        for values in (channels, depths)
    ]
    known = isinstance(activation, str) and hasattr(keras.activations, activation)
    if not all(whole) or not known or not channels or len(channels) != len(depths or ()):
        raise BackboneError(
            f"{file} does not say its sizes: received stackwise_channels={channels!r}, "
            f"stackwise_depth={depths!r}, activation={activation!r}."
        )
    return DarkShape(channels, depths or (), activation)


def _preprocessing(
    config: Mapping[str, Any], image_size_px: int | None, name: str
) -> ImagePreprocessing:
    own = config.get("input_shape") or (None,)
    size = checked_size(image_size_px or own[0] or 224, name)
    return ImagePreprocessing(
        size_px=size,
        resize_px=max(size),
        fit="crop",
        interpolation="bilinear",
        antialias=False,
        std=(255.0,) * 3,
    )


def _source(kind: str, config: Mapping[str, Any], file: Path, name: str) -> Any:
    """keras-cv's own network with the weights of the file."""
    if find_spec("keras_cv") is None:
        raise BackboneError(
            f"Backbone {name!r} is of KerasCV, whose weights the package keras-cv reads; it is "
            "not installed.",
            hint="pip install 'tltool[cv]'",
        )
    import keras_cv

    used = ("stackwise_channels", "stackwise_depth", "activation")
    options = {key: config[key] for key in used if key in config}
    try:
        model = getattr(keras_cv.models, kind)(include_rescaling=True, **options)
        for weight in model.weights:
            weight.assign(np.full(weight.shape, np.nan, "float32"))
        with warnings.catch_warnings():
            # Keras warns of what it does not find, and leaves it as it is: asked below.
            warnings.simplefilter("ignore")
            model.load_weights(file)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BackboneError(
            f"Backbone {name!r} could not be loaded from {file}: {first_line(error)}",
            hint="the folder must be whole, as KerasCV 0.9 saves it",
        ) from error
    left = [weight.path for weight in model.weights if np.isnan(weight.numpy()).any()]
    if left:
        raise BackboneError(
            f"Backbone {name!r}: {file} lacks {len(left)} weights or holds values that are no "
            f"numbers in them, the first is {left[0]!r}."
        )
    return model


def _copy(network: keras.Model, blocks: dict[str, Block], name: str) -> None:
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            block = layer.name.removesuffix("_conv")
            if block not in blocks:
                raise BackboneError(f"Backbone {name!r}: keras-cv's network has no {block!r}.")
            kernel, *norm = blocks.pop(block)
            layer.set_weights([kernel])
            network.get_layer(f"{block}_bn").set_weights(norm)
    if blocks:
        raise BackboneError(
            f"Backbone {name!r}: keras-cv's network has {len(blocks)} blocks more, the first is "
            f"{next(iter(blocks))!r}."
        )

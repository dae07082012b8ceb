"""Backbones of `keras.applications`: CNNs trained on ImageNet.

Built by Keras itself, so that Keras' weight files fit; the preprocessing is
what `preprocess_input` of each module does, stated as a contract.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.image_input import checked_size
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError, first_line

Scaling = Literal["caffe", "signed", "signed_128", "torch", "inside"]

# Of levels 0..255; keras.applications.imagenet_utils.preprocess_input and the modules' own.
_SCALINGS: dict[Scaling, dict[str, Any]] = {
    "caffe": {
        "mean": (123.68, 116.779, 103.939),
        "std": (1.0, 1.0, 1.0),
        "channel_order": "bgr",
    },
    "signed": {"mean": (127.5,) * 3, "std": (127.5,) * 3},
    "signed_128": {"mean": (128.0,) * 3, "std": (128.0,) * 3},
    "torch": {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
    "inside": {"mean": (0.0,) * 3, "std": (1.0,) * 3},
}
# Side of the central crop as a share of the resized image, as ImageNet is measured.
_CROP_SHARE = 0.875


@dataclass(frozen=True)
class Application:
    """A row of `APPLICATIONS`.

    Attributes:
        rules: Key of `GROUP_RULES`.
        scaling: How levels become the network's input; "inside" means that
            its own first layers do it.
        size_px: Height and width of the images it was trained on.
        options: Further arguments of the constructor.
        names: Lasting names, in order, for layers with weights that Keras
            numbers itself, by what their names begin with.
    """

    rules: str
    scaling: Scaling
    size_px: int = 224
    options: dict[str, Any] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)


_RAW: dict[str, Any] = {"options": {"include_preprocessing": False}}
_XCEPTION_BLOCKS = (2, 3, 4, 13)
_XCEPTION = Application(
    "xception",
    "signed",
    299,
    names={
        "conv2d": tuple(f"block{n}_shortcut_conv" for n in _XCEPTION_BLOCKS),
        "batch_normalization": tuple(f"block{n}_shortcut_bn" for n in _XCEPTION_BLOCKS),
    },
)


def _convnext() -> Application:
    return Application(
        "convnext", "torch", **_RAW, names={"layer_normalization": ("top_layer_norm",)}
    )


def _efficientnet(size_px: int) -> Application:
    return Application(
        "efficientnet", "inside", size_px, names={"normalization": ("stem_normalization",)}
    )


APPLICATIONS: dict[str, Application] = {
    **dict.fromkeys(("ResNet50", "ResNet101", "ResNet152"), Application("resnet_keras", "caffe")),
    **dict.fromkeys(
        ("ResNet50V2", "ResNet101V2", "ResNet152V2"), Application("resnet_keras", "signed")
    ),
    "MobileNet": Application("mobilenet_v1", "signed"),
    "MobileNetV2": Application("mobilenet_v2", "signed"),
    "MobileNetV3Small": Application("mobilenet_v3", "signed", **_RAW),
    "MobileNetV3Large": Application("mobilenet_v3", "signed", **_RAW),
    **dict.fromkeys(
        ("DenseNet121", "DenseNet169", "DenseNet201"), Application("densenet", "torch")
    ),
    **dict.fromkeys(("VGG16", "VGG19"), Application("vgg", "caffe")),
    "Xception": _XCEPTION,
    "EfficientNetB0": _efficientnet(224),
    "EfficientNetB1": _efficientnet(240),
    "EfficientNetB2": _efficientnet(260),
    "EfficientNetB3": _efficientnet(300),
    "EfficientNetB4": _efficientnet(380),
    "EfficientNetV2B0": Application("efficientnet", "torch", 224, **_RAW),
    "EfficientNetV2B1": Application("efficientnet", "torch", 240, **_RAW),
    "EfficientNetV2B2": Application("efficientnet", "torch", 260, **_RAW),
    "EfficientNetV2B3": Application("efficientnet", "torch", 300, **_RAW),
    "EfficientNetV2S": Application("efficientnet", "signed_128", 384, **_RAW),
    "EfficientNetV2M": Application("efficientnet", "signed_128", 480, **_RAW),
    **dict.fromkeys(("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase"), _convnext()),
}


def application_input(application: str, size_px: int | None, name: str) -> ImagePreprocessing:
    """The preprocessing contract of an application.

    Args:
        application: Key of `APPLICATIONS`.
        size_px: Another height and width, a multiple of 32, or None for its own.
        name: Of the backbone, for messages.

    Raises:
        BackboneError: The size is not a multiple of 32.
    """
    known = APPLICATIONS[application]
    size = (known.size_px, known.size_px)
    if size_px is not None and size_px != known.size_px:
        size = checked_size(size_px, name)
    return ImagePreprocessing(
        size_px=size,
        resize_px=round(size[0] / _CROP_SHARE),
        fit="crop",
        interpolation="bilinear",
        antialias=True,
        **_SCALINGS[known.scaling],
    )


def load_application(
    application: str,
    weights_file: Path | None,
    *,
    name: str,
    image_size_px: int | None = None,
) -> Backbone:
    """Builds an application's network as a backbone.

    Args:
        application: Key of `APPLICATIONS`.
        weights_file: Weights without the classifier, as `.h5` of
            keras.applications or `.weights.h5`; None leaves random ones.
        name: Of the backbone.
        image_size_px: Height and width of the input, a multiple of 32; None
            takes the size it was trained at.

    Raises:
        BackboneError: The size does not fit, or the file cannot be read or
            belongs to another network.
    """
    preprocessing = application_input(application, image_size_px, name)
    network = build_application(application, preprocessing.size_px, weights_file, name)
    return application_backbone(application, network, preprocessing, name)


def application_backbone(
    application: str, network: keras.Model, preprocessing: ImagePreprocessing, name: str
) -> Backbone:
    """A network of `build_application` as a backbone, with its features pooled as it means them."""
    feature_map = network.output
    pooling = keras.layers.GlobalAveragePooling2D(name="pooled")
    if APPLICATIONS[application].rules == "convnext":
        # The classifier it was trained with normalises after pooling; without it Keras does before.
        norm = network.get_layer("top_layer_norm")
        feature_map = norm.input
        pooled = _copied_norm(norm)(pooling(feature_map))
    else:
        pooled = pooling(feature_map)
    model = keras.Model(network.input, pooled, name=application.lower())
    return Backbone(
        name=name,
        model=model,
        features=Features(pooled=pooled, feature_map=feature_map),
        groups=group_layers(model, GROUP_RULES[APPLICATIONS[application].rules], name),
        preprocessing=preprocessing,
    )


def _copied_norm(norm: Any) -> Any:
    """The same normalisation for vectors."""
    copy = type(norm).from_config({**norm.get_config(), "axis": -1})
    copy.build((None, norm.input.shape[-1]))
    copy.set_weights(norm.get_weights())
    return copy


def build_application(
    application: str, size_px: tuple[int, int], weights_file: Path | None, name: str
) -> keras.Model:
    """The network without classifier, every layer with weights under a lasting name.

    Returns:
        Functional model from float32 images (batch, height, width, 3) to the
        last map (batch, height / 32, width / 32, channels).

    Raises:
        BackboneError: As in `load_application`.
    """
    known = APPLICATIONS[application]
    build = getattr(keras.applications, application)
    try:
        network = build(
            include_top=False,
            weights=None if weights_file is None else str(weights_file),
            input_shape=(*size_px, 3),
            **known.options,
        )
    except (OSError, ValueError, KeyError) as error:
        raise BackboneError(
            f"Backbone {name!r}: {weights_file} holds no weights of {application} without its "
            f"classifier: {first_line(error)}",
            hint="keras.applications calls such files `…_notop.h5`",
        ) from error
    return _with_lasting_names(network, known.names) if known.names else network


def _with_lasting_names(network: keras.Model, names: dict[str, tuple[str, ...]]) -> keras.Model:
    """A copy in which layers that Keras numbered by what the process built before are named."""
    renamed: dict[str, str] = {}
    for stem, own in names.items():
        numbered = [
            layer.name
            for layer in network.layers
            if layer.weights and re.fullmatch(rf"{stem}(_\d+)?", layer.name)
        ]
        renamed.update(zip(numbered, own, strict=True))

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        config["name"] = renamed.get(layer.name, layer.name)
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy

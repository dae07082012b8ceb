"""Backbones from a local KerasHub preset folder (written by `save_to_preset`).

What is loaded is decided from the folder's JSON files before KerasHub sees
them, so that an unknown class is refused and never imported.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import keras_hub

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.image_input import refuse_dropout
from tltool.backbones.formats.presets.images import (
    class_name,
    image_preprocessing,
    read_config,
)
from tltool.backbones.formats.presets.texts import text_preprocessing
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.networks.layers import FirstToken
from tltool.backbones.networks.vit import flatten_vit
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.support.errors import BackboneError, first_line
from tltool.tasks.table import Modality


@dataclass(frozen=True)
class Family:
    """A row of `FAMILIES`.

    Attributes:
        rules: Key of `GROUP_RULES`.
        modality: What goes in.
        dropout: The constructor's argument for dropout, or None where there is none.
        shape: The constructor's argument for the image shape, where it can be
            changed without touching weights.
    """

    rules: str
    modality: Modality
    dropout: str | None = None
    shape: str | None = None


FAMILIES: dict[str, Family] = {
    "BertBackbone": Family("bert", "text", dropout="dropout"),
    "DistilBertBackbone": Family("distil_bert", "text", dropout="dropout"),
    "RobertaBackbone": Family("roberta", "text", dropout="dropout"),
    "AlbertBackbone": Family("albert", "text", dropout="dropout"),
    "XLMRobertaBackbone": Family("roberta", "text", dropout="dropout"),
    "DebertaV3Backbone": Family("deberta_v3", "text", dropout="dropout"),
    "ResNetBackbone": Family("resnet", "image", shape="image_shape"),
    "EfficientNetBackbone": Family("efficientnet", "image", "dropout", "input_shape"),
    "MobileNetBackbone": Family("mobilenet", "image", shape="image_shape"),
    "ViTBackbone": Family("vit", "image", dropout="dropout_rate"),
    "DeiTBackbone": Family("vit", "image", dropout="dropout_rate"),
}


def load_preset_folder(
    folder: Path,
    *,
    name: str,
    max_length: int | None = None,
    image_size_px: int | None = None,
    dropout: float | None = None,
    weights: Literal["pretrained", "random"] = "pretrained",
) -> Backbone:
    """Loads a backbone and its preprocessing from a preset folder.

    Args:
        folder: With `config.json`, `model.weights.h5`, and `image_converter.json`
            or `tokenizer.json` with its vocabulary.
        name: Of the backbone.
        max_length: Tokens of the longest text; None takes the preset's
            `sequence_length`, else 128, within the positions there are.
        image_size_px: Height and width of the input of a CNN; None takes the preset's.
        dropout: Dropout inside the backbone; None keeps the preset's.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: The folder cannot be read, its family or preprocessing
            is not supported, or an option does not fit the family.
    """
    config = read_config(folder, "config.json")
    family = _family(config, name)
    options: dict[str, Any] = {}
    if family.dropout is None:
        refuse_dropout(dropout, name)
    elif dropout is not None:
        options[family.dropout] = dropout
    if family.modality == "text":
        text = text_preprocessing(folder, config, name=name, max_length=max_length)
        return _text_backbone(_load(folder, options, weights, name), family, text, name)
    image = image_preprocessing(
        folder,
        config,
        name=name,
        image_size_px=image_size_px,
        resizable=family.shape is not None,
    )
    # A fixed shape makes smaller graphs on export; the outputs are the same.
    if family.shape:
        options[family.shape] = (*image.size_px, 3)
    return _image_backbone(_load(folder, options, weights, name), family, image, name)


def converted_backbone(
    folder: Path,
    class_name: str,
    preprocessing: ImagePreprocessing,
    *,
    name: str,
    weights: Literal["pretrained", "random"] = "pretrained",
) -> Backbone:
    """A CNN from a folder of another library that KerasHub's converter reads rightly.

    Args:
        folder: Of timm, for example.
        class_name: Key of `FAMILIES`.
        preprocessing: The contract, which the converter does not give.
        name: Of the backbone.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: The folder cannot be read.
    """
    family = FAMILIES[class_name]
    options = {family.shape: (*preprocessing.size_px, 3)} if family.shape else {}
    return _image_backbone(_load(folder, options, weights, name), family, preprocessing, name)


def preset_modality(folder: Path, name: str) -> Modality:
    """What the preset in a folder takes in.

    Raises:
        BackboneError: The folder cannot be read, or its family is not supported.
    """
    return _family(read_config(folder, "config.json"), name).modality


def _family(config: dict[str, Any], name: str) -> Family:
    family = FAMILIES.get(class_name(config))
    if family is None:
        raise BackboneError(
            f"Backbone {name!r} is a {class_name(config)}, a family that tltool has no layer "
            f"groups for. Supported: {', '.join(FAMILIES)}."
        )
    return family


def _load(folder: Path, options: dict[str, Any], weights: str, name: str) -> Any:
    try:
        # Some of KerasHub's converters print what they copy.
        with redirect_stdout(io.StringIO()):
            return keras_hub.models.Backbone.from_preset(
                str(folder), load_weights=weights == "pretrained", **options
            )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BackboneError(
            f"Backbone {name!r} could not be loaded from {folder}: {first_line(error)}",
            hint="the folder must be whole and written by a KerasHub not newer than this one "
            f"({keras_hub.__version__})",
        ) from error


def _text_backbone(
    hub: Any, family: Family, preprocessing: TextPreprocessing, name: str
) -> Backbone:
    if isinstance(hub.output, dict):
        sequence, pooled = hub.output["sequence_output"], hub.output["pooled_output"]
    else:
        sequence = hub.output
        pooled = FirstToken(name="pooled")(sequence)
    model = keras.Model(hub.input, pooled, name=family.rules)
    return Backbone(
        name=name,
        model=model,
        features=Features(pooled=pooled, sequence=sequence, mask=hub.input["padding_mask"]),
        groups=group_layers(model, GROUP_RULES[family.rules], name),
        preprocessing=preprocessing,
    )


def _image_backbone(
    hub: Any, family: Family, preprocessing: ImagePreprocessing, name: str
) -> Backbone:
    if family.rules == "vit":
        model = flatten_vit(hub, name)
        features = Features(pooled=model.output, sequence=model.get_layer("final_norm").output)
    else:
        pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(hub.output)
        model = keras.Model(hub.input, pooled, name=family.rules)
        features = Features(pooled=pooled, feature_map=hub.output)
    return Backbone(
        name=name,
        model=model,
        features=features,
        groups=group_layers(model, GROUP_RULES[family.rules], name),
        preprocessing=preprocessing,
    )

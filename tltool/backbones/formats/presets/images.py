"""The preprocessing of a KerasHub preset of images, from its image converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_hub

from tltool.backbones.formats.folder_files import read_json
from tltool.backbones.formats.image_input import checked_size, refuse_other_size
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError


def read_config(folder: Path, file: str) -> dict[str, Any]:
    """A JSON file of a preset, which has a `config` of its own inside.

    Raises:
        BackboneError: It is missing or is no KerasHub configuration.
    """
    content = read_json(folder / file)
    if not isinstance(content.get("config"), dict):
        raise BackboneError(f"{folder / file} is not a KerasHub configuration.")
    return content


def class_name(config: dict[str, Any]) -> str:
    """Its class without the package, which older presets call `keras_nlp`."""
    registered = config.get("registered_name") or config.get("class_name")
    package, _, name = str(registered).rpartition(">")
    return name if package in {"keras_hub", "keras_nlp", ""} else str(registered)


def image_preprocessing(
    folder: Path,
    config: dict[str, Any],
    *,
    name: str,
    image_size_px: int | None,
    resizable: bool,
) -> ImagePreprocessing:
    """The contract that a preset's image converter states.

    Args:
        folder: Of the preset.
        config: Its `config.json`.
        name: Of the backbone, for messages.
        image_size_px: Height and width wanted, or None for the preset's own.
        resizable: Whether the network can be rebuilt for another size.

    Raises:
        BackboneError: There is no converter, or it does what tltool cannot.
    """
    if not (folder / "image_converter.json").is_file():
        raise BackboneError(
            f"Backbone {name!r}: {folder} has no image_converter.json, so how its images were "
            "scaled is unknown; raw pixels would give wrong features without any error.",
            hint="save the preset together with its preprocessor: "
            "`ImageClassifierPreprocessor(image_converter).save_to_preset(folder)`",
        )
    read_config(folder, "image_converter.json")
    converter = keras_hub.layers.ImageConverter.from_preset(str(folder))
    own = converter.image_size or tuple(config["config"].get("image_shape", (None, None))[:2])
    size = _size_px(own, image_size_px, resizable, name)
    unsupported = {
        "pad_to_aspect_ratio": converter.pad_to_aspect_ratio,
        "data_format other than channels_last": converter.data_format != "channels_last",
        f"interpolation {converter.interpolation!r}": converter.interpolation
        not in {"bilinear", "bicubic", "nearest"},
        "cropping to an input that is not square": converter.crop_to_aspect_ratio
        and size[0] != size[1],
    }
    for what, found in unsupported.items():
        if found:
            raise BackboneError(
                f"Backbone {name!r}: its image converter uses {what}, which tltool cannot do."
            )
    mean, std = _mean_and_std(converter.scale, converter.offset)
    return ImagePreprocessing(
        size_px=size,
        resize_px=max(size),
        fit="crop" if converter.crop_to_aspect_ratio else "stretch",
        interpolation=converter.interpolation,
        antialias=converter.antialias,
        mean=mean,
        std=std,
    )


def _mean_and_std(scale: Any, offset: Any) -> tuple[Any, Any]:
    """`x * scale + offset` written as `(x - mean) / std`, for three channels each."""

    def three(value: Any, default: float) -> list[float]:
        if value is None:
            return [default] * 3
        return [float(v) for v in value] if isinstance(value, list | tuple) else [float(value)] * 3

    scales, offsets = three(scale, 1.0), three(offset, 0.0)
    mean = tuple(-o / s for s, o in zip(scales, offsets, strict=True))
    return mean, tuple(1.0 / s for s in scales)


def _size_px(
    own: tuple[int | None, ...], wanted: int | None, resizable: bool, name: str
) -> tuple[int, int]:
    height, width = own
    if wanted is None or (height, width) == (wanted, wanted):
        if height is None or width is None:
            raise BackboneError(
                f"Backbone {name!r}: the preset names no image size.",
                hint="set backbone.image_size_px, such as 224",
            )
        return height, width
    if not resizable:
        refuse_other_size((height or 0, width or 0), wanted, name)
    return checked_size(wanted, name)

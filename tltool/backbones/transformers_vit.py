"""ViT from a folder of the transformers library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tltool.backbones.base import Backbone
from tltool.backbones.folder_files import read_json, read_tensors
from tltool.backbones.image_input import refuse_other_size
from tltool.backbones.vit import TRANSFORMERS_VIT, load_vit
from tltool.errors import BackboneError
from tltool.preprocessing import ImagePreprocessing

# Pillow's numbers of its filters, which the configuration keeps.
_RESAMPLE: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}


def load_vit_folder(
    folder: Path,
    *,
    name: str,
    image_size_px: int | None = None,
    dropout: float | None = None,
    weights: Literal["pretrained", "random"] = "pretrained",
) -> Backbone:
    """Loads a ViT and its preprocessing.

    Args:
        folder: With `config.json`, `preprocessor_config.json` and
            `model.safetensors` (or `pytorch_model.bin`, read without torch).
        name: Of the backbone.
        image_size_px: Height and width of the input; it has one only.
        dropout: In all blocks; None takes the configuration's.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: A file is missing or damaged, or the folder asks for
            something that would be computed differently here.
    """
    path = folder / "config.json"
    config = read_json(path)
    only = {"hidden_act": "gelu", "qkv_bias": True, "num_channels": 3}
    for key, supported in only.items():
        found = config.get(key, supported)
        if found != supported:
            raise BackboneError(
                f"{path}: {key} is {found!r}; only {supported!r} is supported.",
                hint="loading it anyway would give other features than the original's",
            )
    shape = _shape(config, path)
    refuse_other_size(shape["image_shape"][:2], image_size_px, name)
    tensors = None
    if weights == "pretrained":
        tensors = {key.removeprefix("vit."): value for key, value in read_tensors(folder).items()}
    return load_vit(
        TRANSFORMERS_VIT,
        shape,
        tensors,
        _preprocessing(folder / "preprocessor_config.json", config["image_size"]),
        name=name,
        dropout=float(config.get("hidden_dropout_prob", 0.0)) if dropout is None else dropout,
    )


def _shape(config: dict[str, Any], path: Path) -> dict[str, Any]:
    keys = {
        "hidden_dim": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "mlp_dim": "intermediate_size",
        "patch_size": "patch_size",
        "image_size": "image_size",
    }
    missing = [key for key in keys.values() if not isinstance(config.get(key), int)]
    if missing:
        raise BackboneError(f"{path} lacks {', '.join(missing)}.")
    shape = {own: config[key] for own, key in keys.items()}
    side = shape.pop("image_size")
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    return {**shape, "image_shape": (side, side, 3), "layer_norm_epsilon": epsilon}


def _preprocessing(path: Path, size_px: int) -> ImagePreprocessing:
    """What the folder's image processor does; raw pixels would give wrong features silently."""
    own = read_json(path)
    size = own.get("size", size_px)
    if isinstance(size, dict):
        size = size.get("height") if size.get("height") == size.get("width") else None
    resample = _RESAMPLE.get(own.get("resample", 2))
    unsupported = {
        "an image size that is not the network's": size != size_px,
        "a filter that is neither bilinear nor bicubic": resample is None,
        "no resizing": not own.get("do_resize", True),
        "cropping": bool(own.get("do_center_crop", False)),
        "no normalisation": not own.get("do_normalize", True),
        "another scale than 1/255": abs(own.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9,
    }
    for what, found in unsupported.items():
        if found:
            raise BackboneError(f"{path} asks for {what}, which tltool cannot do.")
    return ImagePreprocessing(
        size_px=(size_px, size_px),
        resize_px=size_px,
        fit="stretch",
        interpolation=resample or "bilinear",
        antialias=True,
        mean=tuple(255.0 * float(value) for value in own.get("image_mean", [0.5] * 3)),
        std=tuple(255.0 * float(value) for value in own.get("image_std", [0.5] * 3)),
    )

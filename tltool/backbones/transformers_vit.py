"""ViT and DINOv2 from a folder of the transformers library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tltool.backbones.base import Backbone
from tltool.backbones.folder_files import read_json, read_tensors
from tltool.backbones.image_input import refuse_other_size
from tltool.backbones.vit import TRANSFORMERS_DINOV2, TRANSFORMERS_VIT, load_vit
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
    """Loads a ViT or a DINOv2 and its preprocessing.

    Args:
        folder: With `config.json`, `preprocessor_config.json` and
            `model.safetensors` (or `pytorch_model.bin`, read without torch).
        name: Of the backbone.
        image_size_px: Height and width of the input. A ViT has one only; of
            DINOv2 they are a multiple of the patch, and None takes the folder's.
        dropout: In all blocks; None takes the configuration's.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: A file is missing or damaged, or the folder asks for
            something that would be computed differently here.
    """
    path = folder / "config.json"
    config = read_json(path)
    dinov2 = config["model_type"] == "dinov2"
    only = {"hidden_act": "gelu", "qkv_bias": True, "num_channels": 3, "use_swiglu_ffn": False}
    for key, supported in only.items():
        found = config.get(key, supported)
        if found != supported:
            raise BackboneError(
                f"{path}: {key} is {found!r}; only {supported!r} is supported.",
                hint="loading it anyway would give other features than the original's",
            )
    shape = _shape(config, path)
    contract = _preprocessing(folder / "preprocessor_config.json", config["image_size"])
    if dinov2:
        contract = _resized(contract, image_size_px, shape["patch_size"], name)
        shape["image_shape"] = (*contract.size_px, 3)
    else:
        refuse_other_size(shape["image_shape"][:2], image_size_px, name)
        if contract.size_px != shape["image_shape"][:2]:
            raise BackboneError(
                f"{folder / 'preprocessor_config.json'} makes images of {contract.size_px[0]} "
                f"pixels, which is not the network's size: {path} has {config['image_size']}."
            )
    tensors = None
    if weights == "pretrained":
        prefix = f"{config['model_type']}."
        tensors = {key.removeprefix(prefix): value for key, value in read_tensors(folder).items()}
    return load_vit(
        TRANSFORMERS_DINOV2 if dinov2 else TRANSFORMERS_VIT,
        shape,
        tensors,
        contract,
        name=name,
        dropout=float(config.get("hidden_dropout_prob", 0.0)) if dropout is None else dropout,
    )


def _resized(
    contract: ImagePreprocessing, size_px: int | None, patch: int, name: str
) -> ImagePreprocessing:
    """The contract at another size, which must be whole patches."""
    size = size_px or contract.size_px[0]
    if size % patch:
        raise BackboneError(
            f"Backbone {name!r} has patches of {patch}×{patch} pixels, and {size} is no multiple "
            "of them.",
            hint=f"set backbone.image_size_px to {max(1, round(size / patch)) * patch}",
        )
    resize = round(contract.resize_px * size / contract.size_px[0])
    return contract.model_copy(update={"size_px": (size, size), "resize_px": resize})


def _shape(config: dict[str, Any], path: Path) -> dict[str, Any]:
    keys = {
        "hidden_dim": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "mlp_dim": "intermediate_size",
        "patch_size": "patch_size",
        "image_size": "image_size",
    }
    if isinstance(config.get("mlp_ratio"), int | float):
        # DINOv2 says how many times as wide as the model the MLP is.
        config = {"intermediate_size": int(config["hidden_size"] * config["mlp_ratio"]), **config}
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
    crops = bool(own.get("do_center_crop", False))
    size = _side(own.get("size", size_px), "shortest_edge" if crops else None)
    cropped = _side(own.get("crop_size"), None) if crops else size
    resample = _RESAMPLE.get(own.get("resample", 2))
    unsupported = {
        "images that are not square, or does not say how large": None in (size, cropped),
        "a crop larger than the image": (cropped or 0) > (size or 0),
        "a filter that is neither bilinear nor bicubic": resample is None,
        "no resizing": not own.get("do_resize", True),
        "no normalisation": not own.get("do_normalize", True),
        "another scale than 1/255": abs(own.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9,
    }
    for what, found in unsupported.items():
        if found:
            raise BackboneError(f"{path} asks for {what}, which tltool cannot do.")
    return ImagePreprocessing(
        size_px=(cropped, cropped),
        resize_px=size,
        fit="crop" if crops else "stretch",
        interpolation=resample or "bilinear",
        antialias=True,
        mean=tuple(255.0 * float(value) for value in own.get("image_mean", [0.5] * 3)),
        std=tuple(255.0 * float(value) for value in own.get("image_std", [0.5] * 3)),
    )


def _side(size: Any, key: str | None) -> int | None:
    """One number of pixels, as a number, as `{key: …}`, or as equal height and width."""
    if isinstance(size, dict):
        same = size.get("height") == size.get("width")
        size = size.get(key) if key in size else size.get("height") if same else None
    return size if isinstance(size, int) else None

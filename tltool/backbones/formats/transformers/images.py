"""ViT, DINOv2 and Swin from a folder of the transformers library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tltool.backbones.base import Backbone
from tltool.backbones.formats.folder_files import read_json, read_tensors, refuse_otherwise
from tltool.backbones.formats.image_input import refuse_other_size, scaled
from tltool.backbones.networks.swin import TRANSFORMERS_SWIN, SwinShape, load_swin
from tltool.backbones.networks.vit import TRANSFORMERS_DINOV2, TRANSFORMERS_VIT, load_vit
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError

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
    """Loads a ViT, a DINOv2 or a Swin and its preprocessing.

    Args:
        folder: With `config.json`, `preprocessor_config.json` and
            `model.safetensors` (or `pytorch_model.bin`, read without torch).
        name: Of the backbone.
        image_size_px: Height and width of the input. ViT and Swin have one only; of
            DINOv2 they are a multiple of the patch, and None takes the folder's.
        dropout: In all blocks; None takes the configuration's.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: A file is missing or damaged, or the folder asks for
            something that would be computed differently here.
    """
    path = folder / "config.json"
    config = read_json(path)
    kind = config["model_type"]
    only = {
        "hidden_act": "gelu",
        "qkv_bias": True,
        "num_channels": 3,
        "use_swiglu_ffn": False,
        "use_absolute_embeddings": False,
    }
    refuse_otherwise(config, only, path)
    own_px = _number(config, "image_size", path)
    contract = _preprocessing(folder / "preprocessor_config.json", own_px)
    if kind == "dinov2":
        contract = _resized(contract, image_size_px, _number(config, "patch_size", path), name)
    else:
        refuse_other_size((own_px, own_px), image_size_px, name)
        if contract.size_px != (own_px, own_px):
            raise BackboneError(
                f"{folder / 'preprocessor_config.json'} makes images of {contract.size_px[0]} "
                f"pixels, which is not the network's size: {path} has {own_px}."
            )
    tensors = None
    if weights == "pretrained":
        prefix = f"{kind}."
        tensors = {key.removeprefix(prefix): value for key, value in read_tensors(folder).items()}
    rate = float(config.get("hidden_dropout_prob", 0.0)) if dropout is None else dropout
    if kind == "swin":
        size = _swin_shape(config, path)
        return load_swin(TRANSFORMERS_SWIN, size, tensors, contract, name=name, dropout=rate)
    shape = {**_shape(config, path), "image_shape": (*contract.size_px, 3)}
    names = TRANSFORMERS_DINOV2 if kind == "dinov2" else TRANSFORMERS_VIT
    return load_vit(names, shape, tensors, contract, name=name, dropout=rate)


def _number(config: dict[str, Any], key: str, path: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int):
        raise BackboneError(f"{path} lacks {key}.")
    return value


def _swin_shape(config: dict[str, Any], path: Path) -> SwinShape:
    lacking = [key for key in ("depths", "num_heads") if not isinstance(config.get(key), list)]
    if lacking:
        raise BackboneError(f"{path} lacks {', '.join(lacking)}.")
    return SwinShape(
        width=_number(config, "embed_dim", path),
        depths=tuple(config["depths"]),
        heads=tuple(config["num_heads"]),
        window=_number(config, "window_size", path),
        size_px=_number(config, "image_size", path),
        patch_size=_number(config, "patch_size", path),
        mlp_ratio=float(config.get("mlp_ratio", 4.0)),
        epsilon=float(config.get("layer_norm_eps", 1e-5)),
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
    return scaled(contract, (size, size))


def _shape(config: dict[str, Any], path: Path) -> dict[str, Any]:
    keys = {
        "hidden_dim": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "mlp_dim": "intermediate_size",
        "patch_size": "patch_size",
    }
    if isinstance(config.get("mlp_ratio"), int | float):
        # DINOv2 says how many times as wide as the model the MLP is.
        config = {"intermediate_size": int(config["hidden_size"] * config["mlp_ratio"]), **config}
    missing = [key for key in keys.values() if not isinstance(config.get(key), int)]
    if missing:
        raise BackboneError(f"{path} lacks {', '.join(missing)}.")
    shape = {own: config[key] for own, key in keys.items()}
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    return {**shape, "layer_norm_epsilon": epsilon}


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

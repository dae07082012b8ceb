"""A user's own weights for a network whose architecture is known: Keras or torch files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tltool.backbones.base import Backbone
from tltool.backbones.formats.folder_files import read_tensor_file
from tltool.backbones.formats.torch.weights import weighted_layers
from tltool.backbones.networks import registered  # noqa: F401  what a `.keras` file may name
from tltool.backbones.networks.efficientnet_lite import load_torch_weights
from tltool.graph.keras_file import load_keras_file
from tltool.support.errors import BackboneError, TltoolError, first_line

NEVER_LOADED = (
    "layers that hold code (Lambda) and layers of your own are never loaded; save the weights "
    "alone by model.save_weights('NAME.weights.h5')"
)
TORCH_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def load_weights_file(backbone: Backbone, path: Path, *, partial: bool = False) -> tuple[str, ...]:
    """Puts the weights of a file into a backbone, in place of those it has.

    Args:
        backbone: Its network; every one of its weights must be in the file.
        path: `.keras`, a whole model in which layers have the names and shapes
            of the backbone's, such as the `model.keras` of a run, and a head is
            left aside; `.weights.h5` or `.h5`, as Keras wrote it for this
            network; or, for EfficientNet-Lite0, a torch state dict
            (`.safetensors`, `.pth`, `.pt`, `.bin`), read without torch. Those
            of torchvision's networks are read where these are built.
        partial: Leave layers as they are that a `.keras` file has not, such as the pooling layer
            of a BERT in a model that tags words.

    Returns:
        The names of these layers.

    Raises:
        BackboneError: There is no such file, it cannot be read or holds code,
            or a weight is missing or has another shape.
    """
    require_file(path)
    if path.suffix == ".keras":
        model = load_keras_file(path, BackboneError, hint=NEVER_LOADED)
        lacking = _copy_by_name(backbone, model, path)
        if lacking and not partial:
            raise lacks(backbone.name, path, lacking[0])
        return lacking
    if path.suffix == ".h5":
        _load_h5(backbone, path)
    elif path.suffix in TORCH_SUFFIXES:
        _load_torch(backbone, path)
    else:
        raise BackboneError(
            f"{path} is no file of weights that tltool can read.",
            hint=f"allowed are .keras, .weights.h5, .h5, {', '.join(TORCH_SUFFIXES)}",
        )
    return ()


def lacks(name: str, source: object, layer: str, what: str = "no layer") -> BackboneError:
    """The error for a file without a layer that is needed."""
    return BackboneError(
        f"Backbone {name!r}: {source} has {what} {layer!r}, so it holds another network.",
        hint="layers are found by their names; name the backbone the file was made from",
    )


def require_file(
    path: Path,
    failure: type[TltoolError] = BackboneError,
    field_name: str = "backbone.weights_file",
) -> None:
    """Sees that a file of weights is there.

    Raises:
        TltoolError: `failure`: it is not.
    """
    if not path.is_file():
        raise failure(f"There is no file {str(path)!r} with weights.", hint=f"check {field_name}")


def _copy_by_name(backbone: Backbone, model: keras.Model, path: Path) -> tuple[str, ...]:
    """Copies the weights of layers of equal names; returns the names of those it does not find."""
    found = dict(nested_layers(model))
    lacking = []
    for name, layer in weighted_layers(backbone.model):
        own = found.get(name)
        if own is None:
            lacking.append(name)
            continue
        if not same_shapes(layer, own):
            raise lacks(backbone.name, path, name, "another shape for the layer")
        layer.set_weights(own.get_weights())
    return tuple(lacking)


def same_shapes(layer: Any, other: Any) -> bool:
    """Whether the weights of two layers have the same shapes, in the same order."""
    one, two = ([tuple(weight.shape) for weight in each.weights] for each in (layer, other))
    return one == two


def nested_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Layers with weights and their names, also of models that are layers of others."""
    for name, layer in weighted_layers(model):
        if isinstance(layer, keras.Model):
            yield from nested_layers(layer)
        else:
            yield name, layer


def _load_h5(backbone: Backbone, path: Path) -> None:
    # Keras only warns of some layers that it does not find, and leaves them as they are.
    for weight in backbone.model.weights:
        weight.assign(np.full(weight.shape, np.nan, "float32"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            backbone.model.load_weights(path)
        lacking = [w.path for w in backbone.model.weights if np.isnan(w).any()]
        if lacking:
            raise ValueError(f"it lacks {lacking[0]}")
    except (OSError, ValueError, KeyError, UserWarning) as error:
        raise BackboneError(
            f"Backbone {backbone.name!r}: {path} does not hold its weights: {first_line(error)}",
            hint="such a file fits the network without classifier (include_top=False) that "
            "wrote it",
        ) from error


def _load_torch(backbone: Backbone, path: Path) -> None:
    if backbone.model.name != "efficientnet_lite0":
        raise BackboneError(
            f"Backbone {backbone.name!r} takes no torch file by itself.",
            hint="name the network torchvision:NAME if it is torchvision's; else put the file as "
            "model.safetensors or pytorch_model.bin beside the config.json of timm or "
            "transformers, and name that folder as the backbone",
        )
    load_torch_weights(backbone.model, read_tensor_file(path))

"""Digests of what stored features depend on: layers and weights."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

_VERSIONED = ("keras", "keras_hub", "tltool")


def weights_digest(weights: Iterable[Any]) -> str:
    """sha256 (hex) of the values of variables, in their order."""
    digest = hashlib.sha256()
    for weight in weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(f"{value.dtype} {value.shape} ".encode())
        digest.update(value.data)
    return digest.hexdigest()


def layers_digest(model: keras.Model) -> str:
    """sha256 (hex) of a functional model's layers and how they are joined.

    Layers of other packages than Keras, KerasHub and tltool, whose versions
    are part of a key elsewhere, count with the source of their class.
    """
    config = json.dumps(model.get_config(), sort_keys=True, default=repr)
    classes = {type(layer) for layer in model._flatten_layers(include_self=False)}
    foreign = [c for c in classes if c.__module__.partition(".")[0] not in _VERSIONED]
    sources = sorted(_source(found) for found in foreign)
    return hashlib.sha256("\n".join([config, *sources]).encode()).hexdigest()


def _source(found: type) -> str:
    try:
        return inspect.getsource(found)
    except (OSError, TypeError):
        return repr(found)

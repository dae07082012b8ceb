"""Digests of what stored features depend on: layers and weights."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Sequence
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


def layers_digest(nodes: Sequence[Any]) -> str:
    """sha256 (hex) of the calls of layers that make up a part of a functional model.

    Layers of other packages than Keras, KerasHub and tltool, whose versions
    are part of a key elsewhere, count with the source of their class.

    Args:
        nodes: In the order of computation.
    """
    parts = [json.dumps(_description(node), sort_keys=True, default=repr) for node in nodes]
    classes = {type(layer) for node in nodes for layer in _with_inner(node.operation)}
    foreign = [c for c in classes if c.__module__.partition(".")[0] not in _VERSIONED]
    sources = sorted(_source(found) for found in foreign)
    return hashlib.sha256("\n".join([*parts, *sources]).encode()).hexdigest()


def _with_inner(operation: Any) -> list[Any]:
    """A layer and all layers inside it."""
    if not isinstance(operation, keras.Layer):
        return [operation]
    return list(operation._flatten_layers())


def _description(node: Any) -> dict[str, Any]:
    """A call of a layer: its configuration and what it is called with, tensors by their makers."""
    operation = node.operation
    config = operation.get_config() if isinstance(operation, keras.Layer) else {}
    arguments = keras.tree.map_structure(_by_maker, [node.arguments.args, node.arguments.kwargs])
    kind = type(operation)
    return {"class": f"{kind.__module__}.{kind.__name__}", "config": config, "call": arguments,
            "name": operation.name}  # fmt: skip


def _by_maker(value: Any) -> Any:
    return value._keras_history.operation.name if keras.utils.is_keras_tensor(value) else value


def _source(found: type) -> str:
    try:
        return inspect.getsource(found)
    except (OSError, TypeError):
        return repr(found)

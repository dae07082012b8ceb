"""Digests of what stored features depend on: layers and weights."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
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
    names = _lasting_names(nodes)
    described = (_description(node, names) for node in nodes)
    parts = [json.dumps(one, sort_keys=True, default=repr) for one in described]
    classes = {type(layer) for node in nodes for layer in _with_inner(node.operation)}
    foreign = [c for c in classes if c.__module__.partition(".")[0] not in _VERSIONED]
    sources = sorted(_source(found) for found in foreign)
    return hashlib.sha256("\n".join([*parts, *sources]).encode()).hexdigest()


def _with_inner(operation: Any) -> list[Any]:
    """A layer and all layers inside it."""
    if not isinstance(operation, keras.Layer):
        return [operation]
    return list(operation._flatten_layers())


def _lasting_names(nodes: Sequence[Any]) -> dict[str, str]:
    """Names by which layers are called here, by their own.

    Those that Keras has numbered through a process are numbered anew: a backbone that is loaded a
    second time is the same one.
    """
    names: dict[str, str] = {}
    for operation in (node.operation for node in nodes):
        kind = type(operation).__name__
        numbered = re.fullmatch(r"(.+)_[0-9]+", operation.name)
        plain = numbered[1] if numbered else operation.name
        if plain.replace("_", "") == kind.lower():
            names.setdefault(operation.name, f"{kind} {len(names)}")
    return names


def _description(node: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """A call of a layer: its configuration and what it is called with, tensors by their makers."""
    operation = node.operation
    config = operation.get_config() if isinstance(operation, keras.Layer) else {}

    def by_maker(value: Any) -> Any:
        return (
            named(value._keras_history.operation) if keras.utils.is_keras_tensor(value) else value
        )

    def named(operation: Any) -> str:
        return names.get(operation.name, operation.name)

    arguments = keras.tree.map_structure(by_maker, [node.arguments.args, node.arguments.kwargs])
    if operation.name in names:
        config = {key: value for key, value in config.items() if key != "name"}
    kind = type(operation)
    return {"class": f"{kind.__module__}.{kind.__name__}", "config": config, "call": arguments,
            "name": named(operation)}  # fmt: skip


def _source(found: type) -> str:
    try:
        return inspect.getsource(found)
    except (OSError, TypeError):
        return repr(found)

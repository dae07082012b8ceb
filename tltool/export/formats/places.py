"""From the name of an operation in a traced graph to the layer that made it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras

_REPEATED = re.compile(r"_\d+$")


@dataclass(frozen=True, order=True)
class Place:
    """A layer, or an operation of `keras.ops` that a model calls like one.

    Attributes:
        path: Its name, after those of the layers it is in: `outer/inner`.
        kind: Its class.
    """

    path: str
    kind: str

    def __str__(self) -> str:
        return f"{self.path} ({self.kind})"


def place_of(node_names: Iterable[str], model: keras.Model) -> Place | None:
    """The innermost layer whose scope an operation is in.

    Args:
        node_names: Name of the operation's node, then of the nodes that call
            the function it is in, each as `model/layer/operation@function`.
        model: Functional; it was called in the graph under its own name.
    """
    for node in node_names:
        scopes = node.partition("@")[0].split("/")[1:-1]
        if place := _innermost(scopes, model):
            return place
    return None


def _innermost(scopes: list[str], model: keras.Model) -> Place | None:
    layer, names = model, []
    for scope in scopes:
        found = _named(scope, _inside(layer))
        if found is not None:
            layer = found
            names.append(found.name)
    return Place("/".join(names), type(layer).__name__) if names else None


def _inside(layer: Any) -> dict[str, Any]:
    if isinstance(layer, keras.Model) and hasattr(layer, "operations"):
        return {operation.name: operation for operation in layer.operations}
    if not isinstance(layer, keras.Layer):
        return {}
    return {x.name: x for x in layer._flatten_layers(include_self=False, recursive=False)}


def _named(scope: str, known: dict[str, Any]) -> Any:
    """What has opened a scope: layers get a number after their name, operations don't."""
    exact, numbered = known.get(scope), known.get(_REPEATED.sub("", scope))
    if exact is not None and not isinstance(exact, keras.Layer):
        return exact
    return numbered if isinstance(numbered, keras.Layer) else exact

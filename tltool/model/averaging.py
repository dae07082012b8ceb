"""One graph that answers with the mean of several models, or over several views of a picture.

The models are those of one recipe, trained from different seeds: their graphs are alike. What is
the same in all of them is there once. That is looked up in the weights themselves, so that it
holds whatever was frozen, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tltool.graph.cut import nodes_of
from tltool.tasks.mean_outputs import MeanOutputs, Views
from tltool.tasks.target import Target


def averaging(
    members: Iterable[keras.Model], kind: type[Target], views: Sequence[str] = ()
) -> keras.Model:
    """The model whose outputs a user reads as the mean of what the members say.

    Args:
        members: At least one; flat, functional, in float32, from equal inputs to raw outputs, of
            equal graphs. They are taken one after the other, and the first one's layers are those
            of the result.
        kind: Of the target.
        views: Those of `MeanOutputs`, over which each member's outputs are averaged too.

    Returns:
        From the first member's inputs to raw outputs of the same shape; the first member itself
        where it is alone and there are no views.
    """
    rest = iter(members)
    first = next(rest)
    graph = _Graph(first, views)
    raws = [graph.raw, *(graph.raw_of(member, number) for number, member in enumerate(rest, 2))]
    if len(raws) == 1 and not views:
        return first
    output = MeanOutputs(kind, views, name="mean_outputs")(raws)
    return keras.Model(graph.inputs, output, name=first.name)


@dataclass(frozen=True)
class _Call:
    """A call of a layer in the first member's graph: what it reads and what it gives."""

    layer: Any
    inputs: tuple[int, ...]
    outputs: list[Any]


class _Graph:
    """The graph of the first member, to which those of others are added.

    Args:
        first: The first member.
        views: Put along the batch of its pictures; none for none.
    """

    def __init__(self, first: keras.Model, views: Sequence[str]) -> None:
        self.inputs = first.input
        self._entering: list[Any] = list(first.inputs)
        if views:
            self.inputs = keras.tree.map_structure(_input_like, first.input)
            pictures = keras.tree.flatten(self.inputs)
            self._entering = [Views(views, name="views")(one) for one in pictures]
        tensors = self._tensors_of(first)
        self._calls: list[_Call] = []
        for node in _calls(first):
            outputs = _called(node.operation, node, tensors) if views else list(node.outputs)
            inputs = tuple(id(tensors[id(tensor)]) for tensor in node.arguments.keras_tensors)
            self._calls.append(_Call(node.operation, inputs, outputs))
            tensors.update(zip(map(id, node.outputs), outputs, strict=True))
        self.raw = tensors[id(first.output)]

    def raw_of(self, member: keras.Model, number: int) -> Any:
        """Adds what another member has of its own; returns its raw outputs.

        Args:
            member: Of the same graph.
            number: From 2 on; its own layers are called after it.
        """
        tensors, copies = self._tensors_of(member), dict[int, Any]()
        for node, call in zip(_calls(member), self._calls, strict=True):
            layer = node.operation
            if _have_same_weights(layer, call.layer):
                layer = call.layer
            elif id(layer) not in copies:
                copies[id(layer)] = _named_after(layer, number)
            inputs = tuple(id(tensors[id(tensor)]) for tensor in node.arguments.keras_tensors)
            if layer is call.layer and inputs == call.inputs:
                outputs = call.outputs
            else:
                outputs = _called(copies.get(id(layer), layer), node, tensors)
            tensors.update(zip(map(id, node.outputs), outputs, strict=True))
        _give_weights(member, copies)
        return tensors[id(member.output)]

    def _tensors_of(self, member: keras.Model) -> dict[int, Any]:
        """From ids of a member's tensors to those of the whole graph; of its inputs to begin."""
        return dict(zip(map(id, member.inputs), self._entering, strict=True))


def _calls(model: keras.Model) -> Iterator[Any]:
    return (node for node in nodes_of(model) if not node.is_input)


def _called(layer: Any, node: Any, tensors: dict[int, Any]) -> list[Any]:
    """What a layer gives when it is called as in a node, on other tensors."""
    arguments, options = node.arguments.fill_in(tensors)
    outputs: list[Any] = keras.tree.flatten(layer(*arguments, **options))
    return outputs


def _input_like(tensor: Any) -> Any:
    name = tensor._keras_history.operation.name
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


def _have_same_weights(layer: Any, other: Any) -> bool:
    pairs = zip(_weights(layer), _weights(other), strict=True)
    return all(np.array_equal(one.numpy(), another.numpy()) for one, another in pairs)


def _weights(layer: Any) -> Sequence[Any]:
    """Without the states of random generators; none of an operation that is no layer."""
    return getattr(layer, "weights", ())


def _named_after(layer: Any, number: int) -> Any:
    """A layer of the same configuration, with a name of its own."""
    config = {**layer.get_config(), "name": f"member{number}_{layer.name}"}
    return layer.__class__.from_config(config)


def _give_weights(member: keras.Model, copies: dict[int, Any]) -> None:
    """Gives copies, which have been called, the weights of the member's layers by their ids."""
    for operation in {id(node.operation): node.operation for node in _calls(member)}.values():
        if id(operation) in copies:
            copies[id(operation)].set_weights(operation.get_weights())

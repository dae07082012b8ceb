"""Cuts a model where its frozen part ends: the prefix, what crosses, and the rest.

Everything below the first trainable layer computes the same thing in every
epoch. The prefix is that part, run in inference mode; the rest is what a phase
trains. Both share the model's layers, so weights learnt in one are learnt in
the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras


@dataclass(frozen=True)
class Cut:
    """A model in two parts that share its layers; each is built when first asked for.

    Attributes:
        model: The whole model.
        crossing: The tensors of its graph that the prefix hands to the rest,
            in the order of the model.
        nodes: The calls of layers that make up the prefix, in order.
        weights: The frozen weights that the prefix uses.
    """

    model: keras.Model
    crossing: tuple[Any, ...]
    nodes: tuple[Any, ...]
    weights: tuple[keras.Variable, ...]

    @cached_property
    def prefix(self) -> keras.Model:
        """From the model's inputs to `crossing`."""
        return keras.Model(self.model.input, list(self.crossing), name="frozen_prefix")

    @cached_property
    def rest(self) -> keras.Model:
        """From tensors like `crossing` to the model's output."""
        return keras.Model(list(self.crossing), self.model.output, name="rest")

    @cached_property
    def joined(self) -> keras.Model:
        """From the model's inputs to its output: `rest` on what `prefix` gives in inference mode.

        So training it computes what training `rest` on stored outputs computes.
        """
        frozen = _InInference(self.prefix)(self.model.input)
        return keras.Model(self.model.input, self.rest(frozen), name="joined")

    @property
    def layers(self) -> frozenset[str]:
        """Names of the prefix's layers."""
        return frozenset(node.operation.name for node in self.nodes)

    def describe(self) -> str:
        """The layers at the border, for people and for keys."""
        return ", ".join(_maker(tensor).name for tensor in self.crossing)


def cut_model(model: keras.Model, trainable: Collection[str]) -> Cut | None:
    """Cuts a functional model below its first trainable layer.

    A layer without trainable weights belongs to the prefix if all it reads
    comes from the prefix. Layers that are random in training (dropout, noise)
    belong to it only below frozen weights: one right before a trainable layer
    regularises that layer and stays random. A layer without weights whose
    output is larger than what it reads is left to the rest, and so is one that
    gives the same for the whole batch, or joins rows (`joins_rows`): that is no
    output of each example.

    Args:
        model: Flat functional model.
        trainable: Paths of the weights that learn.

    Returns:
        The cut; None where nothing is frozen below the first trainable layer,
        or where a Keras mask, which is no tensor of the graph, would cross.
    """
    graph = _Graph(model, frozenset(trainable))
    crossing = graph.crossing()
    if any(getattr(tensor, "_keras_mask", None) is not None for tensor in crossing):
        return None
    nodes = graph.below(crossing)
    weights = _unique(v for node in nodes for v in _weights(node.operation))
    if not weights:
        return None
    return Cut(model, tuple(crossing), tuple(nodes), tuple(weights))


def bridge(shallow: Cut, deep: Cut) -> keras.Model | None:
    """The model from what crosses one cut to what crosses a deeper one of the same model.

    Returns:
        The frozen layers between the two; None if `deep` is not above `shallow`.
    """
    if not shallow.layers < deep.layers:
        return None
    try:
        return keras.Model(list(shallow.crossing), list(deep.crossing), name="bridge")
    except ValueError:  # Keras: `deep` needs something that does not cross `shallow`.
        return None


class _InInference(keras.layers.Layer):
    """Calls a model in inference mode, also within a model that trains.

    `prefix(inputs, training=False)` would not do: what a functional model is
    called with replaces what is said in its graph (Keras 3.15).
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="in_inference")
        self.model = model

    def call(self, inputs: Any) -> Any:
        """What the model gives in inference mode."""
        return self.model(inputs, training=False)


def nodes_of(model: keras.Model) -> list[Any]:
    """The calls of layers that make up a functional model, in the order of computation."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]


class _Graph:
    """The nodes of a functional model in the order of computation, and which are frozen."""

    def __init__(self, model: keras.Model, trainable: frozenset[str]) -> None:
        self._model = model
        self._nodes = nodes_of(model)
        self._input_ids = {id(tensor) for tensor in model.inputs}
        needed = self._below_frozen_weights(trainable)
        self._stable = self._reach(trainable, needed)

    def _reach(self, trainable: frozenset[str], random_allowed: set[int]) -> set[int]:
        """Ids of the tensors that do not change while the frozen weights stay."""
        stable = set(self._input_ids)
        for node in self._nodes:
            layer = node.operation
            if not node.arguments.keras_tensors or not all(
                id(t) in stable for t in node.arguments.keras_tensors
            ):
                continue
            # What reads several rows at once is none of a row's own features.
            learns = any(v.path in trainable for v in _variables(layer)) or getattr(
                layer, "joins_rows", False
            )
            random = _is_random(layer) and not _weights(layer) and id(node) not in random_allowed
            if not learns and not random:
                stable.update(id(tensor) for tensor in node.outputs)
        return stable

    def _below_frozen_weights(self, trainable: frozenset[str]) -> set[int]:
        """Ids of the nodes that some frozen layer with weights, itself stable, depends on."""
        everything = {id(node) for node in self._nodes}
        stable = self._reach(trainable, everything)
        read: set[int] = set()
        below: set[int] = set()
        for node in reversed(self._nodes):
            feeds = any(id(tensor) in read for tensor in node.outputs)
            if feeds:
                below.add(id(node))
            holds = bool(_weights(node.operation)) and id(node.outputs[0]) in stable
            if feeds or holds:
                read.update(id(tensor) for tensor in node.arguments.keras_tensors)
        return below

    def crossing(self) -> list[Any]:
        """Stable tensors that something unstable, or the caller, reads; as small as may be."""
        makers = {id(tensor): node for node in self._nodes for tensor in node.outputs}
        while True:
            found = self._read_by_the_rest()
            left = next((t for t in found if self._is_for_the_rest(makers, t)), None)
            if left is None:
                return found
            self._stable.difference_update(id(t) for t in makers[id(left)].outputs)

    def below(self, crossing: Sequence[Any]) -> list[Any]:
        """The nodes that tensors are computed by, in order."""
        wanted = {id(tensor) for tensor in crossing}
        found = []
        for node in reversed(self._nodes):
            if any(id(tensor) in wanted for tensor in node.outputs):
                found.append(node)
                wanted.update(id(tensor) for tensor in node.arguments.keras_tensors)
        return found[::-1]

    def _read_by_the_rest(self) -> list[Any]:
        read = [
            tensor
            for node in self._nodes
            if id(node.outputs[0]) not in self._stable
            for tensor in node.arguments.keras_tensors
        ]
        wanted = {id(tensor) for tensor in [*read, *self._model.outputs]} & self._stable
        made = [tensor for node in self._nodes for tensor in node.outputs]
        return _unique(tensor for tensor in made if id(tensor) in wanted)

    def _is_for_the_rest(self, makers: dict[int, Any], tensor: Any) -> bool:
        """Whether a tensor is larger than what it is made from, or is not one row an example."""
        node = makers[id(tensor)]
        sources = node.arguments.keras_tensors
        if not sources:
            return False
        if tensor.shape[0] != self._model.inputs[0].shape[0]:
            return True
        if _weights(node.operation):
            return False
        return _size(tensor) > sum(_size(source) for source in sources)


def _maker(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _variables(layer: Any) -> Sequence[Any]:
    return getattr(layer, "variables", ())


def _weights(layer: Any) -> Sequence[Any]:
    """Variables without random seeds and metrics."""
    return getattr(layer, "weights", ())


def _is_random(layer: Any) -> bool:
    # Dropout of rate 0 has no seed. It counts all the same: heads that differ in the rate alone
    # read the same stored features.
    return len(_variables(layer)) > len(_weights(layer)) or isinstance(layer, keras.layers.Dropout)


def _size(tensor: Any) -> int:
    """Bytes of one example, an unknown axis (tokens) taken as 64."""
    size = keras.backend.standardize_dtype(tensor.dtype)
    width = 1 if size in {"bool", "int8", "uint8"} else 2 if "16" in size else 4
    for length in tensor.shape[1:]:
        width *= 64 if length is None else int(length)
    return width


def _unique(items: Iterator[Any]) -> Any:
    kept: dict[int, Any] = {}
    for item in items:
        kept.setdefault(id(item), item)
    return list(kept.values())

"""Copies a torch state dict into the layers of a Keras model that has the same architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import layers
from numpy.typing import NDArray

from tltool.support.errors import BackboneError

# Of the kernel: Keras' axes in terms of torch's.
_CONVOLUTION, _DEPTHWISE, _DENSE = (2, 3, 1, 0), (2, 3, 0, 1), (1, 0)


class TensorReader:
    """The tensors of a model's weights, each to be taken once; what is left belongs nowhere.

    Args:
        tensors: The state dict.
        name: Of the backbone, for messages.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], name: str) -> None:
        self._left = dict(tensors)
        self._name = name

    def take(self, key: str) -> NDArray[Any]:
        """A tensor.

        Raises:
            BackboneError: There is none of that name.
        """
        if key not in self._left:
            raise BackboneError(f"Backbone {self._name!r}: its weights lack the tensor {key!r}.")
        return self._left.pop(key)

    def folded(self, array: NDArray[Any], weight: Any, what: str = "a tensor") -> NDArray[Any]:
        """The array in a weight's shape, whose axes torch may keep folded, as those of heads.

        Raises:
            BackboneError: It has another number of values.
        """
        if array.size != math.prod(weight.shape):
            raise self.misshapen(what, array, weight)
        return array.reshape(weight.shape)

    def dense(self, prefix: str) -> list[NDArray[Any]]:
        """Kernel and bias of a dense layer, as Keras has them."""
        return [self.take(f"{prefix}.weight").T, self.take(f"{prefix}.bias")]

    def norm(self, prefix: str) -> list[NDArray[Any]]:
        """Scale and offset of a layer normalisation."""
        return [self.take(f"{prefix}.weight"), self.take(f"{prefix}.bias")]

    def convolution(self, prefix: str) -> list[NDArray[Any]]:
        """Kernel and bias of a convolution, as Keras has them."""
        return [self.take(f"{prefix}.weight").transpose(_CONVOLUTION), self.take(f"{prefix}.bias")]

    def fill(self, layer: Any, arrays: Sequence[NDArray[Any]]) -> None:
        """Sets a layer's weights, in their order.

        Raises:
            BackboneError: As `folded`.
        """
        pairs = zip(arrays, layer.weights, strict=True)
        layer.set_weights([self.folded(array, weight) for array, weight in pairs])

    def misshapen(self, what: str, array: NDArray[Any], weight: Any) -> BackboneError:
        """The error for an array that a weight cannot take."""
        return BackboneError(
            f"Backbone {self._name!r}: {what} has the shape {array.shape}, which does not fit "
            f"{tuple(weight.shape)} of {weight.path!r}."
        )

    def finish(self, unused: tuple[str, ...] = ()) -> None:
        """Sees that nothing is left but what the model does without.

        Args:
            unused: Beginnings of the names of such tensors, as of a classifier's.

        Raises:
            BackboneError: Something else is left.
        """
        left = sorted(
            key
            for key in self._left
            if not key.endswith("num_batches_tracked") and not key.startswith(unused)
        )
        if left:
            raise BackboneError(
                f"Backbone {self._name!r}: {len(left)} of its tensors belong nowhere in the model, "
                f"the first is {left[0]!r}."
            )


def weighted_layers(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Every layer with weights and its name; those inside a `Sequential` as `name/number`."""
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            inside = (part for part in layer.layers if part.weights)
            yield from ((f"{layer.name}/{i}", part) for i, part in enumerate(inside))
        elif layer.weights:
            yield layer.name, layer


def copy_torch_weights(
    model: keras.Model,
    prefix_of: Callable[[str], str | None],
    tensors: Mapping[str, NDArray[Any]],
    *,
    name: str,
    unused: tuple[str, ...] = (),
) -> None:
    """Copies all weights, and makes sure that nothing is missing, left over or misshapen.

    Args:
        model: Functional, of convolutions, dense layers, norms and layer scales.
        prefix_of: From a name of `weighted_layers` to what its tensors' names
            begin with, without the dot; None leaves the layer as it is.
        tensors: The state dict.
        name: Of the backbone, for messages.
        unused: As in `TensorReader.finish`.

    Raises:
        BackboneError: A tensor is missing, is left over, or has another shape.
    """
    reader = TensorReader(tensors, name)
    for layer_name, layer in weighted_layers(model):
        prefix = prefix_of(layer_name)
        if prefix is not None:
            keys = tensor_names(layer, prefix)
            layer.set_weights(
                [_read(reader, key, layer, v) for key, v in zip(keys, layer.weights, strict=True)]
            )
    reader.finish(unused)


def tensor_names(layer: Any, prefix: str) -> list[str]:
    """The names of a layer's tensors, in the order of its weights."""
    if isinstance(layer, layers.BatchNormalization):
        suffixes = ["weight", "bias", "running_mean", "running_var"]
    elif isinstance(layer, layers.LayerNormalization):
        suffixes = ["weight", "bias"]
    elif len(layer.weights) == 1 and len(layer.weights[0].shape) == 1:
        return [prefix]  # A layer scale: the tensor is its own name.
    else:
        suffixes = ["weight", "bias"][: len(layer.weights)]
    return [f"{prefix}.{suffix}" for suffix in suffixes]


def torch_shape(layer: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that torch gives a weight of a layer."""
    axes = _axes(layer, len(shape))
    return shape if axes is None else tuple(shape[axes.index(axis)] for axis in range(len(axes)))


def _axes(layer: Any, rank: int) -> tuple[int, ...] | None:
    """How a tensor of so many axes is transposed from torch's order to Keras'."""
    if rank == 4:
        return _DEPTHWISE if isinstance(layer, layers.DepthwiseConv2D) else _CONVOLUTION
    return _DENSE if rank == 2 else None


def _read(reader: TensorReader, key: str, layer: Any, weight: Any) -> NDArray[Any]:
    """A tensor in Keras' order of axes."""
    tensor = array = reader.take(key)
    axes = _axes(layer, len(weight.shape))
    if axes is not None:
        if array.ndim == 2 and len(axes) == 4:
            array = array[:, :, None, None]  # A dense layer that is a 1×1 convolution here.
        elif array.ndim == 4 and len(axes) == 2:
            array = array[:, :, 0, 0]
        if array.ndim == len(axes):
            array = array.transpose(axes)
    if array.shape != tuple(weight.shape):
        raise reader.misshapen(f"tensor {key!r}", tensor, weight)
    return array

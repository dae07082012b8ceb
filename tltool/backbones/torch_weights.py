"""Copies a torch state dict into the layers of a Keras model that has the same architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
from keras import layers
from numpy.typing import NDArray

from tltool.errors import BackboneError

# Of the kernel: Keras' axes in terms of torch's.
_CONVOLUTION, _DEPTHWISE, _DENSE = (2, 3, 1, 0), (2, 3, 0, 1), (1, 0)


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
    unused: tuple[str, ...] = (),
) -> None:
    """Copies all weights, and makes sure that nothing is missing, left over or misshapen.

    Args:
        model: Functional, of convolutions, dense layers, norms and layer scales.
        prefix_of: From a name of `weighted_layers` to what its tensors' names
            begin with, without the dot; None leaves the layer as it is.
        tensors: The state dict.
        unused: Beginnings of the names of tensors that the model does without,
            such as the classifier's.

    Raises:
        BackboneError: A tensor is missing, is left over, or has another shape.
    """
    used: set[str] = set()
    for name, layer in weighted_layers(model):
        prefix = prefix_of(name)
        if prefix is not None:
            used.update(_copy(layer, name, prefix, tensors))
    left = sorted(
        key
        for key in tensors.keys() - used
        if not key.endswith("num_batches_tracked") and not key.startswith(unused)
    )
    if left:
        raise BackboneError(
            f"{len(left)} tensors of the weights belong nowhere in the model, the first is "
            f"{left[0]!r}."
        )


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


def _copy(layer: Any, name: str, prefix: str, tensors: Mapping[str, NDArray[Any]]) -> list[str]:
    keys = tensor_names(layer, prefix)
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise BackboneError(f"The weights lack the tensor {missing[0]!r} for {name!r}.")
    arrays = []
    for key, weight in zip(keys, layer.weights, strict=True):
        array, axes = tensors[key], _axes(layer, len(weight.shape))
        if axes is not None and array.ndim == 2 and len(axes) == 4:
            array = array[:, :, None, None]  # A dense layer that is a 1×1 convolution here.
        elif axes is not None and array.ndim == 4 and len(axes) == 2:
            array = array[:, :, 0, 0]
        if axes is not None and array.ndim == len(axes):
            array = array.transpose(axes)
        if array.shape != tuple(weight.shape):
            raise BackboneError(
                f"The tensor {key!r} has the shape {tensors[key].shape}, which does not fit "
                f"{tuple(weight.shape)} of {name!r}."
            )
        arrays.append(array)
    layer.set_weights(arrays)
    return keys

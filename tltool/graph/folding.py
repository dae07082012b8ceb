"""Folds frozen BatchNorm layers into the convolutions before them: the same values, sooner.

In inference mode BatchNorm is `scale * x + offset` for each channel, so it can
be part of the kernel and bias of a convolution right before it (Jacob et al.
2018, arXiv:1712.05877, section 3.2). Results differ by rounding alone.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from tltool.graph.cut import nodes_of

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """A functional model for inference with fewer layers; the given one is not changed.

    Layers other than folded convolutions are shared with it.

    Args:
        model: Flat functional model. A BatchNorm is folded where it alone
            reads the output of a convolution without activation.

    Returns:
        A model of the same inputs and outputs; the given one where there is
        nothing to fold.
    """
    nodes = nodes_of(model)
    pairs = _foldable(model, nodes)
    if not pairs:
        return model
    known = {id(tensor): tensor for tensor in model.inputs}
    for node in nodes:
        if not node.arguments.keras_tensors:
            continue
        convolution = pairs.get(id(node.outputs[0]))
        if convolution is not None:
            source = known[id(convolution.arguments.keras_tensors[0])]
            outputs = _folded(convolution.operation, node.operation)(source)
        else:
            arguments, keywords = keras.tree.map_structure(
                lambda value: known.get(id(value), value),
                (node.arguments.args, node.arguments.kwargs),
            )
            outputs = node.operation(*arguments, **keywords)
        for old, new in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
            known[id(old)] = new
    outputs = [known[id(tensor)] for tensor in model.outputs]
    return keras.Model(model.input, outputs, name=f"{model.name}_folded")


def _foldable(model: keras.Model, nodes: list[Any]) -> dict[int, Any]:
    """Ids of BatchNorm outputs to the node of the convolution each can be folded into."""
    readers: dict[int, int] = {id(tensor): 1 for tensor in model.outputs}
    makers = {}
    for node in nodes:
        for tensor in node.arguments.keras_tensors:
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
        for tensor in node.outputs:
            makers[id(tensor)] = node
    found = {}
    for node in nodes:
        if type(node.operation) is not layers.BatchNormalization:
            continue
        (read,) = node.arguments.keras_tensors
        maker = makers[id(read)]
        if _takes_scale(maker.operation, node.operation) and readers[id(read)] == 1:
            found[id(node.outputs[0])] = maker
    return found


def _takes_scale(layer: Any, norm: Any) -> bool:
    return (
        type(layer) in _CONVOLUTIONS
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and layer.compute_dtype == "float32"
        and norm.axis in (-1, 3)
    )


def _folded(convolution: Any, norm: Any) -> Any:
    """A new layer that does what the two do one after the other."""
    scale = 1.0 / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma)
    bias = np.asarray(convolution.bias) if convolution.use_bias else 0.0
    offset = (bias - np.asarray(norm.moving_mean)) * scale
    if norm.center:
        offset = offset + np.asarray(norm.beta)
    kernel = np.asarray(convolution.kernel)
    if isinstance(convolution, layers.DepthwiseConv2D):
        kernel = kernel * scale.reshape(kernel.shape[2:])
    else:
        kernel = kernel * scale
    config = {**convolution.get_config(), "use_bias": True, "name": f"{convolution.name}_folded"}
    # All weights are set below: drawing random ones first would take most of the time.
    kind = "depthwise" if isinstance(convolution, layers.DepthwiseConv2D) else "kernel"
    config.update({"bias_initializer": "zeros", f"{kind}_initializer": "zeros"})
    layer = type(convolution).from_config(config)
    layer.build(convolution.input.shape)
    layer.set_weights([kernel, offset])
    return layer

"""Where in a picture an answer comes from: LayerCAM, or occlusion where a network has no maps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.graph.cut import nodes_of

Array = np.ndarray[Any, Any]

_PATCHES = 7
_FEWEST_CELLS = 2
# One for the output, one for the map.
_PASSES_WITH_SLOPES = 2
# Axes of (n, tokens, channels) and of (n, rows, columns, channels).
_WITH_TOKENS, _WITH_PLACES = 3, 4


def picture_maps(model: keras.Model, inputs: Array, numbers: Array) -> tuple[Array, str]:
    """How much each place of pictures speaks for one of the model's raw outputs.

    LayerCAM (Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for
    Localization", equations 5 to 7) on the last feature map: where a channel is active and its
    gradient says that more of it raises the output. A network without feature maps, such as a
    ViT, is shown the picture with one patch after the other painted over (Zeiler and Fergus
    2014, section 2.2).

    Args:
        model: From inputs to raw outputs (n, outputs).
        inputs: Preprocessed pictures, float32 (n, height, width, 3).
        numbers: Which raw output of each, int (n,).

    Returns:
        Maps of 0 to 1 with the largest of each 1 (all 0 where nothing speaks for it), float32
        (n, rows, columns), coarser than the inputs; and the method in words.
    """
    features, maps, method = feature_map(model), None, "LayerCAM"
    if features is not None:
        maps = _layer_cam(model, features, inputs, numbers)
    if maps is None:
        maps, method = _occluded(model, inputs, numbers), "occlusion"
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return (maps / np.where(peaks > 0, peaks, 1.0)).astype(np.float32), method


def passes(model: keras.Model) -> int:
    """About how many forward passes of the network a map of `picture_maps` takes."""
    return _PATCHES**2 + 1 if feature_map(model) is None else _PASSES_WITH_SLOPES


def feature_map(model: keras.Model) -> Any:
    """The last tensor of a model's graph that has places and channels, or None.

    (n, rows, columns, channels) with two rows and columns at least, before they are pooled; not
    where tokens follow, as after the patches of a ViT.
    """
    given = {id(tensor) for tensor in model.inputs}
    # Of this graph alone: layers may be called in others too.
    for node in reversed(nodes_of(model)):
        for tensor in node.outputs:
            shape = tensor.shape
            if len(shape) == _WITH_TOKENS and shape[1] != 1:
                return None
            places = shape[1:3] if len(shape) == _WITH_PLACES and id(tensor) not in given else ()
            if places and min(side or 0 for side in places) >= _FEWEST_CELLS:
                return tensor
    return None


def resized(maps: Array, size: tuple[int, int]) -> Array:
    """Maps (n, rows, columns) at another height and width, bilinear, float32."""
    return tf.image.resize(maps[..., None], size).numpy()[..., 0]


def _layer_cam(model: keras.Model, features: Any, inputs: Array, numbers: Array) -> Array | None:
    """None where the outputs do not hang on the feature map by a gradient."""
    values, head = tf.convert_to_tensor(inputs), _after(model, features)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        if head is None:
            tape.watch(values)
            active, raw = keras.Model(model.input, [features, model.output])(values, training=False)
        else:  # nothing is kept of the layers before, and no gradient computed
            with tape.stop_recording():
                active = keras.Model(model.input, features)(values, training=False)
            tape.watch(active)
            raw = head(active, training=False)
        told = tf.reduce_sum(tf.gather(raw, numbers, axis=1, batch_dims=1))
    slopes = tape.gradient(told, active)
    if slopes is None:
        return None
    speaks = tf.nn.relu(slopes) * tf.nn.relu(active)
    return tf.reduce_sum(tf.cast(speaks, tf.float32), axis=-1).numpy()


def _after(model: keras.Model, features: Any) -> keras.Model | None:
    """The part of a model after a tensor; None where its outputs take more than that."""
    try:
        return keras.Model(features, model.output)
    except ValueError:
        return None


def _occluded(model: keras.Model, inputs: Array, numbers: Array) -> Array:
    """How much of the output is lost without each of 7 x 7 patches."""
    maps = np.zeros((len(inputs), _PATCHES, _PATCHES), np.float32)
    edges = [np.linspace(0, side, _PATCHES + 1).astype(int) for side in inputs.shape[1:3]]
    for row, (picture, number) in enumerate(zip(inputs, numbers, strict=True)):
        variants = np.repeat(picture[None], _PATCHES * _PATCHES + 1, axis=0)
        blank = picture.mean(axis=(0, 1))
        for cell in range(_PATCHES * _PATCHES):
            i, j = divmod(cell, _PATCHES)
            variants[cell, edges[0][i] : edges[0][i + 1], edges[1][j] : edges[1][j + 1]] = blank
        raw = np.asarray(model(variants, training=False))[:, number]
        maps[row] = np.maximum(raw[-1] - raw[:-1], 0.0).reshape(_PATCHES, _PATCHES)
    return maps

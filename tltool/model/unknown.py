"""Puts the score of how unknown an input is into a model's graph, and takes it apart again."""

from __future__ import annotations

from typing import Any

import keras

from tltool.tasks.mean_outputs import MeanOutputs
from tltool.tasks.unknown.layers import UnknownScore

_JOINED = "with_unknown_score"


def with_score(model: keras.Model, features: Any, layer: UnknownScore) -> keras.Model:
    """A model whose raw outputs have the score of the layer beside the logits, (n, outputs + 1).

    Args:
        model: Flat and functional, from inputs to logits; it shares its layers with the result.
        features: A tensor in its graph, (n, channels).
        layer: Makes the score of logits and features.
    """
    logits = model.output
    joined = keras.layers.Concatenate(dtype="float32", name=_JOINED)
    return keras.Model(model.input, joined([logits, layer([logits, features])]), name=model.name)


def apart(model: keras.Model) -> keras.Model:
    """The model with logits and score as two outputs, where it has a score; else itself.

    Joined, both would have one scale where an export has 8 bits.
    """
    last = model.output._keras_history.operation
    if last.name != _JOINED:
        return model
    return keras.Model(model.input, list(last.input), name=model.name)


def features_of(model: keras.Model) -> Any | None:
    """What the last dense layer reads, (n, channels), the features that tell classes apart.

    Of the mean of several models those of all, beside each other.

    Returns:
        None where a model does not end in a dense layer on one vector for each row.
    """
    last = model.output._keras_history.operation
    if isinstance(last, keras.layers.Rescaling):
        last = last.input._keras_history.operation
    ends = [last]
    if isinstance(last, MeanOutputs):
        raws = last.input if isinstance(last.input, list | tuple) else [last.input]
        ends = [raw._keras_history.operation for raw in raws]
    if not all(isinstance(end, keras.layers.Dense) and len(end.input.shape) == 2 for end in ends):
        return None
    # Members of an ensemble may read the same features.
    found = list({id(end.input): end.input for end in ends}.values())
    if len(found) == 1:
        return found[0]
    return keras.layers.Concatenate(dtype="float32", name="features_of_all")(found)

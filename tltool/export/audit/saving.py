"""Layers that could not be loaded again from the file that a run keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from tltool.export.formats.places import Place
from tltool.export.formats.problems import Problem
from tltool.support.errors import first_line

RUN_FILE = "model.keras"
"""What a run keeps."""


def audit_saving(model: keras.Model) -> Iterator[Problem]:
    """The layers of a functional model that cannot be written or made again from what was written.

    Each layer is made again from its configuration, as loading a file does.
    """
    for layer in model.layers:
        if found := _fault(layer):
            what, hint = found
            place = Place(layer.name, type(layer).__name__)
            yield Problem(RUN_FILE, what, hint, places=(place,))


def _fault(layer: Any) -> tuple[str, str] | None:
    if isinstance(layer, keras.layers.Lambda):
        return (
            "a Lambda layer holds code, and a file with code is refused when it is loaded",
            "write a layer class, registered with keras.saving.register_keras_serializable",
        )
    try:
        config = keras.saving.serialize_keras_object(layer)
    except Exception:
        return (
            "a layer with arguments that cannot be written",
            "give its class a get_config() that returns every argument as plain values",
        )
    try:
        keras.saving.deserialize_keras_object(config)
    except Exception as error:
        if "Could not locate" in str(error):
            return (
                "a layer with a class or function that is not registered",
                "decorate it with keras.saving.register_keras_serializable",
            )
        return (
            f"a layer that cannot be made again from its get_config(): {first_line(error)}",
            "let get_config() return every argument of __init__, and no others",
        )
    return None

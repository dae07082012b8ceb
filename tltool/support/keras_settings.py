"""Keras' settings of the whole process: models are built and loaded with one set of them."""

from __future__ import annotations

import os
import sys

from tltool.support.errors import TltoolError

_BACKEND = "tensorflow"
_FLOAT = "float32"
_FORMAT = "channels_last"


def choose_backend() -> None:
    """Has Keras use TensorFlow, whatever its file and its variable say, if it is yet to load."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = _BACKEND


def pin_keras() -> None:
    """Gives Keras the settings tltool needs, for a process that is tltool's own."""
    import keras

    keras.config.set_floatx(_FLOAT)
    keras.config.set_image_data_format(_FORMAT)
    keras.config.set_dtype_policy(_FLOAT)


def check_keras() -> None:
    """Refuses settings with which models would differ, in a process that is the user's.

    The dtype policy is not among them: training sets its own (`precision_scope`), saved models
    hold theirs, and `load_backbone` under another one is somebody's choice.

    Raises:
        TltoolError: Names each, and how to change it.
    """
    import keras

    if keras.config.backend() != _BACKEND:
        raise TltoolError(
            f"Keras was loaded with the backend {keras.config.backend()!r}; tltool needs "
            f"{_BACKEND!r}.",
            hint="import tltool before keras, or set KERAS_BACKEND=tensorflow",
        )
    found = {
        f"set_floatx({_FLOAT!r})": keras.config.floatx() == _FLOAT,
        f"set_image_data_format({_FORMAT!r})": keras.config.image_data_format() == _FORMAT,
    }
    if wrong := [call for call, right in found.items() if not right]:
        raise TltoolError(
            f"Keras is set to floatx {keras.config.floatx()!r} and image data format "
            f"{keras.config.image_data_format()!r}; tltool needs {_FLOAT!r} and {_FORMAT!r}.",
            hint="; ".join(f"keras.config.{call}" for call in wrong),
        )

"""Loading `.keras` files of unknown origin: known layers alone, and damage told in a line."""

from __future__ import annotations

from pathlib import Path

import keras

from tltool.support.errors import TltoolError, first_line
from tltool.support.keras_settings import check_keras
from tltool.support.machine import known_error
from tltool.support.quiet import quiet


def load_keras_file(
    path: Path, error: type[TltoolError], *, hint: str | None = None
) -> keras.Model:
    """The model in a `.keras` file, not compiled.

    Keras makes objects of its own classes, of KerasHub's and KerasCV's, and of
    those that are registered in this process; it imports no other module, and
    no code that stands in the file (`Lambda`) is run.

    Args:
        path: The file.
        error: What to raise.
        hint: What to do about a file that cannot be loaded.

    Raises:
        TltoolError: It is damaged, holds code, or has layers that are not known; or
            Keras has other settings than tltool needs.
    """
    check_keras()
    try:
        with quiet():
            model: keras.Model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as fault:  # what a damaged file makes its readers raise is not told anywhere
        if known_error(fault) is not None:
            raise
        # What follows in Keras' own messages is how to run the code in a file.
        reason = first_line(fault).partition(". ")[0]
        raise error(f"{path} cannot be loaded: {reason}", hint=hint) from fault
    return model

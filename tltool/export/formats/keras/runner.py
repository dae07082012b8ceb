"""Runs a `.keras` file with Keras."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from tltool.export.contract import Contract
from tltool.export.feeding import prepared_inputs
from tltool.export.outputs import Outputs, Run, named_by
from tltool.support.errors import ExportError, first_line
from tltool.support.quiet import quiet


def keras_runner(path: Path, contract: Contract) -> Run:
    """Runs a `.keras` file on preprocessed inputs.

    Raises:
        ExportError: A module that registers its layers cannot be imported, or
            the file cannot be loaded.
    """
    for module in contract.modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ExportError(
                f"{path.name} has layers of the module {module}, which cannot be imported: {error}",
                hint="install it, or put its folder on PYTHONPATH",
            ) from error
    try:
        with quiet():
            model = keras.saving.load_model(path, compile=False)
    except (OSError, TypeError, ValueError) as error:
        raise ExportError(f"{path} cannot be loaded: {first_line(error)}") from error
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    named = named_by(path, contract.task)

    def run(batch: Sequence[Any]) -> Outputs:
        inputs = inputs_of(batch)
        given = inputs if isinstance(model.input, dict) else next(iter(inputs.values()))
        return named(keras.ops.convert_to_numpy(model(given, training=False)))

    return run

"""Runs a `.keras` file with Keras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from tltool.export.contract import Contract
from tltool.export.feeding import prepared_inputs
from tltool.export.outputs import Run, run_of
from tltool.graph.keras_file import load_keras_file
from tltool.support.errors import ExportError
from tltool.support.imports import import_hint, import_module


def keras_runner(path: Path, contract: Contract) -> Run:
    """Runs a `.keras` file on preprocessed inputs.

    Raises:
        ExportError: A module that registers its layers cannot be imported, or
            the file cannot be loaded.
    """
    for module in contract.modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ExportError(
                f"{path.name} has layers of the module {module}, which cannot be imported: {error}",
                hint=import_hint(error),
            ) from error
    model = load_keras_file(path, ExportError, hint="export again")
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    target = contract.task.target

    def said(batch: Sequence[Any]) -> dict[str, Any]:
        inputs = inputs_of(batch)
        given = inputs if isinstance(model.input, dict) else next(iter(inputs.values()))
        found = model(given, training=False)
        return found if isinstance(found, dict) else {target.result_name: found}

    def values(batch: Sequence[Any]) -> Any:
        return target.combined(
            {name: keras.ops.convert_to_numpy(value) for name, value in said(batch).items()}
        )

    return run_of(path, contract, values)

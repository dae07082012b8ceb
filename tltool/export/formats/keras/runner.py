"""Runs a `.keras` file with Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from tltool.export.contract import Contract
from tltool.export.feeding import prepared_inputs
from tltool.export.outputs import Call, Run, run_of
from tltool.graph.keras_file import load_keras_file
from tltool.support.errors import ExportError
from tltool.support.imports import import_hint, import_module


def keras_runner(path: Path, contract: Contract) -> Run:
    """Runs a `.keras` file; raises as `keras_call`."""
    run, target = _loaded(path, contract), contract.task.target
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    return run_of(path, contract, lambda batch: target.combined(run(inputs_of(batch))))


def keras_call(path: Path, contract: Contract) -> Call:
    """Runs a `.keras` file on the preprocessed inputs of one example.

    Raises:
        ExportError: A module that registers its layers cannot be imported, or
            the file cannot be loaded.
    """
    run, name = _loaded(path, contract), contract.task.target.result_name
    return lambda inputs: run(inputs)[name][0]


def _loaded(path: Path, contract: Contract) -> Callable[[Any], dict[str, Any]]:
    """From preprocessed inputs by name to all outputs by name."""
    for module in contract.modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ExportError(
                f"{path.name} has layers of the module {module}, which cannot be imported: {error}",
                hint=import_hint(error),
            ) from error
    model = load_keras_file(path, ExportError, hint="export again")

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        given = inputs if isinstance(model.input, dict) else next(iter(inputs.values()))
        found = model(given, training=False)
        outputs = found if isinstance(found, dict) else {contract.task.target.result_name: found}
        return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}

    return run

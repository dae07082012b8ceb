"""How the model of each format runs on raw inputs, each through its own runtime."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.export.contract import LABELS_FILE, MAIN_SIGNATURE, RAW_INPUT, Contract
from tltool.export.feeding import encoded, prepared_inputs, single_inputs
from tltool.export.formats.onnx.extras import import_onnx
from tltool.support.errors import ExportError, first_line
from tltool.support.quiet import quiet
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import numpy as np

Outputs = tuple["np.ndarray[Any, Any]", list[str]]
"""Probabilities (n, classes) and the name of each best class; or numbers (n,) and no names."""
Run = Callable[[Sequence[Any]], Outputs]
"""From a batch of raw inputs."""


def saved_model_runner(path: Path, contract: Contract) -> Run:
    """Runs a SavedModel folder, which takes raw inputs itself."""
    import tensorflow as tf

    from tltool.data.batches.pipeline import model_inputs

    with quiet():
        loaded = tf.saved_model.load(str(path))
    task, modality = contract.task, contract.task.spec.modality

    def serve(batch: Sequence[Any]) -> dict[str, Any]:
        raw = tf.constant([encoded(value, modality) for value in batch])
        try:
            # Asked of `loaded` each time: it owns the weights and must stay alive.
            return loaded.signatures[MAIN_SIGNATURE](**{RAW_INPUT[modality]: raw})
        except tf.errors.InvalidArgumentError:
            model_inputs(batch, contract.preprocessing)  # names the input that cannot be read
            raise

    def run(batch: Sequence[Any]) -> Outputs:
        outputs = serve(batch)
        if not task.labels:
            return outputs["prediction"].numpy(), []
        names = [name.decode() for name in outputs["label"].numpy()]
        return outputs["probabilities"].numpy(), names

    return run


def litert_runner(path: Path, contract: Contract) -> Run:
    """Runs a .tflite file, one input at a time."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
    infer = interpreter.get_signature_runner(MAIN_SIGNATURE)
    inputs_of = single_inputs(contract.preprocessing, contract.length, contract.takes)
    output, named = result_name(contract.task), _names_of(path, contract.task)

    def run(batch: Sequence[Any]) -> Outputs:
        return named(np.stack([infer(**inputs)[output][0] for inputs in inputs_of(batch)]))

    return run


def onnx_runner(path: Path, contract: Contract) -> Run:
    """Runs an ONNX file with onnxruntime on preprocessed inputs.

    Raises:
        ExportError: onnxruntime is not installed, or cannot load the file.
    """
    onnxruntime = import_onnx("onnxruntime")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(f"{path} cannot be loaded: {first_line(error)}") from error
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    output, named = result_name(contract.task), _names_of(path, contract.task)

    def run(batch: Sequence[Any]) -> Outputs:
        (values,) = session.run([output], inputs_of(batch))
        return named(values)

    return run


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
    import keras

    try:
        with quiet():
            model = keras.saving.load_model(path, compile=False)
    except (OSError, TypeError, ValueError) as error:
        raise ExportError(f"{path} cannot be loaded: {first_line(error)}") from error
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    named = _names_of(path, contract.task)

    def run(batch: Sequence[Any]) -> Outputs:
        inputs = inputs_of(batch)
        given = inputs if isinstance(model.input, dict) else next(iter(inputs.values()))
        return named(keras.ops.convert_to_numpy(model(given, training=False)))

    return run


def result_name(task: Task) -> str:
    """Name of a model's output that users read."""
    return "probabilities" if task.labels else "prediction"


def _names_of(path: Path, task: Task) -> Callable[[np.ndarray[Any, Any]], Outputs]:
    """A function that adds the names which the `labels.txt` beside a model has."""
    if not task.labels:
        return lambda values: (values, [])
    labels = _read_labels(path.parent / LABELS_FILE)
    return lambda values: (values, [labels[i] for i in values.argmax(-1)])


def _read_labels(path: Path) -> list[str]:
    if not path.is_file():
        raise ExportError(f"{path} is missing.", hint="keep the export folder together")
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")

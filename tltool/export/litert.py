"""LiteRT (.tflite) export: built-in operations only, a batch of one, named inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tltool.data.examples import Examples
from tltool.errors import ExportError
from tltool.export.about import About
from tltool.export.calibration import calibration_inputs
from tltool.export.saved_model import inference_outputs, input_specs, variables_of
from tltool.export.tflite.describe import describe_tflite
from tltool.export.tflite.metadata import with_metadata
from tltool.files import atomic_path
from tltool.model import to_float32
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.quiet import quiet
from tltool.schema import LiteRTPrecision
from tltool.tasks import Task

_NO_ROWS = Examples("text", [], [], [], [])


def export_litert(
    model: keras.Model,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    target: Path,
    *,
    precision: LiteRTPrecision,
    length: int | None = None,
    calibration: Examples | None = None,
    about: About | None = None,
) -> None:
    """Writes a .tflite file whose `serving_default` signature takes one preprocessed example.

    Inputs: `image` float32 (1, height, width, 3), or int32 (1, length) tensors
    named as in `TextPreprocessing.inputs`. Output: `probabilities` float32
    (1, classes), or `prediction` float32 (1,) in the target's own units.

    The file has TensorFlow Lite metadata: normalisation, labels, vocabulary.

    Every shape is fixed, since GPU and NPU delegates need that. A text then
    costs what `length` tokens cost, however short it is: MiniLM takes 3.5,
    10.6 and 22.5 ms for 16, 64 and 128 tokens on 2 CPU cores, measured; with
    a free length it takes 3.8, 11.4 and 24.1 ms.

    Args:
        model: Functional model from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        preprocessing: What the app must do before calling the model.
        target: The file; replaced if it exists.
        precision: "float32"; "float16" weights (half the size); "dynamic_int8"
            weights with float activations (a quarter of the size); "int8"
            weights and activations, which processors without floats need.
        length: Tokens a text is padded or cut to; null takes
            `preprocessing.max_length`.
        calibration: Rows on which "int8" measures the ranges of activations.
        about: Name, origin and licence for the metadata.

    Raises:
        ExportError: The model needs operations LiteRT does not have built in,
            there are no rows to measure ranges on, or a label holds a line
            break.
    """
    if isinstance(preprocessing, TextPreprocessing):
        length = length or preprocessing.max_length
    ranges = None
    if precision == "int8":
        ranges = calibration_inputs(calibration or _NO_ROWS, preprocessing, length)
    with quiet():
        try:
            content = _convert(to_float32(model), task, precision, length, ranges)
        except Exception as error:
            raise ExportError(
                f"LiteRT cannot convert this model: {str(error).splitlines()[0]}"
            ) from error
    content = with_metadata(content, describe_tflite(content, task, preprocessing, about))
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def _convert(
    model: keras.Model,
    task: Task,
    precision: LiteRTPrecision,
    length: int | None,
    ranges: Callable[[], Iterator[list[Any]]] | None,
) -> bytes:
    module = tf.Module()
    module.model_weights = variables_of(model)
    output = "probabilities" if task.labels else "prediction"
    specs = input_specs(model, batch=1, length=length)

    @tf.function(input_signature=[specs], autograph=False)
    def run(inputs: Any) -> dict[str, Any]:
        return {output: inference_outputs(model, inputs, task)}

    module.run = run
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [run.get_concrete_function()], module
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if ranges is not None:
        # Operations without an 8-bit kernel stay in float.
        converter.target_spec.supported_ops.insert(0, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        converter.representative_dataset = ranges
    return converter.convert()

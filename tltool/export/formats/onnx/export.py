"""ONNX export: one graph from preprocessed inputs to probabilities, any batch and text length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.export.about import About
from tltool.export.formats.onnx.extras import import_onnx
from tltool.export.formats.onnx.file import OPSET
from tltool.export.formats.tracing import inference_outputs, input_specs
from tltool.model.joining import to_float32
from tltool.support.errors import ExportError, first_line
from tltool.support.files import atomic_path
from tltool.support.quiet import quiet
from tltool.tasks.table import Task


def export_onnx(
    model: keras.Model, task: Task, target: Path, *, about: About | None = None
) -> None:
    """Writes an ONNX file that runs with onnxruntime and NumPy alone.

    Inputs are preprocessed: `image` float32 (n, height, width, 3), or int32
    (n, tokens) tensors named as in `TextPreprocessing.inputs`; `n` and
    `tokens` are free. Output: `probabilities` float32 (n, classes), or
    `prediction` float32 (n,) in the target's own units.

    Args:
        model: Functional model from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        target: The file; replaced if it exists.
        about: Name, description and licence for the file.

    Raises:
        ExportError: The extra `[onnx]` is not installed, or the model has
            operations that cannot be said in ONNX.
    """
    onnx, tf2onnx = import_onnx("onnx"), import_onnx("tf2onnx")
    plain = to_float32(model)
    specs = input_specs(plain, batch=None)

    @tf.function(input_signature=[specs], autograph=False)
    def run(inputs: Any) -> dict[str, Any]:
        return inference_outputs(plain, inputs, task)

    with quiet():
        try:
            converted, _ = tf2onnx.convert.from_function(
                run,
                input_signature=[specs],
                opset=OPSET,
                custom_op_handlers={"Erfc": (_one_less_erf, [])},
            )
        except Exception as error:
            raise ExportError(f"ONNX cannot say this model: {first_line(error)}") from error
    _name_free_sizes(converted)
    if about is not None:
        onnx.helper.set_model_props(
            converted, {"name": about.name, "description": about.description}
        )
    _check(onnx, converted)
    with atomic_path(target) as temporary:
        temporary.write_bytes(converted.SerializeToString())


def _one_less_erf(context: Any, node: Any, name: str, args: Any) -> None:
    """Writes Erfc, which ONNX does not have, as `1 - Erf`; exact GELU is made of it."""
    (output,) = node.output
    kind = {"dtypes": [context.get_dtype(output)], "shapes": [context.get_shape(output)]}
    erf = context.make_node("Erf", node.input, **kind)
    one = context.make_const(f"{name}/one", np.ones((), np.float32))
    context.remove_node(node.name)
    context.make_node("Sub", [one.output[0], erf.output[0]], outputs=[output], name=name, **kind)


def _name_free_sizes(model: Any) -> None:
    """`batch` and `tokens` in place of the converter's numbered names, which differ by tensor."""
    for tensor in (*model.graph.input, *model.graph.output):
        for place, size in enumerate(tensor.type.tensor_type.shape.dim):
            if not size.HasField("dim_value"):
                size.dim_param = ("batch", "tokens")[min(place, 1)]


def _check(onnx: Any, model: Any) -> None:
    """Raises ExportError where the converter left what is no ONNX, as it does silently."""
    unknown = {
        node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)
    }
    if unknown:
        raise ExportError(
            f"The model has operations that cannot be said in ONNX: {', '.join(sorted(unknown))}.",
            hint="export saved_model, or build the head of other layers",
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"The converted ONNX model is not valid: {first_line(error)}") from error

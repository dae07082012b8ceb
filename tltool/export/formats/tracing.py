"""A trained model as a TensorFlow function: its inputs and outputs, with its weights or without."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tltool.export.contract import IMAGE_INPUT
from tltool.model.unknown import apart
from tltool.tasks.table import Task

PYTHON_CALLS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
"""What `tf.py_function` and `tf.numpy_function` make: a number in a table of this process."""


def inference_outputs(model: keras.Model, inputs: Any, task: Task) -> dict[str, Any]:
    """The outputs of an exported model in inference mode, by name; see `Target.results`."""
    return dict(task.target.results(apart(model)(inputs, training=False)))


def variables_of(model: keras.Model) -> list[Any]:
    """The backend variables of a model, for a `tf.Module` to track.

    Tracked through the Keras model itself they are written twice by the
    SavedModel writer and left out by the LiteRT converter.
    """
    return [variable.value for variable in model.variables]


def input_specs(model: keras.Model, *, batch: int | None, length: int | None = None) -> Any:
    """Specs of a model's inputs: a dict of them as the model names them, or one called `image`.

    Args:
        model: Functional; its input is one tensor or a dict of tensors.
        batch: Fixed number of examples, or None for any.
        length: Fixed number of tokens where the model leaves it open, or None.
    """

    # Of a pair whose texts are apart, each has a row.
    joins = any(getattr(layer, "joins_rows", False) for layer in model.layers)
    rows = 2 * batch if batch is not None and joins else batch

    def spec(tensor: Any, name: str) -> tf.TensorSpec:
        shape = [length if size is None else size for size in tensor.shape[1:]]
        return tf.TensorSpec([rows, *shape], tensor.dtype, name=name)

    if isinstance(model.input, dict):
        return {name: spec(tensor, name) for name, tensor in model.input.items()}
    return spec(model.input, IMAGE_INPUT)


def trace_untrained(model: keras.Model, task: Task, specs: Any) -> Any:
    """The concrete function of what is exported, with one number in place of each weight.

    Constants of one number are stored as that number, so that nothing has to be
    read, copied or folded; a converter does with them what it does with
    weights: which operators come out, and how many, was the same for every
    network that `benchmarks/audit.py` compares.

    Args:
        model: Functional, built, in float32.
        task: Labels or target scale.
        specs: Of the inputs, as `input_specs` gives them.
    """
    values = [_stand_in(number, variable) for number, variable in enumerate(model.variables)]

    @tf.function(input_signature=[specs], autograph=False)
    def run(inputs: Any) -> dict[str, Any]:
        constants = [
            (variable, tf.constant(value, variable.dtype, variable.shape))
            for variable, value in zip(model.variables, values, strict=True)
        ]
        with keras.StatelessScope(state_mapping=constants):
            return inference_outputs(model, inputs, task)

    return run.get_concrete_function()


def _stand_in(number: int, variable: keras.Variable) -> Any:
    """What a variable is in the graph: one number, or itself where it holds indices or seeds."""
    if not keras.backend.is_float_dtype(variable.dtype):
        return keras.ops.convert_to_numpy(variable)
    # Two weights of one value would be taken for one and the same.
    return 0.4 + 1e-4 * number

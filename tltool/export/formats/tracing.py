"""A model's graph without its weights, which is traced and converted in a fraction of the time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tltool.export.formats.saved_model.export import inference_outputs
from tltool.tasks.table import Task


def trace_untrained(model: keras.Model, task: Task, specs: Any) -> Any:
    """The concrete function of what is exported, with one number in place of each weight.

    Constants of one number are stored as that number, so that nothing has to be
    read, copied or folded; a converter does with them what it does with
    weights: which operators come out, and how many, was the same for every
    network that `benchmarks/audit.py` compares.

    Args:
        model: Functional, built, in float32.
        task: Labels or target scale.
        specs: Of the inputs, as `tltool.export.formats.saved_model.export.input_specs` gives them.
    """
    output = "probabilities" if task.labels else "prediction"
    values = [_stand_in(number, variable) for number, variable in enumerate(model.variables)]

    @tf.function(input_signature=[specs], autograph=False)
    def run(inputs: Any) -> dict[str, Any]:
        constants = [
            (variable, tf.constant(value, variable.dtype, variable.shape))
            for variable, value in zip(model.variables, values, strict=True)
        ]
        with keras.StatelessScope(state_mapping=constants):
            return {output: inference_outputs(model, inputs, task)}

    return run.get_concrete_function()


def _stand_in(number: int, variable: keras.Variable) -> Any:
    """What a variable is in the graph: one number, or itself where it holds indices or seeds."""
    if not keras.backend.is_float_dtype(variable.dtype):
        return keras.ops.convert_to_numpy(variable)
    # Two weights of one value would be taken for one and the same.
    return 0.4 + 1e-4 * number

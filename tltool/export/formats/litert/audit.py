"""Operators that LiteRT lacks, told by its own converter on the untrained model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.export.formats.litert.file import read_tflite
from tltool.export.formats.litert.quantisation.graph import kinds_in_float
from tltool.export.formats.places import Place, place_of
from tltool.export.formats.problems import Audit, Problem
from tltool.export.formats.tracing import PYTHON_CALLS, input_specs, trace_untrained
from tltool.tasks.table import Task

FORM = "litert"
# What the exported file may use. To allow more, such as TensorFlow's own
# operators (`SELECT_TF_OPS`), is to allow it here as in `export_litert`.
SUPPORTED_OPS = (tf.lite.OpsSet.TFLITE_BUILTINS,)


def audit_litert(model: keras.Model, task: Task, length: int | None, *, int8: bool) -> Audit:
    """Converts a float32 model without its weights, for a batch of one.

    Args:
        model: Functional model from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        length: Tokens of a text.
        int8: Also quantise it, to see which operators have no 8-bit kernel.

    Returns:
        The operators of the converted model, or those that LiteRT lacks and
        the layers that need them.
    """
    specs = input_specs(model, batch=1, length=length)
    traced = trace_untrained(model, task, specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    converter.target_spec.supported_ops = list(SUPPORTED_OPS)
    try:
        content = converter.convert()
    except Exception as error:
        problems = _lacking(error, model)
        if not problems:
            raise
        return Audit((FORM,), problems)
    in_float = {}
    if int8:
        converter.target_spec.supported_ops.insert(0, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = _one_input(specs)
        in_float = kinds_in_float(converter.convert())
    return Audit((FORM,), (), read_tflite(content).operators, in_float)


def _one_input(specs: Any) -> Callable[[], Iterator[list[Any]]]:
    """Something to measure ranges on; which operators have a kernel does not depend on them."""
    rng = np.random.default_rng(0)
    made = [rng.uniform(0, 1, spec.shape) for spec in tf.nest.flatten(specs)]
    dtypes = [spec.dtype for spec in tf.nest.flatten(specs)]
    return lambda: iter([[tf.cast(x, dtype) for x, dtype in zip(made, dtypes, strict=True)]])


def _lacking(error: Exception, model: keras.Model) -> tuple[Problem, ...]:
    """The operators that a converter's error names, each with its layers."""
    places: dict[str, set[Place | None]] = defaultdict(set)
    for fault in getattr(error, "errors", ()):
        if fault.operator.name:
            calls = [call.name for call in fault.location.call if call.name]
            places[fault.operator.name.removeprefix("tf.")].add(place_of(calls, model))
    return tuple(
        Problem(
            FORM,
            f"LiteRT has no operator {operator}",
            _hint(operator),
            operator,
            tuple(sorted(place for place in places[operator] if place)),
        )
        for operator in sorted(places)
    )


def _hint(operator: str) -> str:
    if operator in PYTHON_CALLS:
        return "a phone runs no Python: write the layer with keras.ops"
    return "write the layer with other operations, or leave litert out of export.formats"

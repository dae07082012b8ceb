"""Operators that LiteRT lacks, told by its own converter on the untrained model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.export.formats.kept_float import kinds_text
from tltool.export.formats.litert.file import read_tflite
from tltool.export.formats.litert.quantisation.graph import kinds_in_float
from tltool.export.formats.litert.quantisation.trial import Float, quantise
from tltool.export.formats.litert.runtime import NEWER_HINT, newer_needed, without_8_bits
from tltool.export.formats.places import Place, place_of
from tltool.export.formats.problems import Audit, Problem
from tltool.export.formats.tracing import PYTHON_CALLS, input_specs, trace_untrained
from tltool.recipe.export_section import ExportSection
from tltool.tasks.table import Task

FORM = "litert"
# What the exported file may use. To allow more, such as TensorFlow's own
# operators (`SELECT_TF_OPS`), is to allow it here as in `export_litert`.
SUPPORTED_OPS = (tf.lite.OpsSet.TFLITE_BUILTINS,)


def audit_litert(
    model: keras.Model, task: Task, length: int | None, section: ExportSection
) -> Audit:
    """Converts a float32 model without its weights, for a batch of one.

    Args:
        model: Functional model from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        length: Tokens of a text.
        section: With the precision "int8" it is quantised too, to see which operators have
            no 8-bit kernel.

    Returns:
        The operators of the converted model, or those that LiteRT lacks and
        the layers that need them, or what it needs that the recipe's runtime has not.
    """
    specs = input_specs(model, batch=1, length=length)
    traced = trace_untrained(model, task, specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    converter.target_spec.supported_ops = list(SUPPORTED_OPS)
    try:
        content = converter.convert()
    except Exception as error:
        lacking = _lacking(error, model)
        if not lacking:
            raise
        return Audit((FORM,), lacking)
    found, in_float = [newer_needed(content, section.litert_runtime)], {}
    if "int8" in section.precisions:
        no_kernel = without_8_bits(section.litert_runtime)
        quantised = quantise(_calibrated(converter, specs), Float(no_kernel))
        found.append(newer_needed(quantised, section.litert_runtime))
        in_float = kinds_in_float(quantised)
    problems = [Problem(FORM, needed, NEWER_HINT) for needed in dict.fromkeys(found) if needed]
    if in_float and section.int8.keep_float == "none":
        what = f"export.int8.keep_float is none, and no 8-bit kernel has {kinds_text(in_float)}"
        problems.append(Problem(FORM, what, "set it to auto, or leave int8 out"))
    return Audit((FORM,), tuple(problems), read_tflite(content).operators, in_float)


def _calibrated(converter: Any, specs: Any) -> bytes:
    converter.target_spec.supported_ops.insert(0, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _one_input(specs)
    converter._experimental_calibrate_only = True
    content: bytes = converter.convert()
    return content


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

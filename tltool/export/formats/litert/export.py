"""LiteRT (.tflite) export: built-in operations, a batch of one, named inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tltool.data.examples import Examples
from tltool.data.images.preprocessor import normalize
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.about import About
from tltool.export.contract import IMAGE_INPUT
from tltool.export.formats.base import LITERT_RUNTIME, LiteRTOptions
from tltool.export.formats.kept_float import KeptFloat
from tltool.export.formats.litert.calibration import calibration_inputs, without_probe
from tltool.export.formats.litert.conversion import Conversions
from tltool.export.formats.litert.dense import with_scales_outside
from tltool.export.formats.litert.describe import describe_tflite
from tltool.export.formats.litert.file import read_tflite
from tltool.export.formats.litert.image_graph import resize_in_graph
from tltool.export.formats.litert.metadata import with_metadata
from tltool.export.formats.litert.output_order import result_first
from tltool.export.formats.litert.quantisation.selection import quantise_selectively
from tltool.export.formats.litert.runtime import (
    NEWER_HINT,
    newer_needed,
    without_8_bits,
)
from tltool.export.formats.tracing import inference_outputs, input_specs, variables_of
from tltool.model.joining import to_float32
from tltool.recipe.export_section import Int8Section, LiteRTPrecision
from tltool.support.errors import ExportError, first_line
from tltool.support.files import atomic_path
from tltool.support.quiet import quiet
from tltool.tasks.table import Task

_NO_ROWS = Examples("text", [], [], [], [])
_BUILT_IN = tf.lite.OpsSet.TFLITE_BUILTINS
_DEFAULT = LiteRTOptions()


def export_litert(
    model: keras.Model,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    target: Path,
    *,
    precision: LiteRTPrecision,
    length: int | None = None,
    calibration: Examples | None = None,
    int8: Int8Section | None = None,
    runtime: str = LITERT_RUNTIME,
    about: About | None = None,
    options: LiteRTOptions = _DEFAULT,
    once: dict[Any, Any] | None = None,
) -> KeptFloat | None:
    """Writes a .tflite file whose `serving_default` signature takes one example.

    Inputs: `image`, preprocessed, float32 (1, height, width, 3), or uint8 as
    `options.input` says; or int32 (1, length) tensors named as in
    `TextPreprocessing.inputs`. Output: `probabilities` float32 (1, classes),
    or `prediction` float32 (1,) in the target's own units.

    The file has TensorFlow Lite metadata: normalisation, labels, vocabulary.

    Every shape is fixed unless `options` say otherwise, since GPU and NPU
    delegates need that. A text then costs what `length` tokens cost, however
    short it is: MiniLM takes 3.5, 10.6 and 22.5 ms for 16, 64 and 128 tokens
    on 2 CPU cores, measured; with a free length it takes 3.8, 11.4 and 24.1 ms.

    Args:
        model: Functional model from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        preprocessing: From raw input to the model's input.
        target: The file; replaced if it exists.
        precision: "float32"; "float16" weights (half the size); "dynamic_int8"
            weights with float activations (a quarter of the size); "int8"
            weights and activations, which processors without floats need.
        length: Tokens a text is padded or cut to; null takes
            `preprocessing.max_length`.
        calibration: Rows on which "int8" measures the ranges of activations.
        int8: What "int8" keeps in float; null finds it out on the rows.
        runtime: The oldest TensorFlow Lite that must run the file.
        about: Name, origin and licence for the metadata.
        options: What goes in.
        once: What earlier calls for the same model made that others can use, and this one adds to.

    Returns:
        What an "int8" file keeps in float; None for other precisions.

    Raises:
        ExportError: The model needs operations LiteRT does not have built in,
            there are no rows to measure ranges on, "int8" must not keep in
            float what it has to, or a label holds a line break.
    """
    if isinstance(preprocessing, TextPreprocessing):
        length = length or preprocessing.max_length
    takes = options.image
    ranges = probed = kept = None
    if precision == "int8":
        rows, probe = without_probe(calibration or _NO_ROWS)
        ranges, probed = (
            calibration_inputs(part, preprocessing, length, takes=takes) for part in (rows, probe)
        )
    levels = options.input == "uint8" and precision == "int8"
    # What is kept holds the target, so that no other one gets its number.
    once, key = {} if once is None else once, ("litert", id(task.target), length, options, levels)
    if key not in once:
        once[key] = _traced(to_float32(model), task, preprocessing, length, options, levels)
    conversions: Conversions = once[key]

    def converter(*, one_scale: bool = False) -> Any:
        made = conversions.converter()
        _set_precision(made, precision, ranges)
        made._experimental_disable_per_channel_quantization_for_dense_layers = one_scale
        return made

    with quiet():
        content = _converted(converter)
        if precision == "dynamic_int8" and newer_needed(content, runtime):
            content = with_scales_outside(converter(one_scale=True).convert(), content)
        if probed is not None:
            pixels = tf.uint8 if options.input == "uint8" else tf.float32
            content, kept = quantise_selectively(
                content,
                list(probed()),
                task.target,
                int8 or Int8Section(),
                input_type=pixels,
                no_kernel=without_8_bits(runtime),
            )
    if needed := newer_needed(content, runtime):
        raise ExportError(f"The model cannot be made for that runtime: {needed}.", hint=NEWER_HINT)
    content = result_first(content, task.target.result_name)
    metadata = describe_tflite(content, task, preprocessing, about, takes=takes)
    content = with_metadata(content, metadata)
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    return kept


def _traced(
    model: keras.Model,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    length: int | None,
    options: LiteRTOptions,
    levels: bool,
) -> Conversions:
    """What converts the model; `levels` as `_image_input` has it."""
    module = tf.Module()
    module.model_weights = variables_of(model)
    if isinstance(preprocessing, TextPreprocessing):
        specs = input_specs(model, batch=1, length=None if options.length == "free" else length)
        prepare: Callable[[Any], Any] = _as_it_is
    else:
        specs, prepare = _image_input(model, preprocessing, options, levels)

    @tf.function(input_signature=[specs], autograph=False)
    def run(inputs: Any) -> dict[str, Any]:
        return inference_outputs(model, prepare(inputs), task)

    module.run = run
    return Conversions(run.get_concrete_function(), module)


def _image_input(
    model: keras.Model,
    contract: ImagePreprocessing,
    options: LiteRTOptions,
    levels: bool,
) -> tuple[Any, Callable[[Any], Any]]:
    """What goes in, and what the graph makes of it before the model.

    Args:
        levels: Whether uint8 levels go in as float32 numbers: full 8-bit conversion makes uint8
            of them, and then no operation is left that needs floats.
    """

    def normalized(levels: Any) -> Any:
        return tf.nest.pack_sequence_as(model.input, [normalize(levels, contract)])

    match options.input:
        case "uint8":
            dtype = tf.float32 if levels else tf.uint8
            return tf.TensorSpec((1, *contract.size_px, 3), dtype, IMAGE_INPUT), normalized
        case "uint8_any_size":
            spec = tf.TensorSpec((1, None, None, 3), tf.uint8, IMAGE_INPUT)
            return spec, lambda image: normalized(resize_in_graph(image[0], contract)[None])
    return input_specs(model, batch=1), _as_it_is


def _as_it_is(inputs: Any) -> Any:
    return inputs


def _set_precision(
    converter: Any,
    precision: LiteRTPrecision,
    ranges: Callable[[], Iterator[Any]] | None,
) -> None:
    converter.target_spec.supported_ops = [_BUILT_IN]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if ranges is not None:
        # Operations without an 8-bit kernel stay in float.
        converter.target_spec.supported_ops.insert(0, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        converter.representative_dataset = ranges
        # What stays in float is chosen afterwards, on one and the same measurement.
        converter._experimental_calibrate_only = True


def _converted(converter: Callable[[], Any]) -> bytes:
    """The .tflite file.

    Args:
        converter: Makes one, ready to convert; none can be used twice.

    Raises:
        ExportError: The model cannot be converted; names the operations that
            LiteRT does not have built in.
    """
    try:
        return converter().convert()
    except Exception as error:
        missing = _not_built_in(converter())
        if not missing:
            raise ExportError(f"LiteRT cannot convert this model: {first_line(error)}") from error
        raise ExportError(
            f"LiteRT does not have these operations of the model built in: {', '.join(missing)}.",
            hint="build the head of other layers, or export saved_model, onnx or keras",
        ) from error


def _not_built_in(converter: Any) -> list[str]:
    """The operations that a model has of TensorFlow; none where it does not convert with them.

    A file with them is read and not kept: since TensorFlow 2.20 no interpreter in Python runs
    one, so it could not be checked (https://github.com/google-ai-edge/LiteRT/issues/6458).
    """
    converter.target_spec.supported_ops.append(tf.lite.OpsSet.SELECT_TF_OPS)
    try:
        content = converter.convert()
    except Exception:
        return []
    return [name.removeprefix("Flex") for name in read_tflite(content).not_built_in]

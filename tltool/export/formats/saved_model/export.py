"""SavedModel export: raw texts or image bytes in, probabilities and labels out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tltool.data.batches.pipeline import make_preprocessor
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.data.texts.windows import word_tensors
from tltool.export.contract import MAIN_SIGNATURE, RAW_INPUTS, RAW_SIGNATURE
from tltool.export.formats.tracing import input_specs, variables_of
from tltool.model.joining import to_float32
from tltool.model.unknown import apart
from tltool.support.files import atomic_path
from tltool.support.quiet import quiet
from tltool.tasks.table import Task


def export_saved_model(
    model: keras.Model,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    target: Path,
) -> None:
    """Writes a SavedModel folder that loads and runs with TensorFlow alone.

    Signatures, all with a free batch size:

    - `serving_default`: `texts`, both of `text_a` and `text_b`, or `images`
      (encoded bytes), string (n,), to `probabilities` float32 (n, classes),
      `label` string (n,) and `score` float32 (n,), or for regression to
      `prediction` float32 (n,) in the target's own units.
    - `model`: the preprocessed inputs (`image`, or the names in
      `TextPreprocessing.inputs`) to the raw output, `logits` (n, classes) or `standardised` (n, 1).

    `tf.saved_model.load(target).labels()` gives the class names, string (classes,).
    Everything is traced in inference mode and computes in float32.

    Args:
        model: Functional model from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        preprocessing: Becomes part of the graph.
        target: The folder; replaced whole if it exists.
    """
    with quiet(), atomic_path(target) as temporary:
        module, signatures = _servable(to_float32(model), task, preprocessing)
        tf.saved_model.save(module, str(temporary), signatures=signatures)


def _servable(
    model: keras.Model, task: Task, preprocessing: ImagePreprocessing | TextPreprocessing
) -> tuple[tf.Module, dict[str, Any]]:
    """A module that owns weights, preprocessing and labels, and its signatures."""
    module = tf.Module()
    module.model_weights = variables_of(model)
    module.preprocessor = preprocessor = make_preprocessor(preprocessing)
    whole = apart(model)
    raw = [tf.TensorSpec((None,), tf.string, name=n) for n in RAW_INPUTS[task.spec.modality]]

    @tf.function(input_signature=raw, autograph=False)
    def serve(first: Any, *second: Any) -> dict[str, Any]:
        given = tf.stack([first, *second], axis=1) if second else first

        def raw_of(inputs: Any) -> Any:
            return whole(inputs, training=False)

        if task.target.by_words:
            return task.target.served(word_tensors(given, preprocessor, raw_of))
        return task.target.served(raw_of(preprocessor(given)))

    @tf.function(input_signature=[input_specs(model, batch=None)], autograph=False)
    def run_model(inputs: Any) -> dict[str, Any]:
        raw = task.target.raw_part(whole(inputs, training=False))
        return {task.target.raw_name: tf.cast(raw, tf.float32)}

    module.serve, module.run_model = serve, run_model
    if task.labels:
        module.labels = tf.function(lambda: tf.constant(task.labels), input_signature=[])
    return module, {MAIN_SIGNATURE: serve, RAW_SIGNATURE: run_model}

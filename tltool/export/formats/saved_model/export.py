"""SavedModel export: raw texts or image bytes in, probabilities and labels out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tltool.data.batches.pipeline import make_preprocessor
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.contract import IMAGE_INPUT, MAIN_SIGNATURE, RAW_INPUT
from tltool.model.joining import to_float32
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

    - `serving_default`: `texts` or `images` (encoded bytes), string (n,), to
      `probabilities` float32 (n, classes), `label` string (n,) and `score`
      float32 (n,), or for regression to `prediction` float32 (n,) in the
      target's own units.
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


def inference_outputs(model: keras.Model, inputs: Any, task: Task) -> Any:
    """What a user reads, in inference mode: probabilities (n, classes) or numbers (n,)."""
    outputs = task.outputs(model(inputs, training=False))
    return outputs if task.spec.kind == "classification" else outputs[:, 0]


def variables_of(model: keras.Model) -> list[Any]:
    """The backend variables of a model, for a `tf.Module` to track.

    Tracked through the Keras model itself they are written twice by the
    SavedModel writer and left out by the LiteRT converter.
    """
    return [variable.value for variable in model.variables]


def _servable(
    model: keras.Model, task: Task, preprocessing: ImagePreprocessing | TextPreprocessing
) -> tuple[tf.Module, dict[str, Any]]:
    """A module that owns weights, preprocessing and labels, and its signatures."""
    module = tf.Module()
    module.model_weights = variables_of(model)
    module.preprocessor = preprocessor = make_preprocessor(preprocessing)
    raw = tf.TensorSpec((None,), tf.string, name=RAW_INPUT[task.spec.modality])

    @tf.function(input_signature=[raw], autograph=False)
    def serve(raw_inputs: Any) -> dict[str, Any]:
        outputs = inference_outputs(model, preprocessor(raw_inputs), task)
        return _named_outputs(outputs, task)

    @tf.function(input_signature=[input_specs(model, batch=None)], autograph=False)
    def run_model(inputs: Any) -> dict[str, Any]:
        name = "logits" if task.labels else "standardised"
        return {name: tf.cast(model(inputs, training=False), tf.float32)}

    module.serve, module.run_model = serve, run_model
    if task.labels:
        module.labels = tf.function(lambda: tf.constant(task.labels), input_signature=[])
    return module, {MAIN_SIGNATURE: serve, "model": run_model}


def _named_outputs(outputs: Any, task: Task) -> dict[str, Any]:
    if not task.labels:
        return {"prediction": outputs}
    best = tf.argmax(outputs, axis=-1)
    return {
        "probabilities": outputs,
        "label": tf.gather(tf.constant(task.labels), best),
        "score": tf.reduce_max(outputs, axis=-1),
    }


def input_specs(model: keras.Model, *, batch: int | None, length: int | None = None) -> Any:
    """Specs of a model's inputs: a dict of them as the model names them, or one called `image`.

    Args:
        model: Functional; its input is one tensor or a dict of tensors.
        batch: Fixed batch size, or None for any.
        length: Fixed number of tokens where the model leaves it open, or None.
    """

    def spec(tensor: Any, name: str) -> tf.TensorSpec:
        shape = [length if size is None else size for size in tensor.shape[1:]]
        return tf.TensorSpec([batch, *shape], tensor.dtype, name=name)

    if isinstance(model.input, dict):
        return {name: spec(tensor, name) for name, tensor in model.input.items()}
    return spec(model.input, IMAGE_INPUT)

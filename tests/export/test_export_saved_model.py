"""A SavedModel says what the trained model says, with TensorFlow alone."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny
import trained

from tltool.evaluation.inference import model_outputs
from tltool.export.formats.saved_model.export import export_saved_model
from tltool.model.joining import to_float32
from tltool.tasks.classes import ClassTarget

ALONE = """
import sys
for name in ("keras", "keras_hub", "tltool", "tensorflow_text"):
    sys.modules[name] = None
import json, pathlib
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
rows = json.loads(sys.argv[3])
raw = rows if sys.argv[2] == "texts" else [pathlib.Path(row).read_bytes() for row in rows]
outputs = model.signatures["serving_default"](**{sys.argv[2]: tf.constant(raw)})
print(json.dumps({
    "outputs": {k: v.numpy().tolist() for k, v in outputs.items() if v.dtype != tf.string},
    "label": [name.decode() for name in outputs["label"].numpy()],
    "labels": [name.decode() for name in model.labels().numpy()],
}))
"""


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


def run_alone(folder, argument, inputs):
    """The outputs in a process where Keras, KerasHub and tltool cannot be imported."""
    command = [sys.executable, "-c", ALONE, str(folder), argument, json.dumps(inputs)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("modality", ["text", "image"])
def test_serves_raw_inputs_with_tensorflow_alone(modality, image_classifier, tmp_path):
    made = trained.text_classifier() if modality == "text" else image_classifier
    export_saved_model(*made.parts(), tmp_path / "model")
    found = run_alone(tmp_path / "model", f"{modality}s", made.held_out.inputs)
    expected = model_outputs(made.model, made.held_out, made.task, made.preprocessing)
    np.testing.assert_allclose(found["outputs"]["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(found["outputs"]["score"], expected.max(1), atol=1e-6)
    assert tuple(found["labels"]) == made.task.labels
    assert found["label"] == [made.task.labels[i] for i in expected.argmax(1)]
    assert len(set(found["label"])) == 2


def test_regression_is_in_the_targets_units(tmp_path):
    import tensorflow as tf

    made = trained.text_regressor()
    export_saved_model(*made.parts(), tmp_path / "model")
    serve = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    found = serve(texts=tf.constant(made.held_out.inputs))["prediction"]
    assert found.shape == (len(made.held_out),)
    assert min(found) < 240
    assert max(found) > 260
    expected = model_outputs(made.model, made.held_out, made.task, made.preprocessing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_model_signature_takes_preprocessed_inputs(image_classifier, tmp_path):
    import tensorflow as tf

    made = image_classifier
    export_saved_model(*made.parts(), tmp_path / "model")
    run = tf.saved_model.load(str(tmp_path / "model")).signatures["model"]
    image = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    found = run(image=tf.constant(image))["logits"]
    np.testing.assert_allclose(found, made.model(image, training=False), atol=1e-5)


def test_random_layers_are_off_and_statistics_untouched(tmp_path):
    """Keras' own export traces Random* layers in training mode."""
    import keras
    import tensorflow as tf

    backbone = tiny.tiny_image_backbone()
    image = keras.Input((32, 32, 3), name="image")
    noisy = keras.layers.Dropout(0.9)(keras.layers.RandomBrightness(0.9, (-1, 1))(image))
    model = keras.Model(image, keras.layers.Dense(2)(backbone.model(noisy)))
    made = trained.TinyTrained(model, trained.text_classifier().task, backbone.preprocessing, None)
    before = [np.array(weight) for weight in model.get_weights()]
    task = trained.Task(trained.TASKS["image-classification"], ClassTarget(("a", "b")))
    export_saved_model(made.model, task, made.preprocessing, tmp_path / "model")
    run = tf.saved_model.load(str(tmp_path / "model")).signatures["model"]
    pixels = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    found = run(image=tf.constant(pixels))["logits"]
    np.testing.assert_allclose(found, model(pixels, training=False), atol=1e-5)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_weights_are_stored_once(tmp_path):
    made = trained.text_classifier()
    export_saved_model(*made.parts(), tmp_path / "model")
    stored = sum(f.stat().st_size for f in (tmp_path / "model" / "variables").iterdir())
    assert stored < 1.2 * 4 * made.model.count_params()


def test_nothing_is_printed_and_a_folder_is_replaced_whole(tmp_path, capfd):
    made = trained.text_classifier()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    export_saved_model(*made.parts(), tmp_path / "model")
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "model" / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_float32_model_keeps_its_weights_uncopied():
    model = trained.text_classifier().model
    kept = {id(variable) for variable in to_float32(model).variables}
    assert kept == {id(variable) for variable in model.variables}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_mixed_precision_model_is_rebuilt_in_float32(modality, policy):
    import keras

    make = tiny.tiny_text_backbone if modality == "text" else tiny.tiny_image_backbone
    keras.config.set_dtype_policy(policy)
    try:
        backbone = make()
        outputs = keras.layers.Dense(2)(backbone.features.pooled)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed = keras.Model(backbone.model.input, outputs)
    plain = keras.Model((same := make()).model.input, keras.layers.Dense(2)(same.features.pooled))
    plain.set_weights(mixed.get_weights())
    inputs = example_inputs(modality)
    rebuilt = to_float32(mixed)(inputs, training=False)
    assert rebuilt.dtype == "float32"
    np.testing.assert_allclose(rebuilt, plain(inputs, training=False), atol=1e-6)


def example_inputs(modality):
    rng = np.random.default_rng(0)
    if modality == "image":
        return rng.normal(size=(2, 32, 32, 3)).astype("float32")
    ids = rng.integers(5, 20, (2, 8)).astype("int32")
    return {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": 0 * ids}

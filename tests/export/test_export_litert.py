"""LiteRT files: named inputs and outputs, built-in operations, the precisions."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import trained

from tltool.export.formats.litert.export import export_litert
from tltool.support.errors import ExportError
from tltool.tasks.classes import ClassTarget


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


def interpreter(file):
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(str(file))
    made.allocate_tensors()
    return made


def test_text_model_has_named_static_inputs_and_gives_probabilities(tmp_path):
    made = trained.text_classifier()
    export_litert(*made.parts(), tmp_path / "m.tflite", precision="float32", length=12)
    run = interpreter(tmp_path / "m.tflite").get_signature_runner("serving_default")
    details = run.get_input_details()
    assert set(details) == {"token_ids", "padding_mask", "segment_ids"}
    assert {tuple(d["shape"]) for d in details.values()} == {(1, 12)}
    assert {d["dtype"] for d in details.values()} == {np.int32}
    ids = np.array([[2, 5, 10, 3] + [0] * 8], "int32")
    inputs = {"token_ids": ids, "padding_mask": (ids > 0).astype("int32"), "segment_ids": 0 * ids}
    found = run(**inputs)["probabilities"]
    expected = made.task.outputs(made.model(inputs, training=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_length_is_the_contracts_by_default(tmp_path):
    made = trained.text_classifier()
    export_litert(*made.parts(), tmp_path / "m.tflite", precision="float32")
    details = interpreter(tmp_path / "m.tflite").get_input_details()
    assert {tuple(d["shape"]) for d in details} == {(1, tiny.TINY_TEXT.max_length)}


def test_image_model(image_classifier, tmp_path):
    export_litert(*image_classifier.parts(), tmp_path / "m.tflite", precision="float32")
    run = interpreter(tmp_path / "m.tflite").get_signature_runner("serving_default")
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    raw = image_classifier.model(image, training=False)
    found = run(image=image)["probabilities"]
    np.testing.assert_allclose(found, image_classifier.task.outputs(raw), atol=1e-5)


def test_regression_output_is_in_the_targets_units(tmp_path):
    made = trained.text_regressor()
    export_litert(*made.parts(), tmp_path / "m.tflite", precision="float32", length=8)
    run = interpreter(tmp_path / "m.tflite").get_signature_runner("serving_default")
    ids = np.array([[2, 5, 3, 0, 0, 0, 0, 0]], "int32")  # "good"
    inputs = {"token_ids": ids, "padding_mask": (ids > 0).astype("int32"), "segment_ids": 0 * ids}
    found = run(**inputs)["prediction"]
    raw = np.asarray(made.model(inputs, training=False))
    np.testing.assert_allclose(found, 250 + 50 * raw[:, 0], rtol=1e-5)


def test_lower_precisions_are_smaller(image_classifier, tmp_path):
    made = trained.text_classifier()
    sizes = {}
    for precision in ("float32", "float16", "dynamic_int8"):
        file = tmp_path / f"{precision}.tflite"
        export_litert(*made.parts(), file, precision=precision)
        sizes[precision] = file.stat().st_size
        names = {op["op_name"] for op in interpreter(file)._get_ops_details()}
        assert not any(name.startswith("Flex") or name == "CUSTOM" for name in names)
    assert sizes["dynamic_int8"] < 0.5 * sizes["float32"]
    assert sizes["float16"] < 0.7 * sizes["float32"]


def test_a_mixed_precision_model_converts(tmp_path):
    """Without the rebuild in float32 the converter stops at tf.Mul."""
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = tiny.tiny_image_backbone()
        outputs = keras.layers.Dense(2)(backbone.features.pooled)
    finally:
        keras.config.set_dtype_policy("float32")
    model = keras.Model(backbone.model.input, outputs)
    task = trained.Task(trained.TASKS["image-classification"], ClassTarget(("a", "b")))
    export_litert(model, task, tiny.TINY_IMAGE, tmp_path / "m.tflite", precision="float32")
    run = interpreter(tmp_path / "m.tflite").get_signature_runner("serving_default")
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    expected = task.outputs(model(image, training=False))
    np.testing.assert_allclose(run(image=image)["probabilities"], expected, atol=0.02)


def test_an_operation_litert_lacks_is_an_error_that_leaves_no_file(tmp_path, capfd):
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable(package="test_litert")
    class Cholesky(keras.layers.Layer):
        def call(self, x):
            return tf.linalg.cholesky(tf.eye(2) * tf.reduce_sum(x))[:1] + x[:, :2]

    image = keras.Input((4, 4, 3), name="image")
    model = keras.Model(image, Cholesky()(keras.layers.Flatten()(image)))
    task = trained.Task(trained.TASKS["image-classification"], ClassTarget(("a", "b")))
    with pytest.raises(ExportError, match=r"built in: Cholesky\."):
        export_litert(model, task, tiny.TINY_IMAGE, tmp_path / "m.tflite", precision="float32")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed(tmp_path, capfd):
    made = trained.text_classifier()
    export_litert(*made.parts(), tmp_path / "m.tflite", precision="dynamic_int8")
    assert capfd.readouterr() == ("", "")

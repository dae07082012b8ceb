"""MediaPipe Tasks loads the exported .tflite files as they are, and says what the models say.

Skipped where MediaPipe is not installed (`make mediapipe` installs it).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import trained
from real_data import TRASH6, questions, run_with_a_solved_head

from tltool.data.batches.pipeline import model_inputs
from tltool.evaluation.inference import model_outputs
from tltool.export.feeding import single_inputs
from tltool.export.formats.base import LiteRTOptions
from tltool.export.formats.litert.describe import describe_tflite
from tltool.export.formats.litert.export import export_litert
from tltool.export.formats.litert.metadata import with_metadata
from tltool.export.formats.litert.metadata_codec import SCHEMA
from tltool.export.formats.litert.metadata_values import AssociatedFile, ScoreCalibration
from tltool.tasks.classes import ClassTarget

pytestmark = pytest.mark.skipif(
    find_spec("mediapipe") is None, reason="`make mediapipe` installs what this needs"
)
TORCH_MEAN, TORCH_STD = (123.0, 116.0, 103.0), (58.0, 57.0, 56.0)
# The converted model against Keras: the same arithmetic in another order.
TOLERANCE = 1e-4
ASCII = [
    "the film was NICE",
    "good,bad",
    "...!?",
    "",
    " \t the\nfood  is poor ",
    "unheard-of words (don't) @ 100% <b>loved</b>",
    "nice " * 40,
    "x" * 150,
]


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


def exported(made, folder, **options) -> bytes:
    export_litert(*made.parts(), folder / "m.tflite", precision="float32", **options)
    return (folder / "m.tflite").read_bytes()


def mediapipe(kind: str, content: bytes, inputs, folder, *threshold) -> dict:
    """What `mediapipe_tasks.py` prints."""
    (folder / "model.tflite").write_bytes(content)
    np.savez(folder / "inputs.npz", inputs=np.asarray(inputs))
    program = Path(__file__).parents[1] / "helpers" / "mediapipe_tasks.py"
    files = (folder / "model.tflite", folder / "inputs.npz")
    done = subprocess.run(
        [sys.executable, program, kind, *files, *map(str, threshold)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def pixels_of(inputs, preprocessing) -> np.ndarray:
    """Pictures resized and cropped as the contract says, in whole levels."""
    images = model_inputs(inputs, preprocessing).numpy()
    levels = images * np.float32(preprocessing.std) + np.float32(preprocessing.mean)
    return np.clip(np.round(levels), 0, 255).astype("uint8")


def of_pixels(model, task, preprocessing, pixels) -> np.ndarray:
    """What the Keras model says of images that have its input's size."""
    images = (pixels - np.float32(preprocessing.mean)) / np.float32(preprocessing.std)
    return np.asarray(task.outputs(model.predict(images, verbose=0)))


def best(outputs, task) -> list[str]:
    return [task.labels[i] for i in outputs.argmax(-1)]


def test_the_schema_is_theirs():
    """Field by field in their order, up to the last one that is used here."""
    package = Path(find_spec("mediapipe").origin).parent
    file = package / "tasks" / "metadata" / "metadata_schema.fbs"
    text = re.sub("//.*", "", file.read_text())
    tables = dict(re.findall(r"table (\w+) ?{(.*?)}", text, re.DOTALL))
    for name, fields in SCHEMA.tables.items():
        theirs = re.findall(r"(\w+) ?: ?(\[?\w+\]?)", tables[name])
        enumerations = {"AssociatedFileType", "ColorSpaceType", "ScoreTransformationType"}
        numbered = [(f, "byte" if kind in enumerations else kind) for f, kind in theirs]
        assert numbered[: len(fields)] == list(fields.items()), name
    unions = dict(re.findall(r"union (\w+) ?{(.*?)}", text, re.DOTALL))
    for name, members in SCHEMA.unions.items():
        assert re.findall(r"\w+", unions[name]) == list(members)


def test_image_classifier_says_what_keras_says_of_every_picture(image_classifier, tmp_path):
    made = image_classifier
    pixels = pixels_of(made.held_out.inputs, made.preprocessing)
    found = mediapipe("image", exported(made, tmp_path), pixels, tmp_path)
    expected = of_pixels(made.model, made.task, made.preprocessing, pixels)
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)
    raw = model_outputs(made.model, made.held_out, made.task, made.preprocessing)
    assert found["names"] == best(raw, made.task)
    assert set(found["names"]) == set(made.task.labels)


@pytest.mark.parametrize("precision", ["float16", "dynamic_int8", "int8"])
def test_image_classifier_loads_every_precision(image_classifier, tmp_path, precision):
    made = image_classifier
    file = tmp_path / "m.tflite"
    export_litert(*made.parts(), file, precision=precision, calibration=made.held_out)
    pixels = pixels_of(made.held_out.inputs, made.preprocessing)
    found = mediapipe("image", file.read_bytes(), pixels, tmp_path)
    expected = of_pixels(made.model, made.task, made.preprocessing, pixels)
    np.testing.assert_allclose(found["scores"], expected, atol=0.05)


def test_text_classifier_says_what_keras_says_of_every_text(tmp_path):
    made = trained.text_classifier()
    texts = [*made.held_out.inputs, *ASCII]
    found = mediapipe("text", exported(made, tmp_path), texts, tmp_path)
    inputs = model_inputs(texts, made.preprocessing)
    expected = np.asarray(made.task.outputs(made.model(inputs, training=False)))
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)
    assert found["names"] == best(expected, made.task)
    assert set(found["names"]) == set(made.task.labels)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_labels_are_given_that_reach_the_one_threshold_of_mediapipe(kind, tmp_path):
    """It has one for all labels; those of `contract.json` are for an app to compare with."""
    made = trained.text_tagger() if kind == "text" else trained.image_tagger(tmp_path / "pictures")
    inputs, threshold = made.held_out.inputs, 0.4
    if kind == "image":
        inputs = pixels_of(inputs, made.preprocessing)
    content = exported(made, tmp_path)
    found = mediapipe(kind, content, inputs, tmp_path, threshold)["given"]
    run = interpreter_of(content)
    if kind == "image":
        images = (inputs - np.float32(made.preprocessing.mean)) / np.float32(made.preprocessing.std)
        rows = [run(image=image[None])["probabilities"][0] for image in images]
    else:
        arrays = single_inputs(made.preprocessing, made.preprocessing.max_length, "token_ids")
        rows = [run(**row)["probabilities"][0] for row in arrays(inputs)]
    expected = [
        {name: p for name, p in zip(made.task.labels, row, strict=True) if p >= threshold}
        for row in rows
    ]
    assert [set(row) for row in found] == [set(row) for row in expected]
    for said, row in zip(found, expected, strict=True):
        assert said == pytest.approx(row, abs=1e-5)
    assert {} in expected
    assert max(map(len, expected)) > 1


def interpreter_of(content: bytes):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content).get_signature_runner("serving_default")


def test_labels_of_any_characters_arrive(image_classifier, tmp_path):
    labels = (" rot, hell ", "größer als 5 μm; 日本")
    made = replace(
        image_classifier, task=replace(image_classifier.task, target=ClassTarget(labels))
    )
    pixels = pixels_of(made.held_out.inputs[:1] + made.held_out.inputs[-1:], made.preprocessing)
    found = mediapipe("image", exported(made, tmp_path), pixels, tmp_path)
    assert found["names"] == list(labels)


def plain(made, folder, monkeypatch) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(
            "tltool.export.formats.litert.export.with_metadata", lambda content, _: content
        )
        return exported(made, folder)


def test_scores_are_calibrated_as_the_metadata_says(image_classifier, tmp_path, monkeypatch):
    made = image_classifier
    content = plain(made, tmp_path, monkeypatch)
    metadata = describe_tflite(content, made.task, made.preprocessing)
    lines = b"1.0,2.0,-1.0\n0.5,1.0,0.0"
    file = AssociatedFile("scores.csv", "tensor_axis_score_calibration", "", lines)
    output = replace(
        metadata.outputs[0],
        process_units=(ScoreCalibration("identity", 0.0),),
        files=(*metadata.outputs[0].files, file),
    )
    pixels = pixels_of(made.held_out.inputs[:3], made.preprocessing)
    calibrated = with_metadata(content, replace(metadata, outputs=(output,)))
    p = of_pixels(made.model, made.task, made.preprocessing, pixels)
    expected = np.stack(
        [1 / (1 + np.exp(-(2 * p[:, 0] - 1))), 0.5 / (1 + np.exp(-p[:, 1]))], axis=1
    )
    found = mediapipe("image", calibrated, pixels, tmp_path)
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)


def test_a_model_that_normalises_inside_takes_any_contract(image_classifier, tmp_path):
    """Pixels go in as they are, so MediaPipe's one mean for all channels does no harm."""
    import tensorflow as tf

    from tltool.export.formats.tracing import inference_outputs, variables_of
    from tltool.support.quiet import quiet

    made, module = image_classifier, tf.Module()
    module.model_weights = variables_of(made.model)
    contract = made.preprocessing.model_copy(
        update={"mean": TORCH_MEAN, "std": TORCH_STD, "channel_order": "bgr"}
    )

    @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.uint8, name="image")])
    def run(image):
        values = (tf.cast(image, tf.float32) - TORCH_MEAN) / TORCH_STD
        return inference_outputs(made.model, values[..., ::-1], made.task)

    with quiet():
        function = run.get_concrete_function()
        content = tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()
    metadata = describe_tflite(content, made.task, contract, takes="resized_image")
    pixels = pixels_of(made.held_out.inputs, made.preprocessing)
    found = mediapipe("image", with_metadata(content, metadata), pixels, tmp_path)
    expected = [run(image[None])["probabilities"][0] for image in pixels]
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_export_that_takes_pixels_takes_any_contract(image_classifier, tmp_path, precision):
    contract = image_classifier.preprocessing.model_copy(
        update={"mean": TORCH_MEAN, "std": TORCH_STD, "channel_order": "bgr"}
    )
    made, file = replace(image_classifier, preprocessing=contract), tmp_path / "m.tflite"
    options = LiteRTOptions(input="uint8")
    export_litert(
        *made.parts(), file, precision=precision, calibration=made.held_out, options=options
    )
    pixels = pixels_of(made.held_out.inputs, image_classifier.preprocessing)
    found = mediapipe("image", file.read_bytes(), pixels, tmp_path)
    images = (pixels - np.float32(contract.mean)) / np.float32(contract.std)
    expected = made.task.outputs(made.model.predict(images[..., ::-1], verbose=0))
    tolerance = TOLERANCE if precision == "float32" else 0.05
    np.testing.assert_allclose(found["scores"], expected, atol=tolerance)


def test_text_classifier_takes_texts_of_any_length(tmp_path):
    made = trained.text_classifier()
    texts = made.held_out.inputs[:8]
    content = exported(made, tmp_path, options=LiteRTOptions(length="free"))
    found = mediapipe("text", content, texts, tmp_path)
    expected = made.task.outputs(made.model(model_inputs(texts, made.preprocessing)))
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)


def test_image_embedder_gives_the_vectors_of_keras(tmp_path):
    made = trained.image_embedder(tmp_path / "pictures")
    pixels = pixels_of(made.held_out.inputs, made.preprocessing)
    found = mediapipe("image_vector", exported(made, tmp_path), pixels, tmp_path)
    expected = of_pixels(made.model, made.task, made.preprocessing, pixels)
    np.testing.assert_allclose(found["vectors"], expected, atol=TOLERANCE)


def test_text_embedder_gives_the_vectors_of_keras(tmp_path):
    made = trained.text_embedder()
    texts = [*made.held_out.inputs, *ASCII]
    found = mediapipe("text_vector", exported(made, tmp_path), texts, tmp_path)
    inputs = model_inputs(texts, made.preprocessing)
    expected = np.asarray(made.task.outputs(made.model(inputs, training=False)))
    np.testing.assert_allclose(found["vectors"], expected, atol=TOLERANCE)


# What MediaPipe would get wrong, it refuses


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean": TORCH_MEAN, "std": TORCH_STD}, "Per-channel image normalization"),
        ({"channel_order": "bgr"}, "Only RGB"),
    ],
)
def test_an_image_input_it_cannot_give_is_refused(image_classifier, tmp_path, changes, said):
    preprocessing = image_classifier.preprocessing.model_copy(update=changes)
    made = replace(image_classifier, preprocessing=preprocessing)
    assert said in mediapipe("image", exported(made, tmp_path), [], tmp_path)["error"]


@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_model_that_can_say_unknown_classifies_as_before(kind, image_classifier, tmp_path):
    """Of three outputs it reads the first, which are the probabilities."""
    made = trained.knowing("mahalanobis", image_classifier if kind == "image" else None)
    rows = made.held_out
    if kind == "image":
        inputs = pixels_of(rows.inputs, made.preprocessing)
        expected = of_pixels(made.model, made.task, made.preprocessing, inputs)
    else:
        inputs = rows.inputs
        expected = model_outputs(made.model, rows, made.task, made.preprocessing)
    found = mediapipe(kind, exported(made, tmp_path), inputs, tmp_path)
    assert expected.shape == (len(inputs), 3)
    np.testing.assert_allclose(found["scores"], expected[:, :2], atol=TOLERANCE)


def test_a_tokenizer_it_does_not_have_is_refused(tmp_path):
    made = trained.text_classifier()
    cased = replace(made, preprocessing=made.preprocessing.model_copy(update={"lowercase": False}))
    found = mediapipe("text", exported(cased, tmp_path), [], tmp_path)
    assert "No metadata or input process unit found" in found["error"]


def test_a_model_without_metadata_is_refused(image_classifier, tmp_path, monkeypatch):
    content = plain(image_classifier, tmp_path, monkeypatch)
    assert "NormalizationOptions" in mediapipe("image", content, [], tmp_path)["error"]


# Real models on real data


def trained_on(folder, **values):
    run = run_with_a_solved_head(folder, **values)
    return run, (run.folder.exports / "litert_float32" / "model.tflite").read_bytes()


@pytest.mark.data
@pytest.mark.weights
@pytest.mark.slow
def test_efficientnet_on_photographs(tmp_path):
    run, content = trained_on(
        tmp_path,
        task="image-classification",
        data=TRASH6,
        backbone={"name": "efficientnet-lite0"},
    )
    rows = run.examples("test")
    pixels = pixels_of(rows.inputs, run.preprocessing)
    found = mediapipe("image", content, pixels, tmp_path)
    expected = of_pixels(run.model, run.task, run.preprocessing, pixels)
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)
    assert found["names"] == best(expected, run.task)
    assert len(set(found["names"])) == 6


@pytest.mark.data
@pytest.mark.weights
@pytest.mark.slow
def test_minilm_on_questions(tmp_path):
    run, content = trained_on(
        tmp_path,
        task="text-classification",
        data=questions(tmp_path, intents=20, rows=10),
        backbone={"name": "all-minilm-l6-v2"},
    )
    rows = run.examples("test")
    ascii_only = rows.take([i for i, text in enumerate(rows.inputs) if text.isascii()])
    found = mediapipe("text", content, ascii_only.inputs, tmp_path)
    expected = run.outputs(ascii_only)
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)
    assert found["names"] == best(expected, run.task)
    assert len(set(found["names"])) > 15

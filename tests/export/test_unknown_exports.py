"""Models that can say "unknown": every format gives the score, decides alike, and stays usable."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trained
from ai_edge_litert.interpreter import Interpreter
from exported import export_and_check

from tltool.data.examples import Examples
from tltool.evaluation.inference import raw_outputs
from tltool.export.artifact import load_artifact
from tltool.export.formats.table import FORMATS
from tltool.recipe.export_section import ExportSection
from tltool.tasks.table import Task

METHODS = ("knn", "mahalanobis", "max_probability", "energy")
ONNX = () if FORMATS["onnx"].missing_packages() else ("onnx",)
EXPORTS = ("saved_model", "keras", "litert_float32", "litert_float16", "litert_dynamic_int8",
           "litert_int8", *ONNX)  # fmt: skip


def exported(made, folder, **section):
    export_and_check(
        made.model,
        made.task,
        made.preprocessing,
        made.held_out,
        folder,
        section=ExportSection(**section),
        calibration=made.held_out,
    )


@pytest.fixture(scope="module")
def by_distance(tmp_path_factory):
    """Every format and precision of one model."""
    made, folder = trained.knowing("mahalanobis"), tmp_path_factory.mktemp("unknown")
    exported(
        made,
        folder,
        formats=("saved_model", "litert", "keras", *ONNX),
        precisions=("float32", "float16", "dynamic_int8", "int8"),
    )
    return made, folder


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTS)
def test_every_format_gives_the_models_score_and_decides_alike(by_distance, name):
    made, folder = by_distance
    raw = raw_outputs(made.model, made.held_out, made.preprocessing)
    expected, target = np.asarray(made.task.outputs(raw)), made.task.target
    artifact = load_artifact(folder / name)
    received = artifact.predict(made.held_out.inputs)
    assert received.shape == expected.shape == (len(made.held_out), 3)
    exact = name in ("saved_model", "onnx", "keras", "litert_float32")
    if exact:
        np.testing.assert_allclose(received, expected, rtol=2e-3, atol=2e-3)
    same = (target.accepted(received) == target.accepted(expected)).mean()
    assert same == 1 if exact else same >= 0.9
    assert 0.6 < target.accepted(received).mean() < 1
    gate = json.loads((folder / name / "gate.json").read_text())
    assert gate["acceptance"]["same"] == pytest.approx(same)
    contract = json.loads((folder / name / "contract.json").read_text())
    names = {output["name"] for output in contract["signatures"][0]["outputs"]}
    assert {"probabilities", "unknown_score", "accepted"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPORTS if name.startswith("litert")])
def test_output_0_of_a_tflite_file_stays_the_answer(by_distance, name):
    _, folder = by_distance
    interpreter = Interpreter(str(folder / name / "model.tflite"))
    shapes = [tuple(output["shape"]) for output in interpreter.get_output_details()]
    assert shapes == [(1, 2), (1, 1), (1, 1)]


@pytest.mark.slow
def test_accepted_is_the_score_under_the_threshold(by_distance):
    import tensorflow as tf

    made, folder = by_distance
    model = tf.saved_model.load(str(folder / "saved_model" / FORMATS["saved_model"].file))
    texts = tf.constant(made.held_out.inputs)
    outputs = {k: v.numpy() for k, v in model.signatures["serving_default"](texts=texts).items()}
    assert set(outputs) == {"probabilities", "label", "score", "unknown_score", "accepted"}
    threshold = made.task.target.known.threshold
    np.testing.assert_array_equal(outputs["accepted"], outputs["unknown_score"] <= threshold)
    assert outputs["accepted"].shape == (len(texts),)


def test_the_gate_finds_another_threshold(tmp_path):
    from tltool.export.gate.comparison import Comparison, breaches
    from tltool.export.gate.tolerance import TOLERANCES

    made = trained.knowing("max_probability")
    raw = raw_outputs(made.model, made.held_out, made.preprocessing)
    expected = np.asarray(made.task.outputs(raw))
    names = made.task.target.answers(expected, made.task.labels)

    def found(received):
        comparison = Comparison(made.task, made.held_out, expected, received, names)
        return list(breaches(comparison, TOLERANCES["int8"]))

    assert found(expected) == []
    shifted = expected.copy()
    shifted[:, -1] += 1
    (breach,) = found(shifted)
    assert "0.0% of the rows are accepted" in breach


@pytest.mark.parametrize("method", METHODS)
def test_keras_files_keep_each_score(method, tmp_path):
    made = trained.knowing(method)
    exported(made, tmp_path, formats=("keras",))
    received = load_artifact(tmp_path / "keras").predict(made.held_out.inputs)
    raw = raw_outputs(made.model, made.held_out, made.preprocessing)
    np.testing.assert_allclose(received, np.asarray(made.task.outputs(raw)), rtol=1e-3, atol=1e-3)


def test_rows_say_whether_they_are_known(tmp_path):
    made = trained.knowing("energy")
    target = made.task.target
    raw = raw_outputs(made.model, made.held_out, made.preprocessing)
    outputs = np.asarray(made.task.outputs(raw))
    row = target.row(outputs[0])
    assert row["prediction"] in made.task.labels
    assert row["accepted"] == (row["unknown_score"] <= target.known.threshold)
    assert list(target.prediction(outputs[0]).probabilities) == list(made.task.labels)
    again = Task.from_json(json.loads(json.dumps(made.task.to_json())))
    assert again.target == target
    plain = target.row(outputs[0, :-1])
    assert "accepted" not in plain
    assert isinstance(made.held_out, Examples)

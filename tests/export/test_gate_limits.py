"""What the gate finds in outputs: each limit, what one row may do, and the process it runs in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import trained

import tltool
from tltool.data.examples import Examples
from tltool.export.gate.check import check_artifact, reference_of
from tltool.export.gate.comparison import Comparison, breaches
from tltool.export.gate.fresh_process import FreshProcess
from tltool.export.gate.tolerance import TOLERANCES, tolerance_for
from tltool.export.package import export_and_check
from tltool.recipe.export_section import ExportSection, GateSection
from tltool.support.errors import ExportError
from tltool.support.imports import MODULES, TRUST
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

DEFAULT = GateSection()
LABELS = ("ant", "bee", "cat")
CLASSES = Task(TASKS["text-classification"], ClassTarget(LABELS))
NUMBERS = Task(TASKS["text-regression"], NumbersTarget(mean=(10.0,), std=(2.0,)))


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype("float32")


def rows(targets):
    count = len(targets)
    origins = [f"row {i}" for i in range(count)]
    return Examples("text", ["x"] * count, targets, ["test"] * count, origins)


def classified(received_logits, sure=4.0, per_class=20):
    """A model that is right on every row, and an artifact with other logits."""
    truth = np.repeat(np.arange(3), per_class)
    expected = sure * np.eye(3)[truth]
    received = softmax(received_logits(expected.copy()))
    names = [LABELS[i] for i in received.argmax(axis=1)]
    targets = [LABELS[i] for i in truth]
    return Comparison(CLASSES, rows(targets), softmax(expected), received, names)


def found(comparison, precision, gate=DEFAULT):
    return list(breaches(comparison, tolerance_for(precision, gate)))


def swap(logits, count, first=0, other=1):
    """Gives `count` rows of the class `first` to `other`."""
    wrong = np.flatnonzero(logits.argmax(axis=1) == first)[:count]
    logits[wrong] = logits[wrong][:, [other, first, 2] if first == 0 else [0, 1, 2]]
    return logits


def test_equal_outputs_break_nothing():
    comparison = classified(lambda logits: logits)
    assert found(comparison, "float32") == []
    assert comparison.logit_difference == 0
    metric = comparison.metric
    assert (metric.model, metric.artifact, metric.drop) == (1, 1, 0)
    assert metric.interval[0] < 1
    assert metric.calibration_error == metric.model_calibration_error


def test_a_model_that_is_sure_of_itself_hides_nothing():
    # All probabilities stay within 1e-4, the logits differ by 1 %.
    comparison = classified(lambda logits: 1.01 * logits, sure=12.0)
    assert comparison.differences.max() < TOLERANCES["float32"].max_difference
    assert comparison.logit_difference == pytest.approx(0.01, rel=0.01)
    (breach,) = found(comparison, "float32")
    assert breach.startswith("logits differ by 0.01")
    assert found(comparison, "float32", GateSection(max_logit_difference={"float32": 0.02})) == []


def test_a_ruined_class_is_named_though_the_accuracy_holds():
    loose = GateSection(max_difference={"dynamic_int8": 1}, max_metric_drop={"dynamic_int8": 0.1})
    comparison = classified(lambda logits: swap(logits, 5), per_class=40)
    (breach,) = found(comparison, "dynamic_int8", loose)
    assert breach.startswith("recall of ant falls by 0.12 (1.00 to 0.88)")
    first = comparison.metric.classes[0]
    assert (first.label, first.rows, first.artifact) == ("ant", 40, 0.875)


def test_a_fallen_accuracy_is_a_breach_and_one_row_is_none():
    gate = GateSection(max_difference={"float16": 1}, max_logit_difference={"float16": 9})
    one = classified(lambda logits: swap(logits, 1))
    assert found(one, "float16", gate) == []
    two = classified(lambda logits: swap(logits, 2))
    assert [b.split()[0] for b in found(two, "float16", gate)] == ["same", "accuracy"]


def test_not_one_row_may_change_its_class_in_float32():
    gate = GateSection(max_difference={"float32": 1}, max_logit_difference={"float32": 9})
    (breach,) = found(classified(lambda logits: swap(logits, 1)), "float32", gate)
    assert breach.startswith("same top class for 98.3%")


def test_rounded_probabilities_that_do_not_add_up_to_1_have_metrics():
    comparison = classified(lambda logits: logits)
    rounded = np.round(comparison.received * 16) / 16 + np.float32(1 / 16)
    metric = replace(comparison, received=rounded).metric
    assert metric.artifact == 1


def test_rows_without_labels_have_no_metric():
    comparison = classified(lambda logits: logits)
    unlabelled = rows([None, *comparison.examples.targets[1:]])
    assert replace(comparison, examples=unlabelled).metric is None


def test_numbers_are_compared_in_standard_deviations():
    expected = np.linspace(5, 15, 20, dtype="float32")
    comparison = Comparison(NUMBERS, rows(expected.tolist()), expected, expected + 1, [])
    assert comparison.differences.max() == pytest.approx(0.5)
    assert comparison.logit_difference is None
    assert comparison.metric.drop == pytest.approx(0.5)
    gate = GateSection(max_difference={"float16": 1})
    (breach,) = found(comparison, "float16", gate)
    assert breach.startswith("mae rises by 0.5 standard deviations")


@pytest.fixture(scope="module")
def sure(tmp_path_factory):
    """A tiny text model that is sure of every row, exported as a SavedModel."""
    made = trained.text_classifier()
    model = keras.models.clone_model(made.model)
    model.set_weights(made.model.get_weights())
    head = model.get_layer("head_outputs")
    head.set_weights([12 * w for w in head.get_weights()])
    folder = tmp_path_factory.mktemp("sure")
    made = made.with_model(model)
    section = ExportSection(formats=("saved_model",))
    (report,) = export_and_check(*made.parts(), made.held_out, folder, section=section)
    return made, folder / "saved_model", report


def test_one_percent_of_a_sure_models_weights_is_noticed(sure):
    made, folder, report = sure
    assert report.passed
    assert report.max_logit_difference < 1e-5
    moved = keras.models.clone_model(made.model)
    moved.set_weights([w * np.float32(1.01) for w in made.model.get_weights()])
    gate = GateSection(max_difference={"float32": 1})
    reference = reference_of(moved, made.held_out, made.task, made.preprocessing, gate)
    wrong = check_artifact(folder / "model", reference, precision="float32", gate=gate)
    assert not wrong.passed
    assert "logits differ" in str(wrong)


def test_the_report_travels_with_the_model(sure):
    made, folder, report = sure
    page = (folder / "gate.md").read_text()
    assert page.startswith("# model: passed")
    for label in made.task.labels:
        rows = made.held_out.targets.count(label)
        assert re.search(rf"\| {label} \| {rows} \| (\d\.\d+) \| \1 \|", page)
    kept = json.loads((folder / "gate.json").read_text())
    assert kept["metric"]["name"] == "accuracy"
    assert kept["metric"]["artifact"] == report.metric.artifact == report.metric.model
    assert kept["size_bytes"] > 10_000


def test_the_process_answers_as_this_one_does(sure):
    made, folder, _ = sure
    from tltool.export.artifact import load_artifact

    texts = [*made.held_out.inputs[:3], "", "half \ud800 a pair"]
    here, names = load_artifact(folder).predict_with_labels(texts)
    with FreshProcess() as process:
        there, their_names = process.run(folder / "model", texts)
        np.testing.assert_allclose(there, here, atol=1e-6)
        assert their_names == names


def test_the_process_tells_of_errors_and_of_its_end(sure, tmp_path):
    _, folder, _ = sure
    with FreshProcess() as process:
        with pytest.raises(ExportError, match="is not an exported model"):
            process.run(tmp_path / "model", ["a"])
        # It goes on after an error.
        assert len(process.run(folder / "model", ["a"])[1]) == 1
        process._process.kill()
        with pytest.raises(ExportError, match="ended the process") as caught:
            process.run(folder / "model", ["a"])
        assert "-9" in caught.value.message
        # The next artifact gets a new one.
        assert len(process.run(folder / "model", ["a"])[1]) == 1


ECHO = "import json; print(json.dumps({'error': input(), 'hint': None}))"


def test_the_process_is_trusted_with_what_this_one_has_imported_alone(monkeypatch, tmp_path):
    monkeypatch.delenv(TRUST, raising=False)
    started, given = subprocess.Popen, {}

    def echo(command, *, env, **options):
        given.update(env)
        return started([sys.executable, "-c", ECHO], env=env, **options)

    monkeypatch.setattr(subprocess, "Popen", echo)
    monkeypatch.chdir(Path(tltool.__file__).parents[1])
    with FreshProcess() as process, pytest.raises(ExportError):
        process.run(tmp_path / "model", ["a"])
    assert TRUST not in given
    assert json.loads(given[MODULES])["tltool"] == tltool.__file__

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
from exported import export_and_check

import tltool
from tltool.data.examples import Examples
from tltool.export.gate.check import check_artifact, reference_of
from tltool.export.gate.comparison import Comparison, breaches
from tltool.export.gate.fresh_process import FreshProcess
from tltool.export.gate.tolerance import RESIZED, TOLERANCES, Tolerance, tolerance_for
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
    five = classified(lambda logits: swap(logits, 5))
    assert [b.split()[0] for b in found(five, "float16", gate)][:2] == ["same", "accuracy"]


def test_a_fall_that_luck_explains_is_none():
    """Of 255 rows three are more than 1 %, and would be lost in one of eight such changes."""
    loose = GateSection(
        max_difference={"dynamic_int8": 1}, max_logit_difference={"dynamic_int8": 9}
    )
    for count, broken in ((3, []), (4, []), (5, ["accuracy"])):
        fallen = classified(lambda logits, n=count: swap(logits, n), per_class=85)
        assert fallen.metric.drop > 0.01
        assert fallen.metric.p == pytest.approx(0.5**count)
        said = found(fallen, "dynamic_int8", loose)
        assert [b.split()[0] for b in said if not b.startswith("recall")] == broken


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


LIMITS = [*TOLERANCES.values(), RESIZED]
EACH_LIMIT = pytest.mark.parametrize("limits", LIMITS, ids=[*TOLERANCES, "resized"])


@EACH_LIMIT
def test_each_limit_is_broken_where_every_row_is_wrong(limits):
    wrong = classified(lambda logits: np.roll(logits, 1, axis=1))
    logits = [] if limits.max_logit_difference is None else ["logits"]
    expected = ["largest", *logits, "same", "accuracy", "recall", "recall", "recall"]
    assert [breach.split()[0] for breach in breaches(wrong, limits)] == expected


@EACH_LIMIT
def test_one_row_of_many_and_what_is_equal_break_nothing(limits):
    assert list(breaches(classified(lambda logits: logits, per_class=3), limits)) == []
    one = classified(lambda logits: swap(logits, 1), per_class=400)
    broken = {breach.split()[0] for breach in breaches(one, limits)}
    assert not broken & {"accuracy", "recall"}
    assert ("same" in broken) == (limits.min_agreement == 1)


@pytest.mark.parametrize("precision", ["float16", "dynamic_int8", "int8"])
def test_shares_of_many_rows_may_move_as_far_as_their_limit(precision):
    gate = GateSection(max_difference={precision: 1}, max_logit_difference={precision: 9})
    few = classified(lambda logits: swap(logits, 9), per_class=400)
    assert found(few, precision, gate) == []
    many = classified(lambda logits: swap(logits, 14), per_class=400)
    starts = [breach.split()[0] for breach in found(many, precision, gate)]
    assert starts == (["same", "accuracy"] if precision == "float16" else ["accuracy"])
    class_ruined = classified(lambda logits: swap(logits, 48), per_class=400)
    assert any(breach.startswith("recall of ant") for breach in found(class_ruined, precision))


def test_two_rows_of_a_small_class_are_no_breach_and_three_are():
    loose = GateSection(max_difference={"int8": 1}, max_metric_drop={"int8": 1})
    assert found(classified(lambda logits: swap(logits, 2)), "int8", loose) == []
    (breach,) = found(classified(lambda logits: swap(logits, 3)), "int8", loose)
    assert breach.startswith("recall of ant falls by 0.15 (1.00 to 0.85)")


def test_the_recipe_sets_limits_and_resizing_widens_those_of_float32_alone():
    own = GateSection(
        max_difference={"float32": 0.1},
        max_logit_difference={"float32": 0.2},
        min_agreement={"float32": 0.3},
        max_metric_drop={"float32": 0.4},
        max_class_drop={"float32": 0.5},
    )
    for resizes in (False, True):
        assert tolerance_for("float32", own, resizes=resizes) == Tolerance(0.1, 0.2, 0.3, 0.4, 0.5)
        assert tolerance_for("float16", own, resizes=resizes) == TOLERANCES["float16"]
    assert tolerance_for("float32", DEFAULT) == TOLERANCES["float32"]
    assert tolerance_for("float32", DEFAULT, resizes=True) == RESIZED


def shares(task, expected, received, targets=None, names=None):
    """A comparison of outputs as they are."""
    expected, received = (np.array(x, "float32") for x in (expected, received))
    targets = targets or [None] * len(expected)
    return Comparison(task, rows(targets), expected, received, names or [])


def test_the_worst_rows_have_no_number_or_another_answer_and_then_differ_most():
    expected = [[0.36, 0.33, 0.31], *[[0.9, 0.05, 0.05]] * 6]
    received = [[0.33, 0.36, 0.31], *([0.9 - x, 0.05 + x, 0.05] for x in (0, 0.1, 0.3, 0.2, 0.1))]
    received.append([np.nan, 0.05, 0.05])
    names = ["bee", *["ant"] * 6]
    worst = shares(CLASSES, expected, received, names=names).worst()
    assert [row.origin for row in worst] == ["row 6", "row 0", "row 3", "row 4", "row 2"]
    assert worst[1].difference == pytest.approx(0.03)
    assert worst[2].difference == pytest.approx(0.3)
    assert "ant" in worst[1].expected
    assert "bee" in worst[1].received
    unnamed = shares(NUMBERS, [[1.0], [2.0], [3.0]], [[1.0], [2.5], [2.0]]).worst()
    assert [row.origin for row in unnamed] == ["row 2", "row 1", "row 0"]


def test_the_spread_is_the_largest_change_of_one_output():
    outputs = [[0.1, 0.5, 0.4], [0.4, 0.45, 0.15], [0.2, 0.5, 0.3]]
    assert shares(CLASSES, outputs, outputs).spread == pytest.approx(0.3)
    assert shares(NUMBERS, [[3.0], [11.0]], [[0.0], [0.0]]).spread == pytest.approx(4.0)


def test_without_a_number_or_an_answer_there_is_no_metric_and_no_agreement():
    good, bad = [[10.0], [12.0]], [[10.0], [np.inf]]
    assert shares(NUMBERS, good, good, [10.0, 12.0]).metric.artifact == 0
    for expected, received in ((good, bad), (bad, good)):
        comparison = shares(NUMBERS, expected, received, [10.0, 12.0])
        assert comparison.metric is None
        assert comparison.agreement is None
        (breach,) = list(breaches(comparison, TOLERANCES["int8"]))
        assert breach.startswith("largest difference")
    one = shares(NUMBERS, good[:1], good[:1], [10.0]).metric
    assert (one.interval, one.classes, one.calibration_error) == (None, (), None)


def test_a_difference_that_is_no_number_is_a_breach():
    outputs = [[0.9, 0.05, 0.05]]
    comparison = shares(CLASSES, outputs, [[np.nan, 0.05, 0.05]], ["ant"], ["ant"])
    starts = [breach.split()[0] for breach in breaches(comparison, TOLERANCES["float16"])]
    assert starts == ["largest", "logits"]


def test_logits_of_a_model_that_has_learnt_nothing_are_compared_with_a_narrow_range():
    flat = np.full((2, 3), 1 / 3)
    moved = flat + np.array([1e-4, -1e-4, 0])
    assert shares(CLASSES, flat, moved).logit_difference == pytest.approx(0.3, rel=0.01)


def test_of_the_classes_the_one_that_lost_most_comes_first():
    def some(logits):
        logits[[0, 20, 21]] = logits[[40, 40, 40]]  # one of the ants, two of the bees
        return logits

    metric = classified(some).metric
    assert [(c.label, c.rows) for c in metric.classes] == [("bee", 20), ("ant", 20), ("cat", 20)]


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

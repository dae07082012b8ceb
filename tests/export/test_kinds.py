"""Several labels, several numbers, numbers that float32 is too coarse for: in every format.

ONNX is in `test_export_onnx.py`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache

import exported
import keras
import numpy as np
import pytest
import tiny
import trained
from exported import export_and_check

from tltool.export.artifact import load_artifact
from tltool.export.formats.base import ExportTarget
from tltool.export.formats.table import FORMATS, export_targets
from tltool.export.gate.check import check_artifact, reference_of, run_here
from tltool.export.gate.comparison import Comparison
from tltool.export.sidecars.folder import GOLDEN_EXAMPLES
from tltool.recipe.export_section import ExportSection, GateSection
from tltool.support.sums import write_sums
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.stratify import evenly_spaced

PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")
FORMS = ("saved_model", "litert", "keras")
TAGGERS, RATERS = (
    tuple(pytest.param(f"{of} {what}", marks=pytest.mark.slow) for of in ("text", "image"))
    for what in ("labels", "numbers")
)
KINDS = (*TAGGERS, *RATERS, "moment")
WHOLE = tuple(ExportTarget(FORMATS[form]) for form in FORMS)
EACH_WHOLE = pytest.mark.parametrize("target", WHOLE, ids=lambda target: target.folder)


class Kind:
    """A trained model with its exports and their reports by the names of their folders."""

    def __init__(self, made, folder):
        # Of texts 8 bits take many trials; see below.
        precisions = PRECISIONS if made.task.spec.modality == "image" else PRECISIONS[:-1]
        section = ExportSection(formats=FORMS, precisions=precisions)
        parts = (*made.parts(), made.held_out, folder)
        reports = export_and_check(*parts, section=section, calibration=made.held_out)
        names = [target.folder for target in export_targets(section)]
        self.made, self.folder, self.target = made, folder, made.task.target
        self.reports = dict(zip(names, reports, strict=True))
        self.reference = reference(made)
        self._said = {}

    def said(self, path):
        """What an export says of the held-out rows, asked once."""
        if path not in self._said:
            self._said[path] = run_here(path, self.made.held_out.inputs)
        return self._said[path]

    def contract(self, name):
        return json.loads((self.folder / name / "contract.json").read_text())

    def gate(self, target, *, change=lambda values: values, **changes):
        """Checks an export, its outputs changed, against the model with another task or weights."""
        path = self.folder / target.folder / target.file

        def run(path, inputs):
            values, names = self.said(path)
            return change(values), names

        other = reference(replace(self.made, **changes)) if changes else self.reference
        return check_artifact(path, other, precision="float32", gate=GateSection(), run=run)

    def with_target(self, **changes):
        return replace(self.made.task, target=replace(self.target, **changes))


def reference(made):
    return reference_of(made.model, made.held_out, made.task, made.preprocessing, GateSection())


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Gives a `Kind` by name."""
    make = {
        "text labels": trained.text_tagger,
        "image labels": lambda: trained.image_tagger(tmp_path_factory.mktemp("tagged")),
        "text numbers": trained.text_rater,
        "image numbers": lambda: trained.image_rater(tmp_path_factory.mktemp("rated")),
        "moment": trained.text_clock,
    }
    return cache(lambda name: Kind(make[name](), tmp_path_factory.mktemp("exports")))


@pytest.fixture
def kind(kinds, request):
    return kinds(request.param)


def each(names):
    return pytest.mark.parametrize("kind", names, indirect=True)


def has_labels(kind):
    return bool(kind.target.labels)


@each(KINDS)
def test_every_format_and_precision_passes(kind):
    assert len(kind.reports) == (6 if kind.made.task.spec.modality == "image" else 5)
    assert all(report.passed and report.conclusive for report in kind.reports.values())
    for name, report in kind.reports.items():
        assert (report.agreement is None) != has_labels(kind)
        kept = json.loads((kind.folder / name / "gate.json").read_text())
        metric = "mean_average_precision" if has_labels(kind) else "mae"
        assert kept["metric"]["name"] == metric


@pytest.mark.slow
@pytest.mark.parametrize("make", [trained.text_tagger, trained.text_rater, trained.text_clock])
def test_texts_pass_in_8_bits(make, tmp_path):
    made = make()
    section = ExportSection(formats=("litert",), precisions=("int8",))
    parts = (*made.parts(), made.held_out, tmp_path)
    (report,) = export_and_check(*parts, section=section, calibration=made.held_out)
    assert report.passed
    assert report.conclusive


@each(KINDS)
def test_predictions_are_the_models(kind):
    expected, target = kind.reference.outputs, kind.target
    for name, report in kind.reports.items():
        path = load_artifact(kind.folder / name).path
        found, names = kind.said(path)
        assert target.differences(expected, found).max() <= report.max_difference + 1e-6
        if report.precision == "float32":
            assert list(map(tuple, names)) == target.answers(expected, target.labels)
    if has_labels(kind):
        given = target.answers(expected, target.labels)
        assert () in given
        assert max(map(len, given)) > 1
    else:
        assert names == []


@each(["moment"])
def test_single_seconds_are_told_apart(kind):
    """Of float32 numbers of this size the next one is 128 seconds away."""
    for name, report in kind.reports.items():
        found, _ = kind.said(load_artifact(kind.folder / name).path)
        assert found.dtype == np.float64
        if report.precision == "float32":
            np.testing.assert_allclose(found, kind.reference.outputs, rtol=0, atol=0.01)


@each(KINDS)
def test_the_contract_says_all_that_a_program_needs(kind):
    for name in kind.reports:
        said, target = kind.contract(name), kind.target
        outputs = [tensor for way in said["signatures"] for tensor in way["outputs"]]
        assert all(len(tensor["description"]) > 20 for tensor in outputs)
        if has_labels(kind):
            assert said["task"]["labels"] == list(target.labels)
            assert said["task"]["thresholds"] == list(target.thresholds)
            labels = (kind.folder / name / "labels.txt").read_text().splitlines()
            assert labels == list(target.labels)
        else:
            assert said["task"]["numbers"] == list(target.names)
            assert said["task"]["mean"] == list(target.mean)
            assert said["task"]["std"] == list(target.std)
            inside = [tensor for tensor in outputs if "float64" in tensor["description"]]
            assert bool(inside) == said["task"]["offset_outside"]


@each([*RATERS, "moment"])
def test_a_scale_is_left_outside_where_the_file_would_round_it(kind):
    for name, report in kind.reports.items():
        said = kind.contract(name)
        outside = kind.target.offset_outside or report.precision in {"float16", "int8"}
        assert said["task"]["offset_outside"] is outside
        (output,) = said["signatures"][0]["outputs"]
        served = name == "saved_model"
        assert output["name"] == ("standardised" if outside and not served else "prediction")
        assert output["dtype"] == ("float64" if outside and served else "float32")


@each(KINDS)
def test_golden_examples_are_in_the_users_units(kind):
    target = kind.target
    few = kind.reference.outputs[evenly_spaced(len(kind.reference.outputs), GOLDEN_EXAMPLES)]
    for name, report in kind.reports.items():
        golden = json.loads((kind.folder / name / "golden.json").read_text())["examples"]
        found = np.array([row[target.golden_name] for row in golden])
        assert target.differences(few, found).max() <= report.max_difference + 1e-6
        if has_labels(kind) and report.precision == "float32":
            assert [tuple(row["labels"]) for row in golden] == target.answers(few, target.labels)
            assert "label" not in golden[0]


def test_golden_numbers_of_a_small_scale_keep_their_digits(tmp_path):
    target = NumbersTarget(mean=(2e-9,), std=(3e-10,))
    made = exported.text_model(tiny.TINY_TEXT, target)
    folder = exported.litert_folder(made, tmp_path / "export")
    found = load_artifact(folder).predict(made.held_out.inputs[:1])
    golden = json.loads((folder / "golden.json").read_text())["examples"]
    assert golden[0]["prediction"] == pytest.approx(found[0], rel=1e-6)


# What must be refused


@EACH_WHOLE
@each(KINDS)
def test_one_percent_of_the_weights_is_refused(kind, target):
    model = kind.made.model
    moved = keras.models.clone_model(model)
    rng = np.random.default_rng(0)
    noise = [0.01 * w.std() * rng.normal(size=w.shape) for w in model.get_weights()]
    pairs = zip(model.get_weights(), noise, strict=True)
    moved.set_weights([w + change.astype(w.dtype) for w, change in pairs])
    assert not kind.gate(target, model=moved).passed


@EACH_WHOLE
@each(TAGGERS)
def test_labels_in_another_order_are_refused(kind, target):
    first, second, third = kind.target.labels
    report = kind.gate(target, task=kind.with_target(labels=(second, first, third)))
    assert not report.passed
    assert report.agreement < 1
    assert "same labels for" in str(report)


@EACH_WHOLE
@each(TAGGERS)
def test_other_thresholds_are_refused(kind, target):
    """One row of one label less is enough."""
    values = np.sort(kind.reference.outputs[:, 1])
    place = int(np.argmax(np.diff(values[values >= kind.target.thresholds[1]])))
    lower, upper = values[values >= kind.target.thresholds[1]][place : place + 2]
    assert upper - lower > 1e-3
    first, _, third = kind.target.thresholds
    other = kind.with_target(thresholds=(first, float(lower + upper) / 2, third))
    report = kind.gate(target, task=other)
    assert not report.passed
    assert report.max_difference < 1e-5
    assert report.agreement < 1


@pytest.mark.parametrize("broken", ["labels.txt", "contract.json"])
@each(["image labels"])
def test_what_lies_beside_a_model_is_checked_with_it(kind, broken, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(kind.folder / "litert_float32", folder)
    file = folder / broken
    if broken == "labels.txt":
        file.write_text("green\nblue\nred\n")
    else:
        values = json.loads(file.read_text())
        values["task"]["thresholds"] = [0.01, 0.5, 0.5]
        file.write_text(json.dumps(values))
    write_sums(folder)
    path, options = folder / "model.tflite", {"precision": "float32", "gate": GateSection()}
    assert not check_artifact(path, kind.reference, **options).passed
    shutil.copy(kind.folder / "litert_float32" / broken, file)
    write_sums(folder)
    assert check_artifact(path, kind.reference, **options).passed


@EACH_WHOLE
@each(RATERS)
def test_numbers_with_their_columns_swapped_are_refused(kind, target):
    assert not kind.gate(target, change=lambda values: values[:, ::-1]).passed


@EACH_WHOLE
@each([*RATERS, "moment"])
def test_another_scale_of_one_number_is_refused(kind, target):
    scale = kind.target
    mean = (scale.mean[0] + scale.std[0] / 50, *scale.mean[1:])
    std = (1.02 * scale.std[0], *scale.std[1:])
    for changes in ({"mean": mean}, {"std": std}):
        assert not kind.gate(target, task=kind.with_target(**changes)).passed


@EACH_WHOLE
@each(["moment"])
def test_numbers_rounded_to_float32_are_refused(kind, target):
    assert kind.gate(target).passed
    report = kind.gate(target, change=lambda values: values.astype(np.float32))
    assert not report.passed
    assert report.max_difference > 0.1


@each(["text labels"])
def test_held_out_rows_without_any_label_are_compared_all_the_same(kind):
    rows = replace(kind.made.held_out.take([0, 1]), targets=[(), ()])
    outputs = kind.reference.outputs[:2]
    names = kind.target.answers(outputs, kind.target.labels)
    comparison = Comparison(kind.made.task, rows, outputs, outputs, names)
    assert comparison.agreement == 1
    assert comparison.metric is None

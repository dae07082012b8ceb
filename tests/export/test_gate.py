"""The gate passes what is right and refuses each deliberate breakage."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
import trained
from exported import export_and_check

from tltool.evaluation.drift.file import read_sketch
from tltool.evaluation.inference import Forward
from tltool.export.artifact import load_artifact
from tltool.export.formats.base import ExportTarget
from tltool.export.formats.table import FORMATS, export_targets
from tltool.export.gate.check import check_artifact, reference_of
from tltool.recipe.export_section import ExportSection, GateSection
from tltool.support.errors import DataError, ExportError, GateError
from tltool.support.sums import write_sums
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

DEFAULT = GateSection()
ONE_EACH = ExportSection(precisions=("float32",))
ALL = ExportSection(precisions=("float32", "float16", "dynamic_int8"))
SECTIONS = {"text": ALL, "image": ALL, "number": ONE_EACH}


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory, image_classifier):
    """Export folders of each tiny model, all passed; and their reports."""
    made = {
        "text": trained.text_classifier(),
        "image": image_classifier,
        "number": trained.text_regressor(),
    }
    folders = {name: tmp_path_factory.mktemp(name) for name in made}
    reports = {name: export(made[name], folders[name], SECTIONS[name]) for name in made}
    return {name: (made[name], folders[name], reports[name]) for name in made}


def export(made, folder, section=ONE_EACH, **options):
    parts = (*made.parts(), made.held_out, folder)
    return export_and_check(*parts, section=section, **options)


def gate(made, folder, target, section=DEFAULT, **changes):
    """Checks an export folder against `made`, changed as a breakage would show it."""
    made = replace(made, **changes)
    reference = reference_of(made.model, made.held_out, made.task, made.preprocessing, section)
    return check_artifact(
        folder / target.folder / target.file, reference, precision=target.precision, gate=section
    )


SAVED_MODEL = ExportTarget(FORMATS["saved_model"])
LITERT = ExportTarget(FORMATS["litert"])
BOTH = pytest.mark.parametrize("target", [SAVED_MODEL, LITERT], ids=lambda t: t.folder)


@pytest.mark.parametrize("name", ["text", "image", "number"])
def test_every_format_passes(exported, name):
    made, folder, reports = exported[name]
    targets = export_targets(SECTIONS[name])
    assert sorted(path.name for path in folder.iterdir()) == sorted(t.folder for t in targets)
    assert all(report.passed and report.conclusive for report in reports)
    for target, report in zip(targets, reports, strict=True):
        kept = json.loads((folder / target.folder / "gate.json").read_text())
        assert kept["passed"] is True
        assert kept["rows"] == len(made.held_out)
        assert report.agreement == (None if name == "number" else pytest.approx(1.0))
        assert read_sketch(folder / target.folder).reference.rows == len(made.held_out)


def test_each_target_is_made_once():
    section = ExportSection(
        formats=("litert", "saved_model", "litert"), precisions=("float16", "dynamic_int8")
    )
    folders = [target.folder for target in export_targets(section)]
    assert folders == ["litert_float16", "litert_dynamic_int8", "saved_model"]


@BOTH
@pytest.mark.parametrize("name", ["text", "image"])
def test_shuffled_labels_are_refused(exported, name, target):
    made, folder, _ = exported[name]
    swapped = Task(made.task.spec, ClassTarget(made.task.labels[::-1]))
    report = gate(made, folder, target, task=swapped)
    assert not report.passed
    assert report.agreement == 0


@BOTH
@pytest.mark.parametrize("name", ["text", "image", "number"])
def test_weights_off_by_one_percent_are_refused(exported, name, target):
    made, folder, _ = exported[name]
    moved = keras.models.clone_model(made.model)
    rng = np.random.default_rng(0)
    weights = made.model.get_weights()
    moved.set_weights(
        [w + (0.01 * w.std() * rng.normal(size=w.shape)).astype(w.dtype) for w in weights]
    )
    assert not gate(made, folder, target, model=moved).passed


@BOTH
def test_another_normalisation_is_refused(exported, target):
    made, folder, _ = exported["image"]
    other = made.preprocessing.model_copy(update={"mean": (123.0, 117.0, 104.0)})
    assert not gate(made, folder, target, preprocessing=other).passed


@BOTH
@pytest.mark.parametrize("name", ["text", "number"])
def test_another_vocabulary_is_refused(exported, name, target):
    made, folder, _ = exported[name]
    words = made.preprocessing.vocabulary
    other = made.preprocessing.model_copy(update={"vocabulary": (*words[:5], *words[:4:-1])})
    report = gate(made, folder, target, preprocessing=other)
    assert not report.passed
    assert report.worst[0].origin.startswith("row ")
    assert report.worst[0].origin in str(report)


@BOTH
def test_another_target_scale_is_refused(exported, target):
    made, folder, _ = exported["number"]
    scale = made.task.target
    shifted = replace(scale, mean=(scale.mean[0] + scale.std[0] / 50,))
    other = replace(made.task, target=shifted)
    assert not gate(made, folder, target, task=other).passed


def test_outputs_that_are_not_numbers_are_refused(exported):
    made, folder, _ = exported["image"]
    broken = keras.models.clone_model(made.model)
    broken.set_weights([w * np.float32("nan") for w in made.model.get_weights()])
    report = gate(made, folder, SAVED_MODEL, model=broken)
    assert not report.passed
    assert json.dumps(report.to_json(), allow_nan=False)


def test_a_model_that_says_the_same_for_every_row_is_inconclusive(tmp_path):
    made = trained.text_classifier()
    flat = keras.models.clone_model(made.model)
    flat.set_weights([0 * w for w in made.model.get_weights()])
    (report,) = export(made.with_model(flat), tmp_path, ExportSection(formats=("saved_model",)))
    assert report.passed
    assert not report.conclusive
    assert "proves little" in str(report)


def test_what_is_refused_is_removed_and_the_rest_kept(tmp_path):
    made = trained.text_classifier()
    strict = GateSection(max_difference={"float16": 1e-12})
    section = ExportSection(formats=("litert",), precisions=("float16", "float32"), gate=strict)
    with pytest.raises(GateError) as caught:
        export(made, tmp_path, section)
    assert [path.name for path in tmp_path.iterdir()] == ["litert_float32"]
    assert "(float16): FAILED" in caught.value.message
    assert "row " in caught.value.message
    assert "--keep-failed" in caught.value.hint
    with pytest.raises(GateError):
        export(made, tmp_path, section, keep_failed=True)
    report = json.loads((tmp_path / "litert_float16" / "gate.json").read_text())
    assert report["passed"] is False
    assert load_artifact(tmp_path / "litert_float16").precision == "float16"


def test_rows_are_limited_and_needed(exported):
    made, folder, _ = exported["text"]
    assert gate(made, folder, SAVED_MODEL, GateSection(examples=5)).rows == 5
    with pytest.raises(ExportError, match="held-out"):
        gate(made, folder, SAVED_MODEL, held_out=made.held_out.take([]))


def test_a_mixed_precision_model_is_compared_in_float32(tmp_path):
    made = trained.text_classifier()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = tiny.tiny_text_backbone(layers=1, width=64)
        head = keras.layers.Dense(2, dtype="float32")(backbone.features.pooled)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed = keras.Model(backbone.model.input, head)
    mixed.set_weights(made.model.get_weights())
    reports = export(made.with_model(mixed), tmp_path)
    assert all(report.passed for report in reports)


@pytest.mark.parametrize("name", ["text", "image", "number"])
def test_artifacts_load_by_any_of_their_paths(exported, name):
    made, folder, _ = exported[name]
    for target in (SAVED_MODEL, LITERT):
        by_folder = load_artifact(folder / target.folder)
        by_file = load_artifact(folder / target.folder / target.file)
        assert by_folder.task == by_file.task == made.task
        assert by_folder.preprocessing == made.preprocessing
        few = made.held_out.inputs[:3]
        np.testing.assert_array_equal(by_folder.predict(few), by_file.predict(few))
        assert len(by_folder.predict([])) == 0


def test_images_may_be_paths_bytes_or_arrays(exported):
    from PIL import Image

    made, folder, _ = exported["image"]
    artifact = load_artifact(folder / "litert_float32")
    path = made.held_out.inputs[0]
    image = np.asarray(Image.open(path))
    found = artifact.predict([path, Path(path).read_bytes(), image])
    np.testing.assert_allclose(found[1:], found[:1].repeat(2, axis=0), atol=1e-5)


@BOTH
def test_a_broken_image_is_named(exported, target, tmp_path):
    made, folder, _ = exported["image"]
    artifact = load_artifact(folder / target.folder)
    (tmp_path / "half.jpg").write_bytes(Path(made.held_out.inputs[0]).read_bytes()[:400])
    for name in ("half.jpg", "gone.jpg"):
        with pytest.raises(DataError, match=name):
            artifact.predict([made.held_out.inputs[0], str(tmp_path / name)])


def test_what_is_not_an_artifact_is_named(exported, tmp_path):
    with pytest.raises(ExportError, match="is not an exported model"):
        load_artifact(tmp_path)
    (tmp_path / "model.tflite").write_bytes(b"")
    with pytest.raises(ExportError, match=r"contract\.json is missing"):
        load_artifact(tmp_path / "model.tflite")
    (tmp_path / "contract.json").write_text("{")
    write_sums(tmp_path)
    with pytest.raises(ExportError, match="damaged"):
        load_artifact(tmp_path / "model.tflite")


def test_loading_and_running_prints_nothing(exported, capfd):
    for made, folder, _ in exported.values():
        for target in (SAVED_MODEL, LITERT):
            load_artifact(folder / target.folder).predict(made.held_out.inputs[:1])
    assert capfd.readouterr() == ("", "")


def test_a_label_with_a_line_break_is_refused(tmp_path):
    made = trained.text_classifier()
    task = Task(TASKS["text-classification"], ClassTarget(("a\nb", "c")))
    with pytest.raises(ExportError, match="line break"):
        export(replace(made, task=task), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "folder_name"),
    [
        ("text", "saved_model"),
        ("image", "saved_model"),
        ("text", "litert_float32"),
        ("image", "litert_float32"),
        ("number", "litert_float32"),
    ],
)
def test_the_readmes_program_gives_the_golden_output(exported, name, folder_name):
    made, folder, _ = exported[name]
    folder = folder / folder_name
    golden = json.loads((folder / "golden.json").read_text())["examples"][0]
    readme = (folder / "README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    banned = ["keras", "tltool"] + (["tensorflow"] if "litert" in folder_name else [])
    guard = f"import sys\nfor name in {banned}: sys.modules[name] = None\n"
    command = [sys.executable, "-c", guard + program]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *label, number = done.stdout.split()
    assert label == ([golden["label"]] if made.task.labels else [])
    expected = max(golden["probabilities"]) if made.task.labels else golden["prediction"]
    assert float(number) == pytest.approx(expected, abs=1e-5)


def test_golden_examples_hold_input_and_expected_output(exported):
    made, folder, _ = exported["text"]
    golden = json.loads((folder / "saved_model" / "golden.json").read_text())
    assert len(golden["examples"]) == 3
    for row in golden["examples"]:
        assert row["input"] in made.held_out.inputs
        assert row["model_input"]["token_ids"][0] == 2
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert row["label"] == made.task.labels[int(np.argmax(row["probabilities"]))]
    image_folder = exported["image"][1] / "litert_float32"
    for row in json.loads((image_folder / "golden.json").read_text())["examples"]:
        assert (image_folder / row["input"]).is_file()
        assert row["model_input"]["shape"] == [32, 32, 3]
        assert len(row["model_input"]["pixels"][0]["values"]) == 3


def test_what_has_been_traced_says_the_reference():
    made = trained.text_classifier()
    parts = (made.model, made.held_out, made.task, made.preprocessing, DEFAULT)
    forward = Forward(made.model, made.preprocessing)
    forward(made.held_out)
    spec, traced = forward._traced
    reference = reference_of(*parts, forward)
    np.testing.assert_array_equal(reference.outputs, reference_of(*parts).outputs)
    assert forward._traced == (spec, traced)
    assert traced.experimental_get_tracing_count() == 1


def test_the_reference_of_a_mixed_model_is_in_float32_whatever_was_traced():
    made = trained.text_classifier()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = keras.layers.Activation("linear")(made.model.output)
    finally:
        keras.config.set_dtype_policy("float32")
    copied = keras.Model(made.model.input, half)
    parts = (copied, made.held_out, made.task, made.preprocessing, DEFAULT)
    forward = Forward(copied, made.preprocessing)
    given = reference_of(*parts, forward).outputs
    np.testing.assert_array_equal(given, reference_of(*parts).outputs)
    assert np.abs(given - made.task.outputs(forward(made.held_out))).max() > 0

"""`tltool quantize`: precisions beside each other, the choice, what is kept in the folder."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest
import trained
import yaml
from presets import write_image_preset
from tiny import write_images

from tltool.cli import app
from tltool.export.gate.report import ClassChange, GateReport, MetricChange
from tltool.export.gate.tolerance import TOLERANCES
from tltool.export.package import export_outcomes
from tltool.export.sweep import sweep as sweeping
from tltool.export.sweep.choice import Candidate, Sweep, none_within
from tltool.recipe.export_section import ExportSection, GateSection
from tltool.support.errors import ExportError


def report(precision, megabytes, drop=0.0, breaches=(), rows=1000):
    metric = MetricChange(
        "accuracy",
        0.9,
        0.9 - drop,
        (0.85, 0.95),
        drop,
        grace=1 / rows,
        classes=(ClassChange("ant", 500, 0.95, 0.9), ClassChange("bee", 500, 0.85, 0.8)),
    )
    return GateReport(
        artifact="model.tflite",
        precision=precision,
        size_bytes=int(megabytes * 1e6),
        rows=rows,
        max_difference=0.1,
        mean_difference=0.01,
        max_logit_difference=0.1,
        agreement=0.98,
        metric=metric,
        tolerance=TOLERANCES[precision],
        spread=1.0,
        breaches=tuple(breaches),
        worst=(),
    )


FULL = Candidate("float32", report("float32", 20), 8.0)
HALF = Candidate("float16", report("float16", 10, drop=0.002), 8.0)
QUARTER = Candidate("dynamic_int8", report("dynamic_int8", 5, drop=0.008), 3.0)
REFUSED = Candidate("int8", report("int8", 4, breaches=["accuracy falls by 0.2"]), 1.0)
BROKEN = Candidate("int8", error="it cannot run")


@pytest.mark.parametrize(
    "limits", [{"max_drop": float("nan")}, {"max_drop": -0.1}, {"max_latency_ms": float("nan")}]
)
def test_a_limit_that_is_none_is_refused(limits):
    with pytest.raises(ExportError, match="is no limit"):
        sweeping.Limits(**limits)


def sweep(*candidates, max_drop=0.01, max_latency_ms=None):
    return Sweep(candidates, max_drop, max_latency_ms, threads=1)


def test_the_smallest_that_passed_is_chosen():
    assert sweep(FULL, HALF, QUARTER, REFUSED).chosen is QUARTER
    assert sweep(FULL, HALF, QUARTER, BROKEN, max_drop=0.005).chosen is HALF
    assert sweep(FULL, HALF, max_drop=0.0005).chosen is FULL


def test_one_row_of_few_is_no_drop():
    few = Candidate("float16", report("float16", 10, drop=0.05, rows=20), 1.0)
    assert sweep(FULL, few).chosen is few
    two = Candidate("float16", report("float16", 10, drop=0.1, rows=20), 1.0)
    assert sweep(FULL, two).chosen is FULL


def test_what_is_too_slow_is_not_chosen():
    assert sweep(FULL, HALF, QUARTER, max_latency_ms=3).chosen is QUARTER
    none = sweep(FULL, HALF, REFUSED, max_latency_ms=3)
    assert none.chosen is None
    text = none_within(none)
    assert "at most 0.01 and at most 3 ms" in text
    assert "float16: drop 0.002, 8 ms" in text
    assert "int8: refused: accuracy falls by 0.2" in text


def test_the_table_has_a_row_for_each_also_for_those_refused():
    full, quarter, refused = sweep(FULL, QUARTER, REFUSED).rows()
    assert quarter["verdict"] == "chosen"
    assert full["verdict"] == "passed"
    assert refused["verdict"] == "refused: accuracy falls by 0.2"
    # The class with the lowest recall, and by how much it changed.
    assert quarter["worst class"] == "bee 0.80 (-0.05)"
    assert (quarter["size"], quarter["ms"]) == ("5 MB", "3")
    assert sweep(BROKEN).rows()[0]["verdict"] == "refused: it cannot run"


def test_the_fall_of_the_accuracy_is_the_commands_unless_the_recipe_sets_it():
    section = ExportSection(gate=GateSection(max_metric_drop={"int8": 0.2}))
    gate = sweeping._all_precisions(section, 0.05).gate
    assert gate.max_metric_drop == {"float16": 0.05, "dynamic_int8": 0.05, "int8": 0.2}


def test_an_export_that_cannot_be_made_does_not_hide_the_others(tmp_path):
    text = trained.text_classifier()
    section = ExportSection(formats=("litert",), precisions=("int8", "float32"))
    found = export_outcomes(*text.parts(), text.held_out, tmp_path, section=section)
    first, second = found.values()
    assert isinstance(first, ExportError)
    assert "needs training rows" in first.message
    assert second.passed


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    write_images(folder / "images", per_class=24)
    values = {
        "task": "image-classification",
        "name": "colours",
        "data": {
            "train": str(folder / "images"),
            "validation_fraction": 0.2,
            "test_fraction": 0.3,
        },
        "backbone": str(write_image_preset(folder / "preset")),
        "schedule": [{"train": "head", "epochs": 12, "learning_rate": 0.02}],
        "training": {"batch_size": 8},
        "export": {"formats": []},
        "output_dir": str(folder / "runs"),
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def command(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = app.run([str(a) for a in arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.slow
def test_the_command_makes_all_keeps_what_passed_and_says_which(recipe):
    folder = recipe.parent / "runs" / "colours" / "1"
    assert command("finetune", recipe)[0] == 0
    code, out, err = command("quantize", folder)
    assert (code, err) == (0, "")
    found = json.loads((folder / "quantize.json").read_text())
    chosen = found["chosen"]
    assert f"chosen: {chosen}, the smallest within a drop of 0.01" in out
    passed = {row["precision"]: row for row in found["precisions"] if row["passed"]}
    assert {"float32", "float16", "dynamic_int8", chosen} <= set(passed)
    assert min(passed.values(), key=lambda row: row["size_bytes"])["precision"] == chosen
    assert all(row["latency_ms"] > 0 for row in passed.values())
    kept = {path.name for path in (folder / "exports").iterdir()}
    assert kept == {f"litert_{precision}" for precision in passed}
    for name in kept:
        assert (folder / "exports" / name / "README.md").is_file()
    assert (folder / "quantize.png").read_bytes().startswith(b"\x89PNG")
    listed = json.loads((folder / "run.json").read_text())["files"]
    assert {"quantize.json", "quantize.png"} <= set(listed)
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []
    check_limits_that_nothing_meets(folder)


def check_limits_that_nothing_meets(folder):
    code, out, err = command("quantize", folder, "--max-latency", "0.000001")
    assert code == 2
    assert "No precision is within the limits" in err
    assert "float32" in out
    assert json.loads((folder / "quantize.json").read_text())["chosen"] is None

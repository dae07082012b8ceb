"""A gate report as text, as a page, as JSON and as a row of a table; no model is run."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from tltool.export.formats.kept_float import KeptFloat
from tltool.export.gate.report import ClassChange, GateReport, MetricChange, WorstRow, gate_rows
from tltool.export.gate.tolerance import TOLERANCES

METRIC = MetricChange(
    name="accuracy",
    model=0.9,
    artifact=0.85,
    interval=(0.8, 0.888),
    drop=0.05,
    classes=(ClassChange("a|b", 20, 0.9, 0.8), ClassChange("c", 30, 1.0, 1.0)),
)
REPORT = GateReport(
    artifact="model.tflite",
    precision="int8",
    size_bytes=2_500_000,
    rows=50,
    max_difference=0.123,
    mean_difference=0.0123,
    max_logit_difference=0.5,
    agreement=0.96,
    metric=METRIC,
    tolerance=TOLERANCES["int8"],
    spread=0.9,
    breaches=(),
    worst=(WorstRow("cats.csv:7", 0.123, "a 0.9", "c 0.6"),),
    kept_float=KeptFloat({"MEAN": 2}, ()),
    same="same top class",
    unit=" points",
)
REFUSED = replace(REPORT, breaches=("largest difference 0.6",))


def test_the_text_has_every_figure_beside_its_limit():
    assert str(REPORT).splitlines() == [
        "model.tflite (int8): passed on 50 rows",
        "  largest difference  0.12 points (allowed 0.5), mean 0.012",
        "  of the logits       0.5 of their range (not limited)",
        "  same top class      96.0% (at least 90.0%)",
        "  accuracy            0.85 [0.8, 0.888] (trained model 0.9)",
        "  most changed class  a|b: recall 0.80, trained model 0.90, 20 rows",
        "  kept in float       2 MEAN",
    ]


def test_what_there_is_not_has_no_line():
    bare = replace(
        REPORT,
        precision="float16",
        tolerance=TOLERANCES["float16"],
        max_logit_difference=None,
        agreement=None,
        metric=None,
        kept_float=None,
        unit="",
    )
    assert str(bare).splitlines() == [
        "model.tflite (float16): passed on 50 rows",
        "  largest difference  0.12 (allowed 0.03), mean 0.012",
    ]
    assert gate_rows(["litert"], [bare]) == [
        {"export": "litert", "size": "2.5 MB", "largest difference": "1.2e-01", "rows": 50,
         "check": "passed"},
    ]  # fmt: skip
    limited = replace(bare, max_logit_difference=0.01)
    assert "of the logits       0.01 of their range (allowed 0.02)" in str(limited)
    whole = replace(METRIC, interval=None, classes=(ClassChange("c", 30, 1.0, 1.0),))
    lines = str(replace(bare, metric=whole)).splitlines()
    assert lines[2:] == ["  accuracy            0.85 (trained model 0.9)"], "no class has changed"


def test_a_breach_is_told_with_the_rows_that_differ_most():
    assert REPORT.passed
    assert not REFUSED.passed
    lines = str(REFUSED).splitlines()
    assert lines[0] == "model.tflite (int8): FAILED on 50 rows"
    assert lines[-2:] == [
        "  breach: largest difference 0.6",
        "  cats.csv:7: c 0.6, the trained model says a 0.9",
    ]
    assert "- breach: largest difference 0.6" in REFUSED.to_markdown().splitlines()
    assert "breach" not in REPORT.to_markdown()


@pytest.mark.parametrize(("spread", "conclusive"), [(0.5, False), (0.51, True)])
def test_rows_that_hardly_differ_prove_little(spread, conclusive):
    report = replace(REPORT, spread=spread)
    assert report.conclusive == report.to_json()["conclusive"] == conclusive
    assert ("this proves little" in str(report)) == (not conclusive)


def test_the_page_has_the_figures_the_classes_and_the_worst_rows():
    lines = REPORT.to_markdown().splitlines()
    assert lines[0] == "# model.tflite: passed"
    assert REFUSED.to_markdown().startswith("# model.tflite: FAILED")
    assert "int8, 2.5 MB, compared with the trained model on 50 held-out rows." in lines
    assert "| same top class | 96.0% (at least 90.0%) |" in lines
    assert r"| a\|b | 20 | 0.900 | 0.800 |" in lines
    assert "| cats.csv:7 | 0.12 | a 0.9 | c 0.6 |" in lines
    numbers = replace(REPORT, metric=replace(METRIC, classes=())).to_markdown()
    assert "Recall" not in numbers
    assert "Recall" not in replace(REPORT, metric=None).to_markdown()


def test_json_has_null_for_what_is_no_number():
    broken = replace(
        REFUSED,
        max_difference=math.nan,
        mean_difference=-math.inf,
        metric=replace(METRIC, interval=(math.nan, 1.0)),
    )
    values = json.loads(json.dumps(broken.to_json(), allow_nan=False))
    assert values["max_difference"] is values["mean_difference"] is None
    assert values["metric"]["interval"] == [None, 1.0]
    assert values["metric"]["classes"][0]["label"] == "a|b"
    assert (values["passed"], values["rows"], values["agreement"]) == (False, 50, 0.96)


def test_a_table_of_exports_has_a_row_for_each():
    first, second = gate_rows(["one", "two"], [REPORT, REFUSED])
    assert first == {
        "export": "one",
        "size": "2.5 MB",
        "largest difference": "1.2e-01",
        "same top class": "96.0%",
        "accuracy": "0.85",
        "trained model": "0.9",
        "most changed class": "a|b 0.90 → 0.80",
        "rows": 50,
        "check": "passed",
    }
    assert (second["export"], second["check"]) == ("two", "FAILED")
    classless = replace(REPORT, metric=replace(METRIC, classes=()))
    assert "most changed class" not in gate_rows(["three"], [classless])[0]

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from tltool.data.examples import Examples
from tltool.evaluation.evaluate import (
    PredictionRows,
    evaluate_outputs,
    write_predictions,
)
from tltool.support.errors import DataError, EvaluationError
from tltool.support.words import excerpt
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

CLASSIFY = Task(TASKS["text-classification"], ClassTarget(("bad", "good")))
REGRESS = Task(TASKS["text-regression"], NumbersTarget(mean=(2.0,), std=(3.0,)))
NASTY = 'line one\nline "two", with; odd\rends\r\nand 猫 🐈 = é'


def examples(inputs, targets, modality="text"):
    count = len(inputs)
    origins = [f"reviews.csv:{i + 2}" for i in range(count)]
    return Examples(modality, list(inputs), list(targets), ["test"] * count, origins)


def test_the_most_confident_mistakes_come_first():
    data = examples(["one", "two", "three", "four"], ["good", "good", "bad", "bad"])
    outputs = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.99, 0.01]], np.float32)
    found = evaluate_outputs(outputs, data, CLASSIFY)
    assert found.metrics["accuracy"] == 0.25
    assert [m.origin for m in found.mistakes] == ["reviews.csv:3", "reviews.csv:4", "reviews.csv:2"]
    worst = found.mistakes[0]
    assert (worst.true, worst.predicted, worst.confidence) == ("good", "bad", 0.9)
    assert len(evaluate_outputs(outputs, data, CLASSIFY, mistakes=1).mistakes) == 1
    assert evaluate_outputs(outputs, data, CLASSIFY, mistakes=0).mistakes == ()


def test_the_largest_errors_of_a_regression():
    data = examples("abc", [1.0, 2, 3.0])
    found = evaluate_outputs(np.array([[1.0], [5.0], [2.5]], np.float32), data, REGRESS)
    assert found.metrics["mae"] == pytest.approx(3.5 / 3)
    assert [(m.true, m.predicted, m.confidence) for m in found.mistakes] == [
        (2, 5.0, None),
        (3.0, 2.5, None),
    ]


def test_a_row_without_label_or_with_an_unknown_one_is_named():
    outputs = np.array([[0.6, 0.4], [0.9, 0.1]])
    with pytest.raises(DataError, match=r"reviews\.csv:3: there is no label"):
        evaluate_outputs(outputs, examples("ab", ["good", None]), CLASSIFY)
    with pytest.raises(DataError, match=r"reviews\.csv:2.*'goood'") as caught:
        evaluate_outputs(outputs, examples("ab", ["goood", "bad"]), CLASSIFY)
    assert caught.value.hint == "did you mean `good`?"
    with pytest.raises(DataError, match=r"reviews\.csv:2.*number"):
        evaluate_outputs(np.zeros((1, 1)), examples("a", ["high"]), REGRESS)


def test_excerpts_are_one_harmless_line():
    assert excerpt("a\n\tb  c\u2028d") == "a b c d"
    assert excerpt("red \x1b[31m alert") == "red \ufffd[31m alert"
    assert excerpt("abc\u202efdp.exe") == "abc\ufffdfdp.exe"
    assert excerpt("bad \udc80 name") == "bad \ufffd name"
    long = excerpt("word " * 100_000)
    assert len(long) <= 120
    assert long.endswith("word…")
    assert excerpt(np.zeros((40, 48, 3), np.uint8)) == "image of 48 x 40 px"


def test_predictions_hold_everything_even_without_labels():
    data = examples(["x", "y"], [None, "good"])
    rows = PredictionRows(np.array([[0.25, 0.75], [0.9, 0.1]], np.float32), data, CLASSIFY)
    assert rows[0] == {
        "origin": "reviews.csv:2",
        "input": "x",
        "target": None,
        "prediction": "good",
        "confidence": 0.75,
        "probabilities": {"bad": 0.25, "good": 0.75},
    }
    assert rows[1]["probabilities"] == {"bad": 0.9, "good": 0.1}  # no float32 digits
    (number,) = PredictionRows(np.array([2.5]), examples("x", [None]), REGRESS)
    assert number == {"origin": "reviews.csv:2", "input": "x", "target": None, "prediction": 2.5}


def test_outputs_that_do_not_fit_are_refused():
    with pytest.raises(EvaluationError, match=r"shape \(1, 2\)"):
        PredictionRows(np.zeros((2, 2)), examples("x", [None]), CLASSIFY)
    with pytest.raises(EvaluationError, match=r"shape \(1, 2\)"):
        PredictionRows(np.zeros((1, 3)), examples("x", [None]), CLASSIFY)
    with pytest.raises(EvaluationError, match=r"1 of 2 rows.*reviews\.csv:3"):
        PredictionRows(np.array([1.0, np.nan]), examples("xy", [None, None]), REGRESS)


def test_csv_gives_back_odd_texts(tmp_path):
    # A lone "\r" is quoted just where it is part of the writer's line end.
    texts = [NASTY, "lone\rreturn", "", "=1+1", 'quote " in it']
    rows = PredictionRows(np.tile([[0.25, 0.75]], (5, 1)), examples(texts, [None] * 5), CLASSIFY)
    path = tmp_path / "out" / "predictions.csv"
    write_predictions(rows, path)
    with path.open(encoding="utf-8", newline="") as file:
        back = list(csv.DictReader(file))
    assert [row["input"] for row in back] == texts
    assert back[0]["probability_good"] == "0.75"
    assert back[0]["target"] == ""
    assert [p.name for p in path.parent.iterdir()] == ["predictions.csv"]


def test_jsonl_gives_back_odd_texts(tmp_path):
    rows = PredictionRows(
        np.array([[0.25, 0.75]] * 2), examples([NASTY, "x\u2028y"], [None, "bad"]), CLASSIFY
    )
    path = tmp_path / "predictions.JSONL"
    write_predictions(rows, path)
    lines = path.read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == list(rows)
    assert "猫".encode() in lines[0]


def test_file_names_that_are_not_unicode_are_written(tmp_path):
    rows = PredictionRows(np.array([1.0]), examples(["photo\udcff.jpg"], [None]), REGRESS)
    for name in ("p.csv", "p.jsonl"):
        write_predictions(rows, tmp_path / name)
    assert json.loads((tmp_path / "p.jsonl").read_text("utf-8"))["input"] == "photo\udcff.jpg"
    assert r"photo\udcff.jpg" in (tmp_path / "p.csv").read_text("utf-8")


def test_another_suffix_is_refused_and_failures_leave_the_old_file(tmp_path):
    with pytest.raises(EvaluationError, match=r"\.xlsx"):
        write_predictions([], tmp_path / "p.xlsx")
    path = tmp_path / "p.jsonl"
    path.write_text("old")
    with pytest.raises(ValueError, match="JSON"):
        write_predictions([{"prediction": float("nan")}], path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]


def test_no_rows_leave_a_header(tmp_path):
    write_predictions([], tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "origin,input,target,prediction\n"


SETS = Task(TASKS["image-multi-label"], ClassSetTarget(("a|b", "fog", "sea"), (0.5, 0.25, 0.5)))
NUMBERS = Task(TASKS["text-regression"], NumbersTarget(("kg", "cm"), (0.0, 0.0), (1.0, 100.0)))


def cells_of(rows, path):
    write_predictions(rows, path)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_several_labels_are_evaluated_and_written(tmp_path):
    data = examples("wxyz", [("sea",), ("fog", "sea"), (), None])
    outputs = np.array([[0.1, 0.3, 0.9], [0.9, 0.1, 0.2], [0, 0, 0], [0, 0.25, 0.5]], np.float32)
    found = evaluate_outputs(outputs[:3], data.take([0, 1, 2]), SETS)
    assert found.metrics["exact_match"] == pytest.approx(1 / 3)
    assert [(m.true, m.predicted, m.confidence) for m in found.mistakes] == [
        (("fog", "sea"), ["a|b"], None),  # three wrong labels before one
        (("sea",), ["fog", "sea"], None),
    ]
    rows = PredictionRows(outputs, data, SETS)
    assert rows[0] == {
        "origin": "reviews.csv:2",
        "input": "w",
        "target": ["sea"],
        "prediction": ["fog", "sea"],
        "probabilities": {"a|b": 0.1, "fog": 0.3, "sea": 0.9},
    }
    assert (rows[2]["target"], rows[2]["prediction"], rows[3]["target"]) == ([], [], None)
    cells = cells_of(rows, tmp_path / "p.csv")
    assert [row["prediction"] for row in cells] == ["fog|sea", '["a|b"]', "", "fog|sea"]
    assert [row["target"] for row in cells] == ["sea", "fog|sea", "", ""]
    assert cells[1]["probability_a|b"] == "0.9"
    write_predictions(rows, tmp_path / "p.jsonl")
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(rows)
    with pytest.raises(DataError, match=r"reviews\.csv:5: there is no label"):
        evaluate_outputs(outputs, data, SETS)


def test_several_numbers_are_evaluated_and_written(tmp_path):
    data = examples("xy", [(1.0, 100.0), (2.0, 50.0)])
    outputs = np.array([[1.25, 110.0], [2.5, 50.0]])
    found = evaluate_outputs(outputs, data, NUMBERS)
    assert [row["mae"] for row in found.metrics["per_number"]] == [0.375, 5.0]
    assert [(m.true, m.predicted) for m in found.mistakes] == [
        ((2.0, 50.0), {"kg": 2.5, "cm": 50.0}),
        ((1.0, 100.0), {"kg": 1.25, "cm": 110.0}),
    ]
    rows = PredictionRows(outputs, data, NUMBERS)
    assert rows[0]["target"] == {"kg": 1.0, "cm": 100.0}
    assert rows[0]["prediction"] == {"kg": 1.25, "cm": 110.0}
    (first, _) = cells_of(rows, tmp_path / "p.csv")
    assert list(first) == [
        "origin", "input", "target_kg", "target_cm", "prediction_kg", "prediction_cm",
    ]  # fmt: skip
    assert (first["target_cm"], first["prediction_cm"]) == ("100.0", "110.0")
    with pytest.raises(EvaluationError, match=r"shape \(2, 2\)"):
        PredictionRows(outputs[:, :1], data, NUMBERS)


def test_predictions_of_many_classes_hold_the_best_few(tmp_path):
    labels = tuple(f"class {number}" for number in range(1001))
    task = Task(TASKS["text-classification"], ClassTarget(labels))
    outputs = np.full((2, 1001), 0.5 / 1000, np.float32)
    outputs[[0, 1], [7, 400]] = 0.5
    data = examples(["one", "two"], ["class 7", None])
    rows = PredictionRows(task.target.kept(outputs, data.targets), data, task)
    assert rows[1]["best"][0] == {"label": "class 400", "probability": 0.5}
    assert (len(rows[1]["best"]), rows[1]["prediction"]) == (20, "class 400")
    assert list(PredictionRows(outputs, data, task))[1]["best"][0] == rows[1]["best"][0]
    cells = cells_of(rows, tmp_path / "p.csv")
    assert list(cells[0]) == ["origin", "input", "target", "prediction", "confidence", "best"]
    assert json.loads(cells[0]["best"])[0] == {"label": "class 7", "probability": 0.5}
    assert (cells[0]["confidence"], cells[0]["target"]) == ("0.5", "class 7")

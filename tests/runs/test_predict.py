"""What a user names becomes rows; predictions become lines."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tiny

from tltool.evaluation.evaluate import format_rows
from tltool.runs.predict import collect_inputs, prediction_rows
from tltool.support.errors import DataError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

LABELS = ("negative", "neutral", "positive")
TASK = Task(TASKS["text-classification"], ClassTarget(LABELS))


@pytest.fixture
def images(tmp_path):
    return tiny.write_images(tmp_path / "photos", per_class=2)


def test_a_plain_argument_is_a_text():
    found = collect_inputs(["what a film?", "so-so [really]"], "text")
    assert found.inputs == ["what a film?", "so-so [really]"]
    assert found.origins == ["argument 1", "argument 2"]
    assert found.targets == [None, None]


def test_a_text_longer_than_any_path_is_a_text():
    assert collect_inputs(["long " * 2000], "text").inputs == ["long " * 2000]


def test_a_txt_file_has_one_text_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("good film\n\nbad film\n")
    found = collect_inputs([str(tmp_path / "a.txt")], "text")
    assert found.inputs == ["good film", "bad film"]
    assert [origin[-4:] for origin in found.origins] == ["xt:1", "xt:3"]


def test_stdin_gives_texts_or_image_paths(images):
    assert collect_inputs(["-"], "text", stdin=["a\n", "\n", "b\n"]).origins == [
        "stdin:1",
        "stdin:3",
    ]
    path = str(images / "red" / "000.jpg")
    assert collect_inputs(["-"], "image", stdin=[path + "\n"]).inputs == [path]


def test_tables_are_read_by_column(tmp_path):
    (tmp_path / "a.csv").write_text("text;other\none;x\ntwo;y\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    found = collect_inputs([str(tmp_path / "*.[cj]s*")], "text")
    assert found.inputs == ["one", "two", "three"]
    assert found.origins[1] == f"{tmp_path / 'a.csv'}:3"
    other = collect_inputs([str(tmp_path / "a.csv")], "text", input_column="other")
    assert other.inputs == ["x", "y"]


def test_image_paths_in_a_table_are_relative_to_it(images):
    (images / "list.csv").write_text("image\nred/000.jpg\nblue/001.jpg\n")
    found = collect_inputs([str(images / "list.csv")], "image")
    assert found.inputs == [str(images / "red/000.jpg"), str(images / "blue/001.jpg")]


def test_folders_are_searched_with_their_subfolders(images):
    (images / "notes.md").write_text("not an image")
    (images / ".hidden.jpg").write_text("")
    found = collect_inputs([str(images)], "image")
    assert [path[len(str(images)) + 1 :] for path in found.inputs] == [
        "blue/000.jpg",
        "blue/001.jpg",
        "red/000.jpg",
        "red/001.jpg",
    ]


def test_a_folder_of_text_files_has_one_text_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo")
    assert collect_inputs([str(tmp_path)], "text").inputs == ["one\ntwo"]


def test_a_missing_file_is_named_with_the_closest(images):
    with pytest.raises(DataError, match=r"001\.jpgg does not exist") as caught:
        collect_inputs([str(images / "red" / "001.jpgg")], "image")
    assert "`001.jpg`" in caught.value.hint


def test_a_misspelt_table_is_not_taken_for_a_text(tmp_path):
    (tmp_path / "reviews.csv").write_text("text\na\n")
    with pytest.raises(DataError, match="does not exist") as caught:
        collect_inputs([str(tmp_path / "review.csv")], "text")
    assert "reviews.csv" in caught.value.hint


def test_all_broken_inputs_are_named(images):
    (images / "list.csv").write_text("image\nred/000.jpg\nred/gone.jpg\nred/x.doc\n")
    with pytest.raises(DataError) as caught:
        collect_inputs([str(images / "list.csv")], "image")
    assert "2 of the inputs" in caught.value.message
    assert "list.csv:3" in caught.value.message
    assert "list.csv:4" in caught.value.message


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_nothing_to_predict_is_an_error(arguments):
    with pytest.raises(DataError, match="nothing to predict"):
        collect_inputs(arguments, "text", stdin=[])


def rows(top=None):
    outputs = np.array([[0.2, 0.1, 0.7], [0.5, 0.3, 0.2]], "float32")
    return prediction_rows(outputs, collect_inputs(["yes, fine", "no"], "text"), TASK, top)


def test_rows_name_the_best_class_and_keep_the_top_ones():
    assert [row["prediction"] for row in rows()] == ["positive", "negative"]
    assert list(rows()[0]["probabilities"]) == list(LABELS)
    assert list(rows(top=2)[0]["probabilities"].items()) == [("positive", 0.7), ("negative", 0.2)]
    assert "target" not in rows()[0]


def test_rows_become_csv_that_reads_back():
    lines = list(format_rows(rows(top=1), "csv"))
    found = list(csv.DictReader(lines))
    assert [row["input"] for row in found] == ["yes, fine", "no"]
    assert found[0]["probability_positive"] == "0.7"
    assert found[0]["probability_negative"] == ""
    assert next(iter(format_rows([], "csv"))).startswith("origin,")


def test_rows_become_json_lines():
    found = [json.loads(line) for line in format_rows(rows(), "jsonl")]
    assert found[1]["confidence"] == 0.5
    assert found[1]["probabilities"]["neutral"] == 0.3


def test_numbers_are_rows_too():
    task = Task(TASKS["text-regression"], NumbersTarget())
    found = prediction_rows(np.array([1.5], "float32"), collect_inputs(["a"], "text"), task)
    assert found == [{"origin": "argument 1", "input": "a", "prediction": 1.5}]

"""What a user names becomes rows; predictions become lines."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import stored
import tiny
from spreads import Pickled

from tltool.data.checks import doctor
from tltool.data.examples import Examples
from tltool.data.images.kept import kept_image
from tltool.data.images.preprocessor import decode_image
from tltool.data.reading.assemble import usable
from tltool.data.reading.folders import file_row
from tltool.data.reading.rows import Broken, Row, broken_file
from tltool.evaluation.evaluate import format_rows, prediction_columns, write_predictions
from tltool.recipe.recipe import DataSection
from tltool.runs.predict import Model, Predictions, _name_for, collect_inputs
from tltool.support.errors import DataError
from tltool.support.progress import PlainProgress
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

LABELS = ("negative", "neutral", "positive")
SPECS = {modality: TASKS[f"{modality}-classification"] for modality in ("text", "image")}
TASK = Task(TASKS["text-classification"], ClassTarget(LABELS))


@pytest.fixture
def images(tmp_path):
    return tiny.write_images(tmp_path / "photos", per_class=2)


def inputs_of(arguments, modality, stdin=b"", **fields):
    """(input, origin) of each row, and the reason in place of the input of broken ones."""
    spec = SPECS[modality]
    items = collect_inputs(list(map(str, arguments)), spec, DataSection(**fields), stdin=stdin)
    rows = []
    for item in items:
        row = file_row(item, modality, **fields) if isinstance(item, Path) else item
        row = usable(row, modality)
        rows.append((row.reason if isinstance(row, Broken) else row.input, row.origin))
    return rows


def values(*arguments, **fields):
    return [value for value, _ in inputs_of(*arguments, **fields)]


def test_a_plain_argument_is_a_text():
    assert inputs_of(["what a film?", "so-so [really]"], "text") == [
        ("what a film?", "argument 1"),
        ("so-so [really]", "argument 2"),
    ]


def test_a_text_longer_than_any_path_is_a_text():
    assert values(["long " * 2000], "text") == ["long " * 2000]


LINES = "good\x0cflight\u2028was\u0085nice\n\n \t\r\nbad\rcafé\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "mac_roman"])
def test_the_same_bytes_are_the_same_lines_in_a_file_and_on_stdin(tmp_path, encoding):
    text = LINES.replace("\u2028", "") if encoding in {"cp1252", "mac_roman"} else LINES
    text = text.replace("\u0085", "") if encoding in {"cp1252", "mac_roman"} else text
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    named = {"encoding": encoding} if encoding == "mac_roman" else {}
    found = inputs_of([path], "text", **named)
    first = text.partition("\n")[0]
    assert found == [(first, f"{path}:1"), ("bad", f"{path}:4"), ("café", f"{path}:5")]
    piped = inputs_of(["-"], "text", path.read_bytes(), **named)
    assert piped == [(value, at.replace(str(path), "stdin")) for value, at in found]


def test_stdin_gives_image_paths_too(images):
    path = images / "red" / "000.jpg"
    found = inputs_of(["-"], "image", f"{path}\n{path}x\n".encode())
    assert found[0] == (str(path), "stdin:1")
    assert "not an image format" in found[1][0]


def test_tables_are_read_by_the_sections_column_delimiter_and_encoding(tmp_path):
    (tmp_path / "a.csv").write_text("text;other\none;x\ntwo;y\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    found = inputs_of([tmp_path / "*.[cj]s*"], "text")
    assert [value for value, _ in found] == ["one", "two", "three"]
    assert found[1][1] == f"{tmp_path / 'a.csv'}:3"
    assert values([tmp_path / "a.csv"], "text", input_column="other") == ["x", "y"]
    (tmp_path / "c.csv").write_bytes("id^text\n1^плохо\n".encode("cp1251"))
    assert values([tmp_path / "c.csv"], "text", delimiter="^", encoding="cp1251") == ["плохо"]


def test_image_paths_in_a_table_are_relative_to_it(images):
    paths = ("red/000.jpg", " blue/001.jpg", "red/gone.jpg", "", "red/x.doc")
    (images / "list.csv").write_text("\n".join(("image", *paths)))
    found = inputs_of([images / "list.csv"], "image")
    assert [value for value, _ in found[:2]] == [
        str(images / "red/000.jpg"),
        str(images / "blue/001.jpg"),
    ]
    assert found[2] == (f"{images}/red/gone.jpg: there is no such file", f"{images}/list.csv:4")
    assert found[3][1] == f"{images}/list.csv:6"


def test_folders_are_searched_as_in_training(images, caplog):
    for name in ("notes.md", "red/.hidden.jpg", "red/@eaDir/000.jpg", "scan.HEIC", "blue/A.PNG"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_text("")
    (images / "green").symlink_to(images / "red")
    found = inputs_of([images], "image")
    assert [Path(origin).relative_to(images).as_posix() for _, origin in found] == [
        "scan.HEIC",
        *("blue/000.jpg", "blue/001.jpg", "blue/A.PNG"),
        *("red/000.jpg", "red/001.jpg"),
    ]
    assert "not a format tltool reads" in found[0][0]
    assert f"no images in {images}: 'notes.md'" in caplog.text
    assert "@eaDir (1 file)" in caplog.text
    assert ".hidden.jpg" in caplog.text


def test_masks_beside_pictures_are_no_inputs(tmp_path, caplog):
    names = ("images/a.png", "images/masks/b.png", "masks/a.png", "c.png", "test/img/d.png",
             "test/Labels/x/d.png", "annotations/e.png", "other/masks/f.png")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("")
    found = collect_inputs([str(tmp_path)], TASKS["image-segmentation"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "c.png", "images/a.png", "images/masks/b.png", "other/masks/f.png", "test/img/d.png",
    ]  # fmt: skip
    assert "they are labels" in caplog.text
    assert "'masks/a.png', 'test/Labels/x/d.png'" in caplog.text
    assert len(collect_inputs([str(tmp_path / "masks")], TASKS["image-segmentation"])) == 1
    assert len(collect_inputs([str(tmp_path)], SPECS["image"])) == len(names)


def test_a_folder_of_text_files_has_one_text_a_file(tmp_path):
    (tmp_path / "a.txt").write_bytes("плохо\ntwo".encode("cp1251"))
    (tmp_path / "b.txt").write_text("")
    assert values([tmp_path], "text", encoding="cp1251") == ["плохо\ntwo", "the text is empty"]
    (tmp_path / "none").mkdir()
    assert values([tmp_path / "none"], "text") == ["no files ending in .txt"]


def test_a_missing_file_is_named_with_the_closest(images):
    with pytest.raises(DataError, match=r"001\.jpgg does not exist") as caught:
        collect_inputs([str(images / "red" / "001.jpgg")], SPECS["image"])
    assert "`001.jpg`" in caught.value.hint


def test_all_missing_files_are_named(tmp_path):
    (tmp_path / "reviews.csv").write_text("text\na\n")
    arguments = [str(tmp_path / name) for name in ("review.csv", "reviews.csv", "gone.txt")]
    with pytest.raises(DataError) as caught:
        collect_inputs(arguments, SPECS["text"])
    assert "2 of the inputs cannot be used" in caught.value.message
    for name in ("review.csv", "gone.txt"):
        assert f"{tmp_path / name} does not exist." in caught.value.message
    assert "reviews.csv" in caught.value.hint


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_nothing_to_predict_is_an_error(arguments):
    with pytest.raises(DataError, match="nothing to predict"):
        collect_inputs(arguments, SPECS["text"], stdin=b"\n")


@pytest.mark.parametrize("modality", ["text", "image"])
def test_an_empty_argument_is_not_the_current_folder(modality, images, monkeypatch):
    monkeypatch.chdir(images)
    with pytest.raises(DataError, match="argument 2 is empty"):
        collect_inputs(["red", ""], SPECS[modality])


def predicted(items, task=TASK, **settings):
    """Predictions of a model that gives the same for every row, and the sizes of its batches."""
    batches = []

    def outputs(examples):
        batches.append(len(examples))
        return np.tile(np.array([0.2, 0.1, 0.7], "float32"), (len(examples), 1))

    return Predictions(items, outputs, task, **settings), batches


def texts(*given):
    return [Row(text, None, f"argument {n}") for n, text in enumerate(given, start=1)]


def test_rows_name_the_best_class_and_keep_the_top_ones():
    rows, _ = predicted(texts("yes, fine", "no"))
    found = list(rows)
    assert [row["prediction"] for row in found] == ["positive"] * 2
    assert list(found[0]["probabilities"]) == list(LABELS)
    assert "target" not in found[0]
    (row,) = predicted(texts("yes"), top=2)[0]
    assert list(row["probabilities"].items()) == [("positive", 0.7), ("negative", 0.2)]


def test_pictures_in_tables_and_archives_are_named_by_their_place(images):
    file = next(path for path in images.rglob("*") if path.is_file())
    kept = str(kept_image(file.read_bytes()))
    items = [Row(kept, None, "cats.parquet: row 3"), Row(str(file), None, "rows.csv:2")]
    rows, _ = predicted(items, Task(TASKS["image-classification"], ClassTarget(LABELS)))
    assert [row["input"] for row in rows] == ["cats.parquet: row 3", str(file)]
    assert str(broken_file("a.tar: 0001", kept, "damaged")) == "a.tar: 0001: damaged"


@pytest.mark.parametrize(
    ("origin", "value", "name"),
    [
        ("photos/cat.jpg", "photos/cat.jpg", "cat"),
        ("rows.csv:3", "photos/cat.jpg", "cat"),
        ("data/cats.parquet: row 3", "data/cats.parquet: row 3", "cats-row-3"),
        ("cats.tar: day/0001", "cats.tar: day/0001", "cats-day-0001"),
        ("rows.csv:3", "rows.csv:3", "rows-3"),
    ],
)
def test_files_of_predictions_are_named_as_their_inputs(origin, value, name):
    assert _name_for(origin, value) == name


def test_broken_inputs_keep_their_place_and_say_why():
    items = [*texts("a"), Broken("t.csv:3", "3 fields"), *texts(" "), *texts("b")]
    rows, batches = predicted(items)
    found = list(rows)
    assert [row["prediction"] for row in found] == ["positive", None, None, "positive"]
    assert [row.get("error") for row in found] == [None, "3 fields", "the text is empty", None]
    assert (rows.predicted, len(rows.broken), batches) == (2, 2, [2])
    lines = list(csv.DictReader(format_rows(found, "csv", prediction_columns(TASK))))
    assert [line["error"] for line in lines] == ["", "3 fields", "the text is empty", ""]
    assert [line["probability_positive"] for line in lines] == ["0.7", "", "", "0.7"]


def test_stopping_at_a_broken_input_names_the_others_too(monkeypatch):
    monkeypatch.setattr("tltool.runs.predict.BATCH_ROWS", 2)
    items = [*texts("a", "b", "c"), Broken("x", "odd"), *texts("d", "e", "f"), Broken("y", "odd")]
    rows, batches = predicted(items, on_error="stop")
    given = []
    with pytest.raises(DataError, match="2 of the inputs cannot be used:\n  x: odd\n  y: odd"):
        given.extend(rows)
    assert (len(given), batches) == (2, [2])


def test_inputs_are_read_when_their_turn_comes(monkeypatch, tmp_path):
    monkeypatch.setattr("tltool.runs.predict.BATCH_ROWS", 2)
    for name in "abcde":
        (tmp_path / f"{name}.txt").write_text(name)
    told = io.StringIO()
    items = collect_inputs([str(tmp_path)], SPECS["text"])
    rows, batches = predicted(items, progress=PlainProgress(told))
    each = iter(rows)
    assert [next(each)["input"] for _ in range(2)] == ["a", "b"]
    assert batches == [2]
    (tmp_path / "e.txt").unlink()
    assert [row["input"] for row in each] == ["c", "d", None]
    assert "e.txt: cannot be read" in str(rows.broken[0])
    first, last = told.getvalue().splitlines()
    assert first == "Predicting: 2 of 5"
    assert last.startswith("Predicting: 5 of 5  ")


def looked_at(monkeypatch, images, **settings):
    """Predictions of a model that decodes pictures, the sizes of its batches, and the files that
    were decoded beside it."""
    checked, batches = [], []
    problem = doctor.image_problem

    def noted(path, decode):
        checked.append(path.name)
        return problem(path, decode)

    def outputs(examples):
        batches.append(len(examples))
        for path in examples.inputs:
            decode_image(Path(path).read_bytes())
        return np.tile(np.array([0.2, 0.1, 0.7], "float32"), (len(examples), 1))

    monkeypatch.setattr(doctor, "image_problem", noted)
    task = Task(TASKS["image-classification"], TASK.target)
    items = collect_inputs([str(images)], SPECS["image"])
    return Predictions(items, outputs, task, **settings), batches, checked


def test_pictures_are_looked_at_by_themselves_where_the_model_cannot_read_all(monkeypatch, images):
    rows, batches, checked = looked_at(monkeypatch, images)
    assert not any("error" in row for row in rows)
    assert (batches, checked) == ([4], [])
    (images / "red" / "001.jpg").write_bytes(b"no picture")
    rows, batches, checked = looked_at(monkeypatch, images)
    assert ["error" in row for row in rows] == [False, False, False, True]
    assert (batches, rows.predicted, len(checked)) == ([4, 3], 3, 4)
    assert str(rows.broken[0]).startswith(f"{images / 'red' / '001.jpg'}: not an image but")
    rows, batches, _ = looked_at(monkeypatch, images, on_error="stop")
    given = []
    with pytest.raises(DataError, match="1 of the inputs cannot be used"):
        given.extend(rows)
    assert (given, batches) == ([], [4])


def first_pixels(examples):
    """A model that can be sent elsewhere."""
    return np.stack([decode_image(Path(path).read_bytes()).numpy()[0, 0] / 255.0
                     for path in examples.inputs]).astype("float32")  # fmt: skip


def test_predictions_of_others_are_the_same_broken_pictures_among_them(monkeypatch, images):
    monkeypatch.setattr("tltool.runs.predict.BATCH_ROWS", 3)
    (images / "red" / "001.jpg").write_bytes(b"no picture")
    task = Task(TASKS["image-classification"], TASK.target)
    items = collect_inputs([str(images)], SPECS["image"])
    here, there = (Predictions(items, first_pixels, task, spread=one) for one in (None, Pickled()))
    assert list(here) == list(there)
    assert here.broken == there.broken != []


def test_a_picture_that_others_cannot_reach_is_not_called_broken(monkeypatch, images, tmp_path):
    monkeypatch.chdir(images)
    (tmp_path / "elsewhere").mkdir()
    task = Task(TASKS["image-classification"], TASK.target)
    items = collect_inputs(["red"], SPECS["image"])
    rows = Predictions(items, first_pixels, task, spread=Pickled(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"red/000.jpg: .* here it can be used") as error:
        list(rows)
    assert "each machine" in error.value.hint


def test_a_model_is_sent_by_its_path(tmp_path):
    folder = stored.write_run(tmp_path)
    model = Model(folder.path)
    sent = pickle.dumps(model)
    assert len(sent) < 1000
    given = examples_of(["good film", "bad"])
    np.testing.assert_array_equal(pickle.loads(sent)(given), model(given))


def examples_of(inputs):
    unknown = [None] * len(inputs)
    return Examples("text", inputs, unknown, unknown, inputs)


def test_what_is_wrong_with_a_model_is_not_blamed_on_pictures(monkeypatch, images):
    def broken(examples):
        raise ValueError("a weight is missing")

    task = Task(TASKS["image-classification"], TASK.target)
    rows = Predictions(collect_inputs([str(images)], SPECS["image"]), broken, task)
    with pytest.raises(ValueError, match="a weight is missing"):
        list(rows)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "p.csv"
    rows, _ = predicted([*texts("a"), Broken("x", "odd")], on_error="stop")
    with pytest.raises(DataError):
        write_predictions(rows, path, prediction_columns(TASK))
    assert list(tmp_path.iterdir()) == []


def test_rows_become_csv_that_reads_back():
    rows, _ = predicted(texts("yes, fine", "no"), top=1)
    lines = list(format_rows(rows, "csv", prediction_columns(TASK)))
    found = list(csv.DictReader(lines))
    assert [row["input"] for row in found] == ["yes, fine", "no"]
    assert found[0]["probability_positive"] == "0.7"
    assert found[0]["probability_negative"] == ""
    assert next(iter(format_rows([], "csv"))).startswith("origin,")


def test_rows_become_json_lines():
    rows, _ = predicted([*texts("a"), Broken("x", "odd")])
    first, second = map(json.loads, format_rows(rows, "jsonl"))
    assert first["probabilities"]["neutral"] == pytest.approx(0.1)
    assert "error" not in first
    assert second == {"origin": "x", "input": None, "prediction": None, "error": "odd"}


def test_numbers_are_rows_too():
    task = Task(TASKS["text-regression"], NumbersTarget())
    rows = Predictions(texts("a"), lambda examples: np.array([1.5], "float32"), task)
    assert list(rows) == [{"origin": "argument 1", "input": "a", "prediction": 1.5}]
    assert prediction_columns(task) == ["origin", "input", "prediction", "error"]


def test_no_column_of_a_row_is_dropped():
    with pytest.raises(ValueError, match="odd"):
        list(format_rows([{"origin": "a", "odd": 1}], "csv", prediction_columns(TASK)))

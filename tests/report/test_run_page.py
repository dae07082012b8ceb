"""The page of a run: the same facts as the summary, rows to look at, bounded, without a network."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_page import Outline
from test_report import summary

from tltool.data.examples import Examples
from tltool.evaluation.evaluate import evaluate_outputs
from tltool.evaluation.explaining.explanation import Explanation
from tltool.evaluation.explaining.words import Part
from tltool.evaluation.reliability import reliability
from tltool.report import rows as shown
from tltool.report import thumbnails
from tltool.report.charts import Mark, Series, line_chart, reliability_chart, scatter_chart
from tltool.report.rows import Rows
from tltool.report.run_page import Course, Seen, run_page
from tltool.report.thumbnails import Thumbnails
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

HISTORY = [
    {"phase": "1 head", "total_epoch": 1, "loss": 0.9, "val_loss": 0.8, "accuracy": 0.5},
    {"phase": "2 all", "total_epoch": 2, "loss": 0.4, "val_loss": 0.6, "accuracy": 0.75},
]


def pictures(folder, number=12, side=40) -> list[str]:
    rng = np.random.default_rng(0)
    for i in range(number):
        pixels = rng.integers(0, 255, (side, 2 * side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(number)]


def seen(target, task, outputs, targets, inputs) -> tuple[Seen, object]:
    modality = TASKS[task].modality
    origins = [x if modality == "image" else f"rows.csv:{i + 2}" for i, x in enumerate(inputs)]
    examples = Examples(modality, inputs, targets, ["test"] * len(inputs), origins)
    evaluation = evaluate_outputs(outputs, examples, Task(TASKS[task], target))
    truth = target.truth(targets)
    picture = target.picture(outputs, truth, evaluation.metrics)
    return Seen(Rows(examples, outputs, target, Thumbnails()), truth, picture), evaluation


def classes(labels, true, taken, sure=0.9):
    outputs = np.full((len(true), len(labels)), (1 - sure) / (len(labels) - 1))
    outputs[np.arange(len(true)), taken] = sure
    return outputs, [labels[number] for number in true]


def written(found, evaluation, task, more=(), **changes) -> str:
    about = replace(summary(), task=task, evaluation=evaluation, **changes)
    course = Course(HISTORY, HISTORY[1])
    about_it = {"recipe": {"name": "x"}, "versions": {"keras": "3"}}
    return run_page(about, found, course, **about_it, more=more)


@pytest.fixture
def animals(tmp_path) -> str:
    labels = ("cat", "dog", "<b>owl</b>")
    true, taken = [0, 1, 2] * 4, [0, 1, 2] * 3 + [1, 1, 1]
    outputs, targets = classes(labels, true, taken)
    found = seen(ClassTarget(labels), "image-classification", outputs, targets, pictures(tmp_path))
    return written(*found, "image-classification")


def test_it_says_what_the_summary_says(animals):
    outline = Outline(animals)
    text = " ".join(outline.texts)
    assert outline.open == []
    assert "83.3 % (95 % interval 55.2 % to 95.3 %" in text
    assert "Fine-tuned all-MiniLM-L6-v2 on 1,200 images of 3 classes" in text
    assert "LiteRT float32" in text
    assert "passed" in text
    assert "FAILED" in text
    assert "tltool predict runs/quickstart/1" in text
    assert "<b>owl</b>" not in animals
    titles = {attrs["id"] for attrs in outline.named("section")}
    assert titles == {"result", "training", "metrics", "confusions", "mistakes", "calibration",
                      "exports", "use", "limits", "details"}  # fmt: skip


def test_a_cell_of_the_matrix_opens_its_rows(animals):
    outline = Outline(animals)
    cells = {b["popovertarget"]: b["aria-label"] for b in outline.named("button") if b.get("class")}
    assert cells == {
        "cell-0-1": "1: cat taken for dog, 1 row",
        "cell-2-1": "1: <b>owl</b> taken for dog, 1 row",
    }
    box = animals[animals.index('id="cell-0-1"') :]
    assert 'alt="Picture of ' in box[: box.index("Close")]
    assert "9.png" in box[: box.index("Close")]


def test_mistakes_are_shown_with_the_map_of_their_answer(tmp_path):
    labels, heat = ("cat", "dog"), np.zeros((9, 18), np.float32)
    heat[8, 16] = 1
    files = pictures(tmp_path)
    outputs, targets = classes(labels, [0] * 12, [0] * 11 + [1])
    found, evaluation = seen(ClassTarget(labels), "image-classification", outputs, targets, files)
    why = Explanation("p", "dog", "dog", 0.9, "LayerCAM", picture=np.zeros((9, 18, 3), np.uint8),
                      map=heat)  # fmt: skip
    found = replace(found, explained={11: why})
    text = written(found, evaluation, "image-classification")
    alt = 'alt="Map of dog: what speaks for it is brightest at the bottom right"'
    assert text.count(alt) == 1
    assert text.index('id="mistakes"') < text.index(alt) < text.index('id="calibration"')
    assert "found by LayerCAM: what speaks for it is bright in the map" in text


def test_of_a_mistaken_text_the_words_that_weigh_are_marked():
    text_, outputs = "bad " + "film " * 99 + "good", np.array([[0.1, 0.9]])
    task, parts = "text-classification", [Part(0, 0, 4), Part(0, 4, 499), Part(0, 499, 503)]
    found, evaluation = seen(ClassTarget(("no", "yes")), task, outputs, ["no"], [text_])
    why = Explanation("p", "yes", "yes", 0.9, "words", text=text_, parts=tuple(parts),
                      weights=np.array([-1.0, 0.0, 2.0]))  # fmt: skip
    text = written(replace(found, explained={0: why}), evaluation, task)
    mistakes = text[text.index('id="mistakes"') : text.index('id="calibration"')]
    assert "film" not in mistakes
    assert '">bad</mark> … <mark class="for5" title="+2.000">good</mark>' in mistakes
    assert "Why yes: for it “good”; against it “bad”" in mistakes
    assert ".for5 {" in text


def test_nothing_is_fetched(animals):
    for attribute in re.findall(r'(?:src|href)="([^"]*)', animals):
        assert attribute.startswith(("data:image/", "#")), attribute
    assert "url(" not in animals
    assert "<script" not in animals


def test_pictures_are_small_and_few(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "MOST", 3)
    made = Thumbnails()
    files = pictures(tmp_path, 5, side=400)
    contents = [made.of(file) for file in files]
    assert [content is None for content in contents] == [False] * 3 + [True] * 2
    assert made.left_out == 2
    with Image.open(io.BytesIO(contents[0])) as image:
        assert (image.format, image.size) == ("JPEG", (128, 64))


def test_work_on_files_is_bounded_and_a_broken_one_is_left_out(tmp_path, monkeypatch):
    files = pictures(tmp_path, 3, side=100)
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 100 * 200 * 2)
    made = Thumbnails()
    assert [made.of(file) is None for file in files] == [False, False, True]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    assert Thumbnails().of(str(tmp_path / "broken.png")) is None


def test_what_all_pictures_cost_to_look_at_is_known_from_their_headers(tmp_path, monkeypatch):
    files = pictures(tmp_path, 4, side=100)
    assert thumbnails.affordable(files)
    monkeypatch.setattr(thumbnails, "MOST_PIXELS", 100 * 200)
    assert not thumbnails.affordable([*files, str(tmp_path / "absent.png"), *files])


def test_deep_grey_pictures_and_arrays_are_shown(tmp_path):
    Image.fromarray(np.full((20, 20), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    for value in (str(tmp_path / "deep.png"), np.full((20, 20), 0x80, np.uint8)):
        with Image.open(io.BytesIO(Thumbnails().of(value))) as image:
            assert abs(int(np.asarray(image).mean()) - 0x80) <= 1


def test_of_many_classes_the_pairs_are_listed():
    labels = tuple(f"intent {i}" for i in range(30))
    true = [i % 30 for i in range(120)]
    taken = [(t + 1) % 30 if i < 60 and t < 20 else t for i, t in enumerate(true)]
    outputs, targets = classes(labels, true, taken)
    texts = [f"text number {i}" for i in range(120)]
    task = "text-classification"
    text = written(*seen(ClassTarget(labels), task, outputs, targets, texts), task)
    assert "The 20 most frequent confusions of 20" in text
    assert 'aria-label="2: intent 3 taken for intent 4, 2 rows"' in text
    assert "“text number 3”" in text
    assert len(text) < 3_000_000


def test_a_cell_shows_some_rows_and_counts_the_others():
    labels = ("a", "b")
    outputs, targets = classes(labels, [0] * 20 + [1], [1] * 20 + [1])
    texts = [f"text {i}" for i in range(21)]
    task = "text-classification"
    text = written(*seen(ClassTarget(labels), task, outputs, targets, texts), task)
    assert f"{20 - shown.ROWS_IN_CELL} more are not shown." in text


def test_numbers_are_drawn_as_points_and_have_no_calibration():
    target = NumbersTarget(mean=(5.0,), std=(2.0,), names=("price",))
    truth = np.linspace(1, 9, 30)
    task = "text-regression"
    found, evaluation = seen(target, task, truth[:, None] + 0.5, truth.tolist(), ["t"] * 30)
    text = written(found, evaluation, task)
    assert 'aria-label="price: predicted over true values: 30 points."' in text
    assert 'id="calibration"' not in text


def test_several_labels_have_a_calibration_of_all_their_statements():
    target = ClassSetTarget(("x", "y"))
    outputs = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.7], [0.2, 0.4]])
    targets = [("x",), ("x",), ("y",), ()]
    text = written(
        *seen(target, "text-multi-label", outputs, targets, ["a", "b", "c", "d"]),
        "text-multi-label",
    )
    assert 'id="calibration"' in text
    assert "20.0 %: 0.0 %" in text  # two statements of 0.2, none true


def test_reliability_is_that_of_what_was_stated():
    stated = np.array([0.05, 0.95, 0.95, 0.95, 1.0])
    (low, high) = reliability(stated, np.array([False, True, True, False, True]))
    assert (low.count, low.came_true) == (1, 0.0)
    assert high.count == 4
    assert high.stated == pytest.approx(0.9625)
    assert high.came_true == 0.75
    assert high.interval[0] < 0.75 < high.interval[1]


# Charts ------------------------------------------------------------------------------------


def test_a_line_has_its_values_where_they_belong_and_gaps_where_there_are_none():
    series = Series("training", [1.0, 2.0, 3.0, 4.0], [1.0, None, 3.0, 2.0])
    chart = line_chart("Loss", [series], x_name="Epoch", marks=[Mark(3.0, "best")])
    (way,) = re.findall(r'class="one line" d="([^"]*)"', chart)
    points = [tuple(map(float, place.split())) for place in re.findall(r"[ML]([\d. ]+)", way)]
    assert way.count("M") == 2
    heights = [y for _, y in points]
    assert heights[1] < heights[2] < heights[0]  # up is less in SVG
    assert ">best</text>" in chart
    assert 'aria-label="Loss. training from 1 to 2."' in chart
    assert line_chart("Loss", [Series("x", [1.0], [None])], x_name="Epoch") == ""


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0, 5.0], [1e-9, 2e-9], [-3.0, 1e6]])
def test_any_range_can_be_drawn(values):
    chart = line_chart("x", [Series("one", [1.0, 2.0], values)], x_name="Epoch")
    numbers = re.findall(r'(?:cx|cy|x|y)="([-\d.]+)"', chart)
    assert all(0 <= float(number) <= 420 for number in numbers)


def test_a_point_of_a_reliability_chart_stands_where_it_was_stated():
    series = Series("true", [0.5], [0.5], [(0.25, 0.75)])
    chart = reliability_chart("Calibration", series)
    (low, high) = re.findall(r'class="one line" d="M[\d.]+ ([\d.]+)V([\d.]+)"', chart)[0]
    (middle,) = re.findall(r'cy="([\d.]+)"', chart)
    assert float(middle) == pytest.approx((float(low) + float(high)) / 2, abs=0.1)


def test_a_cloud_is_of_a_bounded_number_of_points():
    many = np.arange(5_000, dtype=float).tolist()
    chart = scatter_chart("x", Series("rows", many, many), x_name="True", diagonal=True)
    assert chart.count("h0") == 1_000

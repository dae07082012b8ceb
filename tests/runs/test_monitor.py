"""New data against the sketch in an export folder: alone, by every kind, on the command line."""

from __future__ import annotations

import csv
import json
import shutil

import exported
import numpy as np
import pytest
import tiny
import trained
from command import cli
from exported import litert_folder
from PIL import Image, ImageEnhance

from tltool.evaluation.drift.file import SKETCH_FILE
from tltool.evaluation.drift.inputs import facts_of, picture_facts
from tltool.evaluation.drift.rows import watched_rows
from tltool.evaluation.drift.sketch import Sketch
from tltool.evaluation.drift.verdict import judge
from tltool.export.artifact import load_artifact
from tltool.export.contract import Contract
from tltool.export.package import write_guide
from tltool.export.sidecars.sketch import sketch_facts, sketch_rows
from tltool.runs.monitor import monitor


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The LiteRT export of a model of blue and red pictures, alone, and new pictures like those."""
    place = tmp_path_factory.mktemp("pictures")
    made = trained.image_classifier(place / "data")
    return sketched(made, place / "export"), tiny.write_images(place / "new", per_class=30, seed=7)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The same of texts."""
    place = tmp_path_factory.mktemp("texts")
    made = trained.text_classifier()
    return sketched(made, place / "export")


def sketched(made, folder):
    """A LiteRT export folder with the sketch that the gate would leave in it."""
    litert_folder(made, folder)
    rows = made.held_out
    outputs = load_artifact(folder).predict_with_labels(rows.inputs)
    sketch_rows(folder, made.task.target, rows, sketch_facts(rows), outputs)
    contract = Contract.read(folder)
    write_guide(folder, contract, title="A model", example="golden/0.jpg")
    return folder


def table(path, texts, labels):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    return path


def darkened(folder, place):
    for file in folder.rglob("*.jpg"):
        copy = place / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        ImageEnhance.Brightness(Image.open(file)).enhance(0.6).save(copy)
    return place


def test_pictures_like_those_raise_no_alarm_and_darker_ones_do(pictures, tmp_path):
    export, new = pictures
    same = cli("monitor", export, new, "--fail-on", "drift", "--json")
    assert same.code == 0
    assert same.json()["drifted"] == []
    dark = cli("monitor", export, darkened(new, tmp_path / "dark"), "--fail-on", "inputs", "--json")
    assert dark.code == 1
    assert "inputs" in dark.json()["drifted"]
    found = {one["what"]: one for one in dark.json()["findings"]}
    assert found["brightness"]["drifted"]
    assert not found["width"]["drifted"]


def test_labels_show_that_answers_became_worse(texts, tmp_path):
    rows, labels = tiny.texts(120, seed=5)
    good = table(tmp_path / "good.csv", rows, labels)
    told = cli("monitor", texts, good, "--labelled", "--fail-on", "any", "--json")
    assert (told.code, told.json()["labelled"]) == (0, True)
    other = {"negative": "positive", "positive": "negative"}
    half = [other[label] if i % 4 < 2 else label for i, label in enumerate(labels)]
    bad = table(tmp_path / "bad.csv", rows, half)
    page = tmp_path / "page.html"
    told = cli("monitor", texts, bad, "--labelled", "--fail-on", "quality", "--html", page)
    assert told.code == 1
    assert "The answers have become worse: all rows (" in told.out
    assert "The inputs" not in told.out
    html = page.read_text()
    assert "The answers have become worse" in html
    assert "By parts of the inputs" in html
    # The same file without its labels: nothing differs.
    assert cli("monitor", texts, bad, "--fail-on", "drift").code == 0


def test_another_source_of_texts_is_found(texts, tmp_path):
    rows = ["i would like to know where the parcel is that was sent on monday"] * 10
    rows += [f"please tell me about order number {i} and when it comes" for i in range(30)]
    found = monitor(texts, table(tmp_path / "other.csv", rows, ["negative"] * 40))
    assert "inputs" in found.verdict.drifted


def test_what_cannot_be_read_is_left_out_and_named(pictures, tmp_path):
    export, new = pictures
    copy = shutil.copytree(new, tmp_path / "new")
    (copy / "red" / "000.jpg").write_bytes(b"no picture")
    found = monitor(export, copy)
    assert found.verdict.rows == 59
    (told,) = found.left_out
    assert "000.jpg" in told


def test_faults_of_the_user_are_told(pictures, texts, tmp_path):
    export, new = pictures
    few = cli("monitor", texts, table(tmp_path / "few.csv", ["good film"] * 3, ["positive"] * 3))
    assert few.code == 2
    assert "3 rows can be compared; 20 at least are needed" in few.err
    assert cli("monitor", tmp_path, new).code == 2
    refused = cli("monitor", export, new, "--fail-on", "quality")
    assert refused.code == 2
    assert "--labelled" in refused.err
    unknown = table(tmp_path / "unknown.csv", ["good film"] * 30, ["neutral"] * 30)
    told = cli("monitor", texts, unknown, "--labelled")
    assert told.code == 2
    assert "'neutral' is unknown" in told.err


def test_the_sketch_is_among_the_sums_and_in_the_readme(pictures):
    export, _ = pictures
    assert SKETCH_FILE in (export / "README.md").read_text()
    values = json.loads((export / SKETCH_FILE).read_text())
    assert values["rows"] == 20
    changed = shutil.copytree(export, export.parent / "changed")
    (changed / SKETCH_FILE).write_text("{}")
    told = cli("monitor", changed, export.parent / "new")
    assert told.code == 2
    assert f"{SKETCH_FILE}" in told.err


@pytest.mark.parametrize(
    ("target", "truth"),
    [
        (exported.TARGETS["labels"], np.zeros((40, 3), bool)),
        (exported.TARGETS["numbers"], np.full((40, 2), 3.0)),
        (exported.TARGETS["moment"], np.full(40, 1.7e9)),
        (exported.VECTORS, None),
    ],
)
def test_every_kind_is_watched(target, truth):
    raw = np.random.default_rng(0).standard_normal((40, target.num_outputs)).astype(np.float32)
    facts = facts_of(tiny.texts(40)[0], "text")
    rows = watched_rows(facts, np.asarray(target.outputs(raw)), target, truth)
    sketch = Sketch.of(rows)
    verdict = judge(sketch, sketch.layout.tally(rows))
    assert verdict.drifted == ()
    assert all(finding.p > 0.5 for finding in verdict.findings if finding.aspect != "quality")
    assert ("all rows" in {one.what for one in verdict.findings}) == (truth is not None)


def test_masks_and_tags_are_watched(tmp_path):
    masks = exported.MASKS.watched(np.random.default_rng(0).dirichlet([1, 2, 3], (5, 4, 6)))
    assert masks.vectors.shape == (5, 3)
    shares = np.array([masks.columns[f"share of {label}"] for label in exported.LABELS])
    np.testing.assert_allclose(shares.sum(0), 1)
    from tltool.tasks.tags.tagged import WordScores

    rows = np.empty(2, object)
    places = np.arange(3, dtype=np.int32)
    values = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], np.float32)
    rows[:] = [
        WordScores("a b c", places, places + 1, values),
        WordScores("", places[:0], places[:0], values[:0]),
    ]
    tags = exported.TAGS["word classes"].watched(rows)
    assert tags.columns["words tagged"].tolist() == pytest.approx([1 / 3, 0])
    assert tags.columns["confidence"].tolist() == pytest.approx([0.8, 1])
    assert tags.vectors.shape == (2, 2)


def test_facts_are_those_of_the_file_whatever_its_form(tmp_path):
    half = np.zeros((40, 60, 3), np.uint8)
    half[:, 30:] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    forms = [str(tmp_path / "half.png"), (tmp_path / "half.png").read_bytes(), half]
    facts, vectors = facts_of(forms, "image")
    assert facts["width"].tolist() == [60] * 3
    assert facts["height"].tolist() == [40] * 3
    np.testing.assert_allclose(facts["brightness"], 0.5)
    np.testing.assert_allclose(facts["contrast"], 0.5)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    grey, _ = facts_of([half[..., 0]], "image")
    assert grey["brightness"][0] == pytest.approx(0.5)
    assert picture_facts(half, (1, 2))["height"] == 2
    lengths, words = facts_of(["a bc", ("a", "b c d")], "text_pair")
    assert lengths["characters"].tolist() == [4, 7]
    assert lengths["words"].tolist() == [2, 4]
    assert words.shape == (2, 32)

"""An audit of tags: words that are tagged wrongly are found, shown, and mended by decisions."""

from __future__ import annotations

import csv
import json

import numpy as np
import presets
import pytest

from tltool.finetuning.audit.job import audit
from tltool.recipe.recipe import Recipe
from tltool.support.errors import DataError
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.tags.tagged import Tagged, WordScores
from tltool.tasks.values import BadValueError
from tltool.training.preparation import load_data

TAGS = {"film": "B-thing", "food": "B-meal"}
WRONG = (7, 31, 52, 80)


def write_rows(file, rows=100):
    """Words with tags that they always have, but for one word of each row in `WRONG`."""
    rng = np.random.default_rng(0)
    with file.open("w") as opened:
        for row in range(rows):
            words = list(rng.choice(["the", "good", "bad", "great", "film", "food"], 7))
            words[row % 7] = "film"
            tags = [TAGS.get(word, "O") for word in words]
            if row in WRONG:
                tags[row % 7] = "B-meal"
            opened.write(json.dumps({"tokens": words, "tags": tags}) + "\n")
    return file


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    return Recipe.of(
        task="token-classification",
        backbone=str(presets.write_text_preset(folder / "bert")),
        data={"train": str(write_rows(folder / "rows.jsonl"))},
        schedule="feature_extraction",
        output_dir=str(folder / "runs"),
    )


@pytest.fixture(scope="module")
def found(recipe):
    return audit(recipe, curve=False)


def row_of(examples, row):
    return int(examples.origins[row].rpartition(":")[2]) - 1


def test_words_that_are_tagged_wrongly_are_found_and_what_they_would_be(found):
    examples = found.evidence.examples
    labels = found.found.of_kind("label")
    assert sorted(row_of(examples, one.row) for one in labels) == [*WRONG]
    for one in labels:
        given = examples.targets[one.row]
        changed = [place for place, (a, b) in enumerate(zip(given.tags, one.suggested.tags,
                                                            strict=True)) if a != b]  # fmt: skip
        assert changed == [row_of(examples, one.row) % 7]
        assert one.suggested.tags[changed[0]] == "B-thing"
        assert one.suggested.starts == given.starts
    assert found.found.score.key == "f1"
    assert 0.9 < found.found.cost.as_it_is.value < 1
    told = "\n".join(found.found.lines())
    assert "not told: facts of rows that give labels away: labels are of words" in told
    assert "not told: which labels are wrong" not in told


def test_the_page_says_which_words_and_decisions_mend_them(found, recipe, tmp_path):
    found.write(tmp_path)
    page = (tmp_path / "audit.html").read_text()
    assert "film (thing)" in page
    with (tmp_path / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["decision"] = "relabel" if row["finding"] == "label" else ""
    with (tmp_path / "decided.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    mended, _ = load_data(recipe.with_overrides(f"data.decisions={tmp_path}/decided.csv"))
    for text, target in zip(mended.inputs, mended.targets, strict=True):
        words = [text[start:end] for start, end in zip(target.starts, target.ends, strict=True)]
        assert [TAGS.get(word, "O") for word in words] == list(target.tags)


def test_label_studio_is_refused(found, tmp_path):
    with pytest.raises(DataError, match="about words"):
        found.write(tmp_path, label_studio=True)


def test_a_row_is_worth_what_its_worst_word_is():
    target = TagsTarget(labels=("O", "B-x", "I-x"), shares=())
    tagged = [Tagged((0, 2), (1, 3), ("O", "B-x")), Tagged((0,), (1,), ("O",)), Tagged((), (), ())]
    rng = np.random.default_rng(0)
    sure = np.float32([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    unsure = np.float32([[0.3, 0.6, 0.1]])
    rows = [
        WordScores("a b", np.int32([0, 2]), np.int32([1, 3]), sure),
        WordScores("c", np.int32([0]), np.int32([1]), unsure),
        WordScores("", np.int32([]), np.int32([]), rng.random((0, 3)).astype(np.float32)),
    ]
    found = target.doubts(np.array(rows, object), target.truth(tagged))
    assert found.quality == pytest.approx([0.8, 0.3, 1.0])
    assert found.suspected.tolist() == [False, False, False]
    assert found.suggested[1].tags == ("B-x",)
    (overlap, *more) = target.overlaps(np.array(rows * 6, object), target.truth(tagged * 6))
    assert ({overlap.one, overlap.other}, overlap.confused, more) == ({"O", "x"}, 6, [])


def test_a_cell_has_the_words_and_their_tags():
    tagged = Tagged((0, 2), (1, 3), ("O", "B-é"))
    assert TagsTarget.of_cell(TagsTarget.cell(tagged)) == tagged
    assert TagsTarget.of_cell("[]") == Tagged((), (), ())
    with pytest.raises(BadValueError, match="no list of words"):
        TagsTarget.of_cell("film")

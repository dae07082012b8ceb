"""Two runs side by side: what the second gained and lost is told by row, with both answers."""

from __future__ import annotations

import numpy as np
import pytest
from test_page import Outline

from tltool.data.examples import Examples
from tltool.evaluation.paired import pair
from tltool.report import compare_page as pages
from tltool.report.compare_page import compare_page
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.pairs import ScoredPairTarget
from tltool.tasks.numbers import NumbersTarget

TWO = ClassTarget(("cat", "dog"))
FACTS = [{"run": "runs/a/1", "accuracy": "0.7"}, {"run": "runs/b/1", "accuracy": None}]


def examples(targets) -> Examples:
    count = len(targets)
    origins = [f"rows.csv:{i + 2}" for i in range(count)]
    return Examples("text", [f"text {i}" for i in range(count)], targets, ["test"] * count, origins)


def outputs(right):
    return np.where(np.asarray(right, bool)[:, None], [0.9, 0.1], [0.2, 0.8])


@pytest.fixture
def change():
    before = [True] * 20 + [False] * 12 + [True] * 2
    after = [True] * 20 + [True] * 12 + [False] * 2
    return pair(examples(["cat"] * 34), TWO, outputs(before), outputs(after))


def test_gained_and_lost_rows_are_those_on_which_one_alone_is_right(change):
    assert sorted(change.gained.tolist()) == list(range(20, 32))
    assert sorted(change.lost.tolist()) == [32, 33]
    assert change.comparison.gain == pytest.approx(10 / 34)
    told = change.to_json()
    assert told["rows"] == 34
    assert sorted(told["lost"]) == ["rows.csv:34", "rows.csv:35"]
    assert told["comparison"]["interval"][0] > 0


def test_of_numbers_the_largest_changes_come_first():
    target = NumbersTarget(mean=(0.0,), std=(1.0,))
    before, after = np.array([1.0, 5.0, 0.0, 2.0]), np.array([0.0, 0.0, 3.0, 2.0])
    found = pair(examples([0.0] * 4), target, before, after)
    assert found.gained.tolist() == [1, 0]
    assert found.lost.tolist() == [2]


def test_the_page_shows_both_answers_and_counts_what_it_leaves_out(change, monkeypatch):
    monkeypatch.setattr(pages, "SHOWN", 5)
    text = compare_page("runs/a/1", FACTS, {"runs/b/<1>": change})
    outline = Outline(text)
    assert outline.open == []
    words = " ".join(outline.texts)
    assert "runs/b/<1> against runs/a/1" in words
    assert "Accuracy 94.1 % against 64.7 % on 34 rows: better." in words
    assert "What it gained: 12 rows" in words
    assert "What it lost: 2 rows" in words
    assert "7 more are not shown." in words
    gained = text[text.index('id="gained-1"') : text.index('id="lost-1"')]
    assert gained.count("Before: dog (80.0 % sure)") == 5
    assert gained.count("Predicted: cat (90.0 % sure)") == 5


def test_the_same_model_gained_nothing():
    same = pair(examples(["cat"] * 4), TWO, outputs([1, 1, 0, 1]), outputs([1, 1, 0, 1]))
    text = compare_page("a", FACTS, {"b": same})
    assert text.count("No row.") == 2
    assert "no clear difference" in text


def test_rows_that_are_not_judged_alone_are_not_listed(monkeypatch):
    monkeypatch.setattr("tltool.evaluation.paired.compare", lambda *_: None)
    monkeypatch.setattr(ScoredPairTarget, "truth", lambda self, targets, origins=None: np.zeros(3))
    found = pair(examples([0.0] * 3), ScoredPairTarget(), np.ones((3, 2)), np.ones((3, 2)))
    assert (found.gained, found.lost) == (None, None)
    assert "undefined on these rows" in compare_page("a", FACTS, {"b": found})

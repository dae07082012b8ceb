"""On which rows the ways to train on a few examples are compared."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tltool.data.examples import Examples
from tltool.recipe.recipe import Recipe
from tltool.search import few_examples
from tltool.search.few_examples import _folds
from tltool.support.errors import DataError
from tltool.support.progress import Progress
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task


def folds(texts, labels, groups=()):
    origins = [f"item {row}" for row in range(len(texts))]
    rows = Examples("text", texts, labels, ["train"] * len(texts), origins, groups=groups)
    target = ClassTarget.fit(labels)
    return _folds(target, rows, target.truth(labels), 0)


def test_equal_texts_stay_in_one_fold():
    texts = [f"text {row // 2}" for row in range(24)]
    parts = folds(texts, ["a"] * 12 + ["b"] * 12)
    assert len(parts) == 3
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(24))
    for fitted, held in parts:
        assert not {texts[row] for row in fitted} & {texts[row] for row in held}
        assert {*fitted} & {*range(12)}
        assert {*fitted} & {*range(12, 24)}


def test_texts_that_differ_have_the_folds_of_their_classes():
    parts = folds([f"text {row}" for row in range(12)], ["a", "b"] * 6)
    assert [sum(row % 2 for row in held) for _, held in parts] == [2, 2, 2]


def test_one_text_again_and_again_makes_no_folds():
    with pytest.raises(DataError, match="two different training rows of each class"):
        folds(["one"] * 4 + [f"text {row}" for row in range(4)], ["a"] * 4 + ["b"] * 4)


def test_pairs_of_texts_are_tried_at_the_rates_of_texts(monkeypatch):
    tried = []
    monkeypatch.setattr(few_examples, "_score", lambda recipe, *_: tried.append(recipe) or 0.5)
    name, labels = "text-pair-classification", ["a", "b"] * 6
    recipe = Recipe.of(task=name, data={"train": "x.csv"}, backbone="b", schedule="few_examples")
    texts = [f"text {row}" for row in range(12)]
    rows = Examples("text", texts, labels, ["train"] * 12, texts)
    prepared = SimpleNamespace(
        task=Task(TASKS[name], ClassTarget.fit(labels)),
        examples=rows,
        backbone=SimpleNamespace(model=SimpleNamespace(variables=[])),
    )
    few_examples.choose_schedule(recipe, prepared, Progress())
    rates = {
        phase.learning_rate for recipe in tried for phase in recipe.schedule if phase.epochs > 1
    }
    assert rates == {5e-5}

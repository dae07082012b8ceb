"""Sets of classes for an answer: their rate, their size, and what a run says of them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from presets import write_text_preset, write_texts

from tltool.cli.app import run as command
from tltool.finetuning.job import finetune
from tltool.recipe.recipe import Recipe
from tltool.report.summary import to_markdown
from tltool.runs.run import load_run
from tltool.support.errors import RecipeError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.prediction_sets import PredictionSets, least_rows
from tltool.tasks.unknown.kind import knowing
from tltool.tasks.unknown.settings import Unknown

CLASSES = ClassTarget(tuple("abcd"))


def drawn(rows, seed):
    """Probabilities of noisy logits, and the true classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=rows)
    logits = rng.normal(size=(rows, 4)) + 1.5 * np.eye(4)[truth]
    return np.float32(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)), truth


@pytest.mark.parametrize("coverage", [0.85, 0.9, 0.95])
def test_the_right_class_is_in_the_set_at_the_stated_rate(coverage):
    """On average over draws of the rows that it is chosen on; at most 1 / (n + 1) above."""
    test, truth = drawn(20_000, 0)
    likely = test[np.arange(len(truth)), truth]
    found = [
        CLASSES.with_sets(coverage, *drawn(100, seed)).sets.metrics(test, likely)
        for seed in range(1, 301)
    ]
    rates = [sets["found_coverage"] for sets in found]
    error = np.std(rates) / np.sqrt(len(rates))
    assert coverage - 3 * error < np.mean(rates) < coverage + 1 / 101 + 3 * error + 0.005
    assert 1 < np.mean([sets["mean_size"] for sets in found]) < 4


def test_the_fewest_rows_are_those_that_leave_a_class_out():
    assert [least_rows(rate) for rate in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    likely = np.linspace(0.2, 0.9, least_rows(0.9))
    assert PredictionSets.of(likely, 0.9).threshold == pytest.approx(0.2)


def test_the_most_probable_class_is_in_the_set_of_a_row_that_nothing_reaches():
    target = ClassTarget(tuple("abcd"), sets=PredictionSets(0.5, 0.6, 9))
    unsure, sure = np.float32([0.3, 0.4, 0.2, 0.1]), np.float32([0.9, 0.1, 0, 0])
    assert target.row(unsure)["among"] == ["b"]
    assert target.prediction(sure).among == ("a",)
    wide = ClassTarget(tuple("abcd"), sets=PredictionSets(0.9, 0.25, 9))
    assert wide.prediction(unsure).among == ("b", "a")
    assert ClassTarget(tuple("abcd")).prediction(sure).among is None
    assert "among" not in CLASSES.row(sure)


def test_of_very_many_classes_the_best_few_are_told():
    many = ClassTarget(tuple(f"c{i}" for i in range(300)), sets=PredictionSets(0.9, 0.2, 9))
    row = np.full(300, 0.3 / 298, np.float32)
    row[[7, 200]] = 0.45, 0.25
    (kept,) = many.kept(row[None], ["c200"])
    assert many.row(kept)["among"] == ["c7", "c200"]
    found = many.metrics(many.kept(row[None], ["c200"]), np.array([200]))["sets"]
    assert (found["found_coverage"], found["mean_size"]) == (1, 2)


def test_folds_have_the_mean_of_their_thresholds():
    each = [ClassTarget(tuple("ab"), sets=PredictionSets(0.9, at, 9)) for at in (0.2, 0.4)]
    assert each[0].pooled(each).sets.threshold == pytest.approx(0.3)
    assert CLASSES.pooled([CLASSES]) == CLASSES


def test_they_are_kept_with_a_score_of_unknown_inputs():
    known = Unknown("energy", 0.9, 1.0, 50, "validation rows")
    target = knowing(ClassTarget(tuple("ab"), sets=PredictionSets(0.9, 0.2, 9)), known)
    again = type(target).from_json(json.loads(json.dumps(target.to_json())))
    assert again == target
    assert again.prediction(np.float32([0.7, 0.3, 2.0])).among == ("a", "b")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return Recipe.of(
        task="text-classification",
        data={"train": str(write_texts(folder / "texts.csv", 90)), "validation_fraction": 0.3},
        backbone=str(write_text_preset(folder / "bert")),
        schedule=[{"train": "head", "epochs": 1, "learning_rate": 0.01}],
        evaluation={"sets": 0.9},
        export={"formats": ["litert"]},
        output_dir=str(folder / "runs"),
    )


def test_a_run_tells_what_its_sets_are_worth_and_predicts_them(recipe, capsys):
    run = finetune(recipe)
    found = run.metrics["test"]["sets"]
    assert (found["coverage"], found["rows"]) == (0.9, run.metrics["validation"]["n"])
    for page in (to_markdown(run.summary), (run.path / "README.md").read_text()):
        assert "of the sets hold the right class" in page
    assert command(["evaluate", str(run.path)]) == 0
    assert "of the sets hold the right class" in capsys.readouterr().out
    rows = list(csv.DictReader((run.path / "predictions.csv").read_text().splitlines()))
    sizes = [len(json.loads(row["among"])) if row["among"][:1] == "[" else
             len(row["among"].split("|")) for row in rows]  # fmt: skip
    assert np.mean(sizes) == pytest.approx(found["mean_size"])
    loaded = load_run(run.path)
    (prediction,) = loaded.predict(["good film"])
    assert prediction.value == prediction.among[0]
    # Programs beside an export have the threshold too.
    export = run.path / "exports" / "litert_float32"
    contract = json.loads((export / "contract.json").read_text())
    assert contract["task"]["sets"]["threshold"] == found["threshold"]
    assert "are a set that holds the right class for 90" in (export / "README.md").read_text()


def test_what_can_t_have_them_is_told_before_training(recipe):
    with pytest.raises(RecipeError, match=r"needs 19 validation rows or more\. Received: 18"):
        finetune(recipe.with_overrides("evaluation.sets=0.95", "data.validation_fraction=0.2"))
    with pytest.raises(RecipeError, match=r"evaluation\.sets: is for classes"):
        recipe.with_overrides("task=text-regression")
    with pytest.raises(RecipeError, match=r"training\.refit learns from them"):
        recipe.with_overrides("training.refit=true")

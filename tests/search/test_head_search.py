from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import presets
import pytest
import tiny
from spreads import Pickled

import tltool
from tltool.model.freezing import expand_schedule
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import RunFolder
from tltool.search import head_search
from tltool.search.head_fits import FitSettings, HeadSettings
from tltool.search.head_search import SearchProblem, draw_settings, search_heads
from tltool.search.head_tuning import _overrides
from tltool.support.errors import DataError, RecipeError
from tltool.support.progress import Progress
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget

OWN = HeadSettings((), 0.1, 1e-3, 0.01, 0.0)


def falling(peak, steps):
    return peak * np.linspace(1, 0, steps)


def problem_of(kind="classification", rows=90, seed=0) -> SearchProblem:
    """Rings around the middle: a linear head can't tell them apart, a hidden layer can."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(rows, 3)).astype("float32")
    radius = np.linalg.norm(features, axis=1)
    rings = np.digitize(radius, np.quantile(radius, [1 / 3, 2 / 3]))
    target, truth = {
        "classification": (ClassTarget(("a", "b", "c")), rings),
        "multi-label": (ClassSetTarget(("in", "out")), np.c_[rings < 2, rings > 0]),
        "regression": (NumbersTarget(mean=(radius.mean(),), std=(radius.std(),)), radius),
    }[kind]
    loss, metric = target.search_scores
    return SearchProblem(
        features,
        truth,
        np.ones(rows, "float32"),
        FitSettings(target, "relu", 0.0, 16, 15, 1.0),
        metric if kind == "regression" else loss,
        seed=seed,
    )


def found(problem, trials=16, folds=3, spread=None):
    smooths = not isinstance(problem.shared.target, NumbersTarget)
    candidates = draw_settings(trials, OWN, problem.seed, smooths=smooths)
    notes: list[str] = []
    return search_heads(problem, candidates, falling, folds, notes.append, spread), notes


def timeless(trials):
    return [replace(trial, seconds=0.0) for trial in trials]


def test_heads_that_others_train_are_the_same():
    spread = Pickled()
    here, there = (found(problem_of(rows=40), 6, 2, where)[0] for where in (None, spread))
    assert timeless(here) == timeless(there)
    assert spread.calls == 6 + sum(len(trial.scores) == 2 for trial in there)


@pytest.mark.parametrize("kind", ["classification", "multi-label", "regression"])
def test_a_hidden_layer_is_found_where_it_is_needed(kind):
    problem = problem_of(kind)
    trials, notes = found(problem)
    assert trials[0].settings.hidden_units
    own = next(trial for trial in trials if trial.number == 0)
    assert trials[0].mean(problem.monitor.key) < 0.8 * own.mean(problem.monitor.key)
    complete = [len(trial.scores) == 3 for trial in trials]
    means = [trial.mean(problem.monitor.key) for trial in trials[: sum(complete)]]
    # Four of sixteen and the recipe's own; no head with fewer folds stands before one with all.
    assert sorted(complete, reverse=True) == complete
    assert sum(complete) in {4, 5}
    assert len(own.scores) == 3
    means = [
        trial.mean(problem.monitor.key)
        for trial, done in zip(trials, complete, strict=True)
        if done
    ]
    assert means == sorted(means)
    assert "16 heads trained on one fold of 3" in notes[0]


def test_equal_seeds_give_equal_tables_and_other_seeds_other_ones():
    first, _ = found(problem_of(), trials=8)
    again, _ = found(problem_of(), trials=8)
    other, _ = found(problem_of(seed=1), trials=8)
    assert timeless(first) == timeless(again)
    assert timeless(first) != timeless(other)


def test_processes_find_what_one_finds(monkeypatch):
    alone, _ = found(problem_of(), trials=8)
    monkeypatch.setattr(head_search, "_WORTH_PROCESSES_SECONDS", 0.0)
    spread, _ = found(problem_of(), trials=8)
    assert timeless(alone) == timeless(spread)


def test_candidates_cover_their_ranges_and_begin_with_the_recipe_s_own():
    drawn = draw_settings(41, OWN, 0, smooths=True)
    assert drawn[0] == OWN
    rates = sorted(settings.learning_rate for settings in drawn[1:])
    assert rates[0] < 7e-4
    assert rates[-1] > 3e-2
    assert sum(not settings.hidden_units for settings in drawn[1:]) == 20
    assert {settings.label_smoothing for settings in drawn} == {0.0, 0.05, 0.1}
    numbers = draw_settings(9, OWN, 0, smooths=False)
    assert {settings.label_smoothing for settings in numbers} == {0.0}


def test_more_folds_than_rows_of_any_class_are_refused():
    with pytest.raises(DataError, match="31 folds need 31 rows of at least one class"):
        found(problem_of(), folds=31)


def test_a_rate_that_overflows_comes_last():
    candidates = [OWN, OWN, replace(OWN, learning_rate=1e30), OWN]
    trials = search_heads(problem_of(), candidates, falling, 2, lambda _: None)
    assert trials[-1].number == 2


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Recipe:
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    return Recipe.of(
        task="text-classification",
        name="searched",
        backbone=str(presets.write_text_preset(tmp_path / "bert")),
        data={"train": str(presets.write_texts(tmp_path / "texts.csv"))},
        schedule=[{"train": "head", "epochs": 3}, {"train": {"last": 1}, "epochs": 1}],
        training={"batch_size": 16},
        evaluation={"baseline": False},
        export={"formats": []},
        cache={"use": "always"},
        output_dir=str(tmp_path / "runs"),
    )


def test_the_found_recipe_has_the_best_head_and_its_overrides_make_it(recipe):
    result = tltool.tune_head(recipe, trials=6, folds=3)
    best = result.best.settings
    made = result.recipe
    assert (made.head.hidden_units, made.head.dropout) == (best.hidden_units, best.dropout)
    assert [p.learning_rate for p in made.schedule] == [best.learning_rate, 1e-3]
    assert made.training.weight_decay == best.weight_decay
    assert made.training.label_smoothing == best.label_smoothing
    assert recipe.with_overrides(*result.overrides) == made
    searched = tltool.tune_head(recipe.with_overrides("head.search=true"), trials=6, folds=3)
    assert searched.recipe == made
    assert recipe.with_overrides("head.search=true", *searched.overrides) == made
    table = result.table()
    assert [row["rank"] for row in table] == list(range(1, 7))
    assert {row["epochs"] for row in table} == {3}
    assert result.num_rows == 108


def test_overrides_have_all_digits_of_the_recipe_s_own_values(recipe):
    own = HeadSettings((), 0.12345678, 0.0012345678, 0.23456789, 0.0)
    made = recipe.with_overrides(*_overrides(recipe, (), own))
    assert made.schedule[0].learning_rate == own.learning_rate
    assert (made.head.dropout, made.training.weight_decay) == (own.dropout, own.weight_decay)


def test_a_named_schedule_is_written_out(recipe):
    recipe = recipe.with_overrides("schedule=fine_tune")
    result = tltool.tune_head(recipe, trials=4, folds=2)
    head, everything = expand_schedule("fine_tune", 3, "text")
    rate = {"learning_rate": result.best.settings.learning_rate}
    assert result.recipe.schedule == (head.model_copy(update=rate), everything)
    assert recipe.with_overrides(*result.overrides) == result.recipe


def test_what_stands_in_the_test_rows_makes_no_difference(recipe):
    inputs, labels = tiny.texts(120)
    train, test = (inputs[:80], labels[:80]), (inputs[80:], labels[80:])
    wrong = (test[0], test[1][1:] + test[1][:1])
    right = tltool.tune_head(recipe, data={"train": train, "test": test}, trials=4, folds=2)
    other = tltool.tune_head(recipe, data={"train": train, "test": wrong}, trials=4, folds=2)
    assert timeless(right.trials) == timeless(other.trials)


def test_class_weights_count(recipe):
    weighted = recipe.with_overrides("training.class_weights={negative: 9.0}")
    results = [tltool.tune_head(r, trials=4, folds=2) for r in (recipe, weighted)]
    assert timeless(results[0].trials) != timeless(results[1].trials)


@pytest.mark.slow
def test_finetune_searches_first_and_equals_a_run_of_the_recipe_it_found(recipe):
    run = tltool.finetune(recipe.with_overrides("head.search=true"))
    assert not run.recipe.head.search
    with run.folder.head_search.open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 40
    assert float(table[0]["learning_rate"]) == run.recipe.schedule[0].learning_rate
    assert "head_search.csv" in run.folder.manifest()["files"]
    saved = Recipe.load(run.folder.recipe)
    assert saved == run.recipe
    again = tltool.finetune(saved)
    assert not again.folder.head_search.exists()
    assert losses(run.folder) == losses(again.folder)


def test_the_training_reads_what_the_search_computed(recipe):
    notes = Notes()
    tltool.finetune(recipe.with_overrides("head.search=true"), progress=notes)
    found, head, _ = [line for line in notes.lines if line.startswith("frozen layers")]
    assert "computed once" in found
    assert "read from disk" in head


class Notes(Progress):
    def __init__(self):
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def losses(folder: RunFolder) -> list[tuple[str, str]]:
    with folder.history.open(encoding="utf-8") as file:
        return [(row["loss"], row["val_loss"]) for row in csv.DictReader(file)]


def test_numbers_are_scored_in_their_own_units(recipe, tmp_path):
    texts, labels = tiny.texts(90)
    numbers = [100.0 * (label == "positive") + i % 7 for i, label in enumerate(labels)]
    recipe = Recipe.of(
        **{**recipe.to_values(), "task": "text-regression", "training": {"monitor": "metric"}}
    )
    result = tltool.tune_head(recipe, data=(texts, numbers), trials=4, folds=2)
    assert result.metrics == ("mae", "mse")
    row = result.table()[0]
    assert 5 < row["mae"] < 100
    assert row["mae"] ** 2 <= row["mse"]
    assert row["label_smoothing"] == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["head=my_head"], "default head only"),
        (["training.optimizer=sgd"], "trains with adamw only"),
        (["schedule=[{train: all}]"], "needs a phase that trains the head alone"),
        (["schedule=linear_probe_then_fine_tune"], "nothing to tune"),
        (["schedule=[{train: head, solver: exact}]"], "nothing to tune"),
    ],
)
def test_what_can_t_be_searched_is_refused(recipe, overrides, message):
    with pytest.raises(RecipeError, match=message):
        tltool.tune_head(recipe.with_overrides(*overrides))
    with pytest.raises(RecipeError, match=message):
        recipe.with_overrides(*overrides, "head.search=true")


def test_too_few_trials_or_folds_are_refused(recipe):
    with pytest.raises(RecipeError, match="trials: a head search needs at least 2, received 1"):
        tltool.tune_head(recipe, trials=1)
    with pytest.raises(RecipeError, match="folds: a head search needs at least 2, received 0"):
        tltool.tune_head(recipe, folds=0)

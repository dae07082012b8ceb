"""The section `tune`: which fields can be searched, and which values they can have."""

from __future__ import annotations

import math

import pytest

from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError

PHASES = [{"train": "head", "epochs": 2}, {"train": "all", "epochs": 2}]


def recipe(tune, **values) -> Recipe:
    given = {"task": "text-classification", "backbone": "x", "data": {"train": "t.csv"}}
    return Recipe.of(**{**given, "schedule": PHASES, **values}, tune=tune)


def faults(tune, **values) -> str:
    with pytest.raises(RecipeError) as error:
        recipe(tune, **values)
    return str(error.value)


def test_ranges_and_choices_are_read():
    found = recipe(
        {
            "schedule.1.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
            "schedule.1.train": {"choices": ["all", {"last": 2}]},
            "training.class_weights": {"choices": [None, "balanced"]},
            "head.dropout": {"low": 0, "high": 0.5},
        }
    )
    assert found.tune["schedule.1.learning_rate"].log
    assert found.tune["schedule.1.train"].choices == ("all", {"last": 2})
    assert Recipe.of(**found.to_values()) == found


def test_a_file_and_an_override_give_the_same(tmp_path):
    file = tmp_path / "r.yaml"
    head = "task: text-classification\nbackbone: x\ndata: {train: t.csv}\n"
    file.write_text(f"{head}tune:\n  training.weight_decay: {{low: 1e-3, high: 0.3, log: true}}\n")
    found = Recipe.load(file)
    file.write_text(head)
    override = 'tune."training.weight_decay"={low: 1e-3, high: 0.3, log: true}'
    assert Recipe.load(file, [override]) == found


@pytest.mark.parametrize(
    ("tune", "told"),
    [
        ({"training.wieght_decay": {"low": 0, "high": 1}},
         ("tune.training.wieght_decay.low: unknown key", "did you mean `weight_decay`?")),
        ({"data.train": {"choices": ["a", "b"]}}, ("no field that can be searched", "schedule.…")),
        ({"trainig.weight_decay": {"low": 0, "high": 1}}, ("did you mean `training`?",)),
        ({"training.seed": {"choices": [1, 2]}}, ("can't be searched: it is chance",)),
        ({"schedule.2.epochs": {"low": 1, "high": 3}}, ("no field of a phase", "schedule.1.…")),
        ({"schedule.first.epochs": {"low": 1, "high": 3}}, ("no field of a phase",)),
        ({"schedule.1.epochs": {"low": 1.5, "high": 3}}, ("tune.schedule.1.epochs.low", "1.5")),
        ({"training.label_smoothing": {"low": 0, "high": 1.5}},
         ("tune.training.label_smoothing.high", "1.5", "less than 1")),
        ({"training.optimizer": {"choices": ["adamw", "lion"]}},
         ("tune.training.optimizer.choices.1", "'lion'", "rmsprop")),
        ({"schedule.1.train": {"choices": ["all", {"lost": 2}]}}, ("choices.1", "{last: N}")),
        ({"head.dropout": {"low": 0.5, "high": 0.1}}, ("is not below high, 0.1", "received: 0.5")),
        ({"head.dropout": {"low": 0.0, "high": 0.1, "log": True}}, ("must be above 0",)),
        ({"head.dropout": {"low": 0.1}}, ("neither a range nor choices", "{choices: […]}")),
        ({"head.dropout": {"low": 0.1, "high": 0.2, "choices": [0.1, 0.2]}}, ("and a range",)),
        ({"training.weight_decay": {"choices": ["0.01", 0.1, 0.01]}},
         ("tune.training.weight_decay.choices.2: is the same value twice", "received: 0.01")),
        ({"schedule.1.train": {"choices": [{"last": 2}, {"last": 2.0}]}}, ("same value twice",)),
        ({"head.dropout": {"low": 0, "high": math.inf}}, ("has 1 fault", "a finite number")),
        ({"head.dropout": {"low": math.nan, "high": 1}}, ("has 1 fault", "a finite number")),
        ({"training.refit": {"choices": [True, False]}}, ("it comes after what trials",)),
        ({"training.keep": {"choices": ["best", "trained"]}}, ("it comes after what trials",)),
        ({"training.calibrate": {"choices": [True, False]}}, ("it comes after what trials",)),
        ({"training.loggers": {"choices": [[], ["wandb"]]}}, ("it changes no result",)),
        ({"training.jit": {"choices": ["always", "never"]}}, ("it says how fast to train",)),
        ({"head.dropout": {"choices": [0.1]}}, ("tune.head.dropout.choices",)),
        ({"head.dropout": {"min": 0.1, "max": 1}}, ("unknown key", "low, high, log, choices")),
        ({"head.dropout": 0.1}, ("tune.head.dropout",)),
    ],
)  # fmt: skip
def test_what_can_t_be_searched_is_named_with_what_can(tune, told):
    message = faults(tune)
    for part in told:
        assert part in message


def test_values_that_do_not_go_with_the_rest_of_the_recipe_are_named():
    message = faults({"training.label_smoothing": {"choices": [0.0, 0.1]}}, task="text-regression")
    assert "tune.training.label_smoothing.choices.1" in message


def test_faults_of_the_recipe_itself_are_told_once():
    message = faults({"head.dropout": {"low": 0.0, "high": 0.5}}, head={"dropout": 7})
    assert message.count("head.dropout") == 1


def test_a_schedule_known_by_its_name_has_phases_too():
    assert recipe({"schedule.1.epochs": {"low": 1, "high": 3}}, schedule="fine_tune").tune

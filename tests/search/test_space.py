"""Which values a search over recipes tries, and what becomes of a drawn one."""

from __future__ import annotations

import pytest

pytest.importorskip("optuna")

from tltool.model.freezing import expand_schedule
from tltool.recipe.recipe import Recipe
from tltool.search.space import Space, shown_value, usual_space
from tltool.support.errors import RecipeError

GROUPS = 8


def recipe(schedule="fine_tune", modality="text", **values) -> Recipe:
    phases = schedule if isinstance(schedule, list) else expand_schedule(schedule, GROUPS, modality)
    given = {
        "task": f"{modality}-classification",
        "backbone": "x",
        "data": {"train": "t"},
        **values,
    }
    found = Recipe.of(**given)
    return Recipe.of(**found.to_values() | {
        "schedule": [p if isinstance(p, dict) else p.model_dump(mode="json", by_alias=True)
                     for p in phases]
    })  # fmt: skip


def test_the_usual_space_of_texts_is_around_the_phase_that_trains_the_backbone():
    found = usual_space(recipe(), GROUPS)
    assert found.keys() == {
        "schedule.1.learning_rate", "schedule.1.epochs", "schedule.1.train",
        "training.weight_decay", "training.label_smoothing",
    }  # fmt: skip
    rate = found["schedule.1.learning_rate"]
    assert rate.low == pytest.approx(1e-5)
    assert rate.high == pytest.approx(2.5e-4)
    assert rate.log
    assert (found["schedule.1.epochs"].low, found["schedule.1.epochs"].high) == (1, 6)
    assert found["schedule.1.train"].choices == ("all", {"last": 2}, {"last": 4})


def test_what_the_optimizer_does_not_read_is_not_searched():
    for optimizer, decays in (("adam", False), ("sgd", True), ("rmsprop", True)):
        found = usual_space(recipe(training={"optimizer": optimizer}), GROUPS)
        assert ("training.weight_decay" in found) is decays


def test_a_value_is_shown_as_the_override_that_gives_it():
    for rate in (0.000123456789, 1e-5, 0.1234567):
        given = recipe().with_overrides(f"schedule.1.learning_rate={shown_value(rate)}")
        assert given.schedule[1].learning_rate == rate


def test_the_usual_space_of_images_changes_them_too():
    found = usual_space(recipe(modality="image"), GROUPS)
    assert found["schedule.1.learning_rate"].high == pytest.approx(5e-4)
    assert found["augment"].choices[0] is None
    own = recipe(modality="image", augment={"zoom": 0.1, "horizontal_flip": True})
    given = usual_space(own, GROUPS)
    assert "augment" not in given
    assert (given["augment.zoom"].low, given["augment.zoom"].high) == (0, pytest.approx(0.2))
    assert "augment.rotation_degrees" not in given


def test_the_head_alone_is_tuned_where_nothing_else_trains():
    found = usual_space(recipe("feature_extraction"), GROUPS)
    assert "schedule.0.learning_rate" in found
    assert "schedule.0.train" not in found
    with pytest.raises(RecipeError, match="no phase trains step by step"):
        usual_space(recipe([{"train": "head", "solver": "exact"}]), GROUPS)


@pytest.mark.parametrize("modality", ["text", "image"])
@pytest.mark.parametrize("training", [{}, {"weight_decay": 0.0}, {"weight_decay": 0.01234},
                                      {"label_smoothing": 0.3}])  # fmt: skip
def test_the_recipe_itself_is_in_its_usual_space(modality, training):
    own = recipe(modality=modality, training=training)
    space = Space.of(own, GROUPS)
    settings = space.settings(space.own())
    assert space.recipe_with(settings) == own


def test_what_is_drawn_becomes_a_recipe():
    tune = {
        "schedule.0.epochs": {"low": 1, "high": 9},
        "head.dropout": {"low": 0.1, "high": 0.5},
        "augment": {"choices": [None, {"zoom": 0.2}]},
        "training.optimizer": {"choices": ["adamw", "sgd"]},
    }
    space = Space.of(recipe(modality="image", tune=tune), GROUPS)
    kinds = {name: type(one).__name__ for name, one in space.distributions().items()}
    assert kinds == {
        "schedule.0.epochs": "IntDistribution", "head.dropout": "FloatDistribution",
        "augment": "CategoricalDistribution", "training.optimizer": "CategoricalDistribution",
    }  # fmt: skip
    drawn = {"schedule.0.epochs": 4, "head.dropout": 0.4999999, "augment": '{"zoom": 0.2}',
             "training.optimizer": "sgd"}  # fmt: skip
    found = space.recipe_with(space.settings(drawn))
    assert found.schedule[0].epochs == 4
    assert found.head.dropout == 0.5
    assert found.augment.zoom == 0.2
    assert found.training.optimizer == "sgd"
    assert found.tune == {}


def test_a_choice_is_the_recipe_s_own_however_its_number_is_written():
    either = {"choices": [None, "balanced"]}
    tune = {"head.dropout": {"choices": [0, 0.2]}, "training.class_weights": either}
    own = Space.of(recipe(head={"dropout": 0.0}, tune=tune), GROUPS).own()
    assert own == {"head.dropout": "0", "training.class_weights": "null"}


def test_a_recipe_outside_of_its_space_is_no_trial():
    own = recipe(tune={"head.dropout": {"low": 0.3, "high": 0.5}})
    assert Space.of(own, GROUPS).own() is None

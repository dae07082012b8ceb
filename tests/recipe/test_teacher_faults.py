"""The section `teacher` of a recipe: its short form, and what it can't go with."""

from __future__ import annotations

import pytest

from tltool.recipe.recipe import Recipe, recipe_schema
from tltool.support.errors import RecipeError

TEXTS = {"task": "text-classification", "backbone": "all-minilm-l6-v2"}
IMAGES = {"task": "image-classification", "backbone": "efficientnet-lite0"}
NUMBERS = {"task": "text-regression", "backbone": "all-minilm-l6-v2"}
UNLABELLED = "teacher.unlabelled=more.csv"

REFUSED = {
    "tags": ({**TEXTS, "task": "token-classification"}, [], "teacher", "leave out teacher"),
    "masks": ({**IMAGES, "task": "image-segmentation"}, [], "teacher", "leave out teacher"),
    "vectors": ({**TEXTS, "task": "text-embedding"}, [], "teacher", "leave out teacher"),
    "degrees of numbers": (
        NUMBERS, ["teacher.temperature=2"], "teacher.temperature", "leave it out",
    ),
    "contrastive": (TEXTS, ["schedule=contrastive"], "teacher", "another schedule"),
    "few examples": (TEXTS, ["schedule=few_examples"], "teacher", "another schedule"),
    "a search": (TEXTS, ["head.search=true"], "teacher", "teacher=null"),
    "drawn by class": (
        TEXTS, [UNLABELLED, "training.sampling=balanced"], "teacher.unlabelled", "natural",
    ),
    "weighed and mixed": (
        IMAGES,
        ["training.class_weights=balanced", "augment.layers=[{layer: MixUp}]"],
        "teacher",
        "class_weights",
    ),
    "no weight": (TEXTS, ["teacher.weight=0"], "teacher.weight", None),
    "no run": (TEXTS, ["teacher={weight: 0.5}"], "teacher.run", None),
    "a field": (TEXTS, ["teacher.wieght=0.5"], "teacher.wieght", "weight"),
    "a search of teachers": (
        TEXTS, ["tune={teacher.run: {choices: [a, b]}}"], "tune.teacher.run", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_can_not_be_taught_is_refused(case):
    values, overrides, path, hint = REFUSED[case]
    with pytest.raises(RecipeError) as error:
        Recipe.of(**values, teacher="runs/large").with_overrides(*overrides)
    faults = {fault.path: fault for fault in error.value.faults}
    assert path in faults
    if hint is not None:
        assert hint in (faults[path].hint or "")


def test_a_task_that_can_not_be_taught_is_told_which_can():
    with pytest.raises(RecipeError) as error:
        Recipe.of(**REFUSED["masks"][0], teacher="runs/large")
    (fault,) = error.value.faults
    assert "image-classification" in fault.allowed
    assert "text-pair-regression" in fault.allowed
    assert "image-segmentation" not in fault.allowed


def test_a_run_alone_stands_for_the_section(tmp_path):
    own = Recipe.of(**TEXTS, teacher="runs/large")
    assert (own.teacher.run, own.teacher.weight, own.teacher.temperature) == (
        "runs/large",
        0.7,
        None,
    )
    assert own.with_overrides("teacher.weight=0.5").teacher.run == "runs/large"
    file = tmp_path / "r.yaml"
    file.write_text("task: text-classification\nbackbone: all-minilm-l6-v2\nteacher: 2024\n")
    assert Recipe.load(file).teacher.run == "2024"
    assert Recipe.load(file, ["teacher.weight=0.5"]).teacher.run == "2024"
    assert Recipe.load(file, ["teacher=runs/other"]).teacher.run == "runs/other"
    assert Recipe.load(file, ["teacher=null"]).teacher is None
    assert Recipe.of(**own.to_values()) == own


def test_weight_and_temperature_can_be_searched():
    tune = {"teacher.weight": {"low": 0.3, "high": 1.0}, "teacher.temperature": {"choices": [1, 4]}}
    own = Recipe.of(**TEXTS, teacher="runs/large", tune=tune)
    assert own.tune["teacher.weight"].high == 1.0


def test_editors_know_the_short_form():
    forms = recipe_schema()["properties"]["teacher"]["anyOf"]
    assert {"type": "string"} in forms
    assert {"type": "null"} in forms

"""Ensembles that make no sense are refused, with what to do instead."""

from __future__ import annotations

import pytest

from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError

IMAGES = {"task": "image-classification", "backbone": "efficientnet-lite0"}
TEXTS = {"task": "text-classification", "backbone": "all-minilm-l6-v2"}
VECTORS = {"task": "image-embedding", "backbone": "efficientnet-lite0"}
THREE = "ensemble.seeds=3"
FLIP = "ensemble.test_time_augmentation=[horizontal_flip]"
SEEDS, VIEWS = "ensemble.seeds", "ensemble.test_time_augmentation"

REFUSED = {
    "none": (IMAGES, ["ensemble.seeds=0"], SEEDS, None),
    "too many": (IMAGES, ["ensemble.seeds=101"], SEEDS, None),
    "seeds beyond the last": (
        IMAGES, [THREE, "training.seed=2147483646"], SEEDS, "training.seed=2147483645 or a lower",
    ),
    "refit": (IMAGES, [THREE, "training.refit=true"], SEEDS, "use one of them"),
    "workers": (IMAGES, [THREE, "training.distribution=multi_worker"], SEEDS, "distribution=auto"),
    "the same model": (
        IMAGES,
        [THREE, "schedule=[{train: head, solver: exact}]"],
        SEEDS,
        "solver: gradient",
    ),
    "vectors": (VECTORS, [THREE], SEEDS, "leave out"),
    "a text turned round": (TEXTS, [FLIP], VIEWS, "ensemble.seeds is for texts too"),
    "an unknown view": (IMAGES, [f"{VIEWS}=[transpose]"], f"{VIEWS}.0", None),
    "a view twice": (IMAGES, [f"{VIEWS}=[vertical_flip, vertical_flip]"], VIEWS, None),
    "a search for members": (
        IMAGES, ["tune={ensemble.seeds: {low: 1, high: 5}}"], "tune.ensemble.seeds", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("values", "overrides", "path", "hint"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused(values, overrides, path, hint):
    recipe = Recipe.of(**values)
    with pytest.raises(RecipeError) as error:
        recipe.with_overrides(*overrides)
    faults = {fault.path: fault for fault in error.value.faults}
    assert path in faults
    if hint is not None:
        assert hint in faults[path].hint


def test_what_tasks_there_are_is_told():
    with pytest.raises(RecipeError) as error:
        Recipe.of(**VECTORS).with_overrides(THREE)
    allowed = error.value.faults[0].allowed
    assert "image-regression" in allowed
    assert "embedding" not in allowed
    with pytest.raises(RecipeError) as error:
        Recipe.of(**TEXTS).with_overrides(FLIP)
    assert "image-segmentation" in error.value.faults[0].allowed
    assert "text" not in error.value.faults[0].allowed


@pytest.mark.parametrize(
    ("values", "overrides"),
    [
        (IMAGES, [THREE, FLIP]),
        (VECTORS, [FLIP]),
        (TEXTS, [THREE, "schedule=linear_probe_then_fine_tune"]),
        (
            IMAGES,
            [THREE, "schedule=[{train: head, solver: exact}]", "augment={horizontal_flip: true}"],
        ),
        (IMAGES, [FLIP, "training.refit=true"]),
    ],
)
def test_what_makes_sense_is_not(values, overrides):
    ensemble = Recipe.of(**values).with_overrides(*overrides).ensemble
    assert not ensemble.is_one
    assert Recipe.of(**values).ensemble.is_one

from __future__ import annotations

import pytest

from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError

HEAD = {"train": "head", "solver": "exact"}
DRAWING = {"train": "all", "objective": "contrastive"}


def faults_of(task, **values):
    with pytest.raises(RecipeError) as caught:
        Recipe.of(task=task, backbone="tiny", **values)
    return {fault.path: fault for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("task", "values", "paths"),
    [
        ("text-classification", {"head": {"dimensions": 8}}, {"head.dimensions"}),
        ("text-embedding", {"schedule": [HEAD]}, {"schedule.0.solver"}),
        ("image-embedding", {"head": {"search": True}}, {"head.search"}),
        (
            "text-embedding",
            {"training": {"label_smoothing": 0.1, "focal_gamma": 2, "tokens_per_batch": 4096}},
            {"training.label_smoothing", "training.focal_gamma", "training.tokens_per_batch"},
        ),
        ("text-multi-label", {"schedule": "contrastive"}, {"schedule"}),
        ("text-embedding", {"schedule": [DRAWING, {"train": "head"}]}, {"schedule.0.objective"}),
        ("text-classification", {"schedule": [HEAD, DRAWING]}, {"schedule.1.objective"}),
        (
            "text-classification",
            {"schedule": [{**DRAWING, "train": "head"}, HEAD]},
            {"schedule.0.objective"},
        ),
        (
            "text-classification",
            {"schedule": "few_examples", "training": {"tokens_per_batch": 4096}},
            {"training.tokens_per_batch"},
        ),
        (
            "image-classification",
            {"schedule": "contrastive", "augment": {"layers": [{"layer": "MixUp"}]}},
            {"augment.layers"},
        ),
    ],
)
def test_what_vectors_and_contrast_do_not_allow_is_told(task, values, paths):
    assert set(faults_of(task, **values)) >= paths


def test_what_they_allow_is_allowed():
    Recipe.of(task="text-embedding", backbone="tiny", head={"dimensions": 8}, schedule="fine_tune")
    Recipe.of(task="image-classification", backbone="tiny", schedule=[DRAWING, HEAD])
    Recipe.of(task="text-classification", backbone="tiny", schedule="few_examples")

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


@pytest.mark.parametrize("task", ["text-embedding", "token-classification"])
def test_a_named_schedule_that_can_not_be_is_one_fault_in_its_own_name(task):
    for named in ("few_examples", "contrastive"):
        with pytest.raises(RecipeError) as error:
            Recipe.of(task=task, backbone="tiny", schedule=named)
        (fault,) = error.value.faults
        assert fault.path == "schedule"
        assert fault.problem.startswith(f"{named} needs one class for each row; not for {task}")


def test_a_named_schedule_that_solves_the_head_is_told_in_its_own_name():
    with pytest.raises(RecipeError, match="linear_probe_then_fine_tune solves the head") as error:
        Recipe.of(task="text-embedding", backbone="tiny", schedule="linear_probe_then_fine_tune")
    assert [fault.path for fault in error.value.faults] == ["schedule"]


@pytest.mark.parametrize(
    ("task", "data", "training", "path"),
    [
        ("image-embedding", {"input_columns": ["a", "b"]}, {}, "data.input_columns"),
        ("text-pair-regression", {"input_columns": ["a", "b", "c"]}, {}, "data.input_columns"),
        ("text-embedding", {"input_columns": ["a", "b", "c", "d"]}, {}, "data.input_columns"),
        ("text-embedding", {"input_columns": ["a", "b", "c"], "label_column": "score"}, {},
         "data.input_columns"),
        ("text-embedding", {"input_columns": ["a", "b"], "input_column": "a"}, {},
         "data.input_column"),
        ("text-embedding", {"input_columns": ["a", "b"], "label_columns": ["c", "d"]}, {},
         "data.label_columns"),
        ("text-embedding", {"input_columns": ["a", "b", "c"]}, {"batch_size": 5},
         "training.batch_size"),
        ("text-embedding", {"input_columns": ["a", "b"]}, {"tokens_per_batch": 4096},
         "training.tokens_per_batch"),
        ("text-embedding", {"input_columns": ["a", "b"], "label_column": "c"}, {"ranking": 1.0},
         "training.ranking"),
        ("text-embedding", {"input_columns": ["a", "b"], "label_column": "b"}, {},
         "data.label_column"),
        ("text-pair-regression", {"input_columns": ["a", "a"]}, {}, "data.input_columns"),
        ("text-classification", {"label_column": "text"}, {}, "data.label_column"),
        ("text-classification", {"split_column": "label"}, {}, "data.split_column"),
    ],
)  # fmt: skip
def test_what_rows_of_texts_do_not_allow_is_told(task, data, training, path):
    assert set(faults_of(task, data=data, training=training)) == {path}


def test_what_they_allow_is_allowed():
    for columns in (["a", "b"], ["a", "b", "c"]):
        Recipe.of(task="text-embedding", backbone="tiny", data={"input_columns": columns})
    Recipe.of(task="text-embedding", backbone="tiny", head={"dimensions": 8}, schedule="fine_tune")
    Recipe.of(task="image-classification", backbone="tiny", schedule=[DRAWING, HEAD])
    Recipe.of(task="text-classification", backbone="tiny", schedule="few_examples")

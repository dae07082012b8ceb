"""Training on what a teacher says is the same training however its steps are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from presets import write_text_preset, write_texts

from tltool.features.rows import Rows
from tltool.recipe.recipe import Recipe
from tltool.support.progress import Progress
from tltool.training.inputs import example_data, make_feature_cache
from tltool.training.lessons import Lessons
from tltool.training.preparation import prepare
from tltool.training.trainer import train


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lessons")
    return Recipe.of(
        task="text-classification",
        data={"train": str(write_texts(folder / "texts.csv", 60)), "validation_fraction": 0.2},
        backbone={"name": str(write_text_preset(folder / "bert")), "dropout": 0},
        head={"dropout": 0},
        schedule=[{"train": "head", "epochs": 2, "learning_rate": 0.01}],
        training={"batch_size": 8, "gradient_clip_norm": None},
        teacher={"run": "a teacher of random numbers", "weight": 0.5},
    )


def trained(recipe):
    """History of a training in which the test rows take part without labels, and its rows."""
    prepared = prepare(recipe)
    rows = Rows.of(prepared.examples, prepared.backbone.preprocessing)
    raw = np.random.default_rng(0).normal(size=(rows.count, 2)).astype("float32")
    others = prepared.examples.split("test")
    count = len(others)
    others = replace(others, targets=[None] * count, splits=["train"] * count)
    lessons = Lessons(prepared.task.target, rows, raw, others, {}, "chance")
    prepared = replace(prepared, lessons=lessons)
    data = example_data(recipe, prepared, "train")
    result = train(
        prepared.transfer,
        prepared.plans,
        prepared.task,
        recipe.training,
        data,
        example_data(recipe, prepared, "validation"),
        strategy=prepared.strategy,
        checkpoint=None,
        progress=Progress(),
        cache=make_feature_cache(recipe, prepared, data, Progress()),
    )
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    return np.array([[row[name] for name in names] for row in result.history]), data


@pytest.fixture(scope="module")
def plain(recipe):
    return trained(recipe)


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.static_shapes=always"],
        ["training.gradient_accumulation_steps=2", "training.batch_size=4"],
        ["cache.use=never"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_steps_in_parts_of_few_shapes_or_without_stored_features_are_the_same(
    overrides, recipe, plain
):
    values, _ = trained(recipe.with_overrides(*overrides))
    np.testing.assert_allclose(values, plain[0], rtol=1e-5)


def test_rows_without_labels_train_and_are_not_measured(recipe, plain):
    values, data = plain
    labelled = sum(target is not None for target in data.examples.targets)
    assert 0 < labelled < data.num_examples
    hits = values[:, 1] * labelled
    np.testing.assert_allclose(hits, np.round(hits), atol=1e-4)

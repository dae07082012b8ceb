from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from cached_fit import ALWAYS, fit, fit_on_devices, fresh

from tltool.model.freezing import expand_schedule, plan_phases
from tltool.model.heads import HEADS
from tltool.model.joining import apply_plan, join
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import (
    AugmentSection,
    CacheSection,
    HeadSection,
    Last,
    PhaseSection,
    TrainingSection,
)
from tltool.support.errors import PlanError, RecipeError
from tltool.support.progress import Progress
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task
from tltool.training.best_weights import BestWeights, Rule
from tltool.training.head_solver import HeadData, check_solvable, solve_head

SOLVED = {"train": "head", "solver": "exact"}
# One step over all rows, far too small to change anything: its loss is that of its start.
STILL = {"train": "all", "epochs": 1, "learning_rate": 1e-9, "curve": "constant"}
NEVER = CacheSection(use="never")


def solve(transfer, plan, task, training, train, validation, folder):
    """Solves a head on batches of model inputs; returns the row of the history."""
    monitor = "loss" if validation is None else "val_loss"
    best = BestWeights(transfer.model, folder / "best.safetensors", Rule(monitor, False))
    history: list = []
    data = HeadData(None, False, train, validation)
    solve_head(transfer, plan, task, training, data, history, best, Progress())
    assert best.row is history[0]
    return history[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "bert", pytest.param("vit", marks=pytest.mark.slow)])
def test_fine_tuning_starts_from_the_solved_head_stored_or_not(kind, tmp_path):
    stored, with_cache, said, _ = fit(kind, tmp_path, (SOLVED, STILL), ALWAYS)
    anew, without, _, _ = fit(kind, tmp_path, (SOLVED, STILL), NEVER)
    solved, fine_tuned = with_cache
    assert any("solved on" in line for line in said)
    assert solved["phase"] == "1 head"
    assert (solved["epoch"], solved["total_epoch"]) == (1, 1)
    # Validation is in inference mode, so the values are the same but for rounding.
    assert fine_tuned["val_loss"] == pytest.approx(solved["val_loss"], abs=1e-5)
    assert fine_tuned["val_accuracy"] == solved["val_accuracy"]
    assert {"loss", "accuracy", "seconds", "learning_rate"} <= set(solved)
    for key in ("loss", "val_loss", "accuracy", "val_accuracy"):
        assert without[0][key] == pytest.approx(solved[key], abs=1e-4)
    for path, value in anew.items():
        np.testing.assert_allclose(stored[path], value, rtol=1e-3, atol=2e-3, err_msg=path)
    before = fresh(kind)
    changed = {p for p in before if np.abs(stored[p] - before[p]).max() > 1e-6}
    assert changed == {"head_output/kernel", "head_output/bias"}


@pytest.mark.slow
def test_two_devices_solve_and_go_on_as_one_does():
    one, two = (fit_on_devices("cnn", devices, "exact") for devices in (1, 2))
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert any("solved on" in line for line in two["said"])
    np.testing.assert_allclose(two["losses"], one["losses"], atol=1e-3)


def test_the_solved_head_fits_no_worse_than_a_long_gradient_fit(tmp_path):
    settings = {"label_smoothing": 0.1}
    _, solved, _, _ = fit("cnn", tmp_path, (SOLVED,), ALWAYS, **settings)
    phase = {"train": "head", "epochs": 60, "learning_rate": 0.05}
    _, stepped, _, _ = fit("cnn", tmp_path, (phase,), ALWAYS, weight_decay=0.0, **settings)
    best = min(row["val_loss"] for row in stepped)
    assert solved[0]["val_loss"] < best + 0.01
    assert stepped[0]["val_loss"] > best + 0.05, "the gradient fit was meant to have to learn"


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("kind", ["classification", "multi-label"])
def test_the_loss_is_that_of_keras_with_weights_and_penalty(tmp_path, kind, gamma):
    """Solves a head with an L2 penalty and measures it again with `evaluate`."""
    keras.utils.set_random_seed(0)
    several = kind == "multi-label"
    labels = ("blue", "red")
    task = Task(TASKS[f"image-{kind}"], (ClassSetTarget if several else ClassTarget)(labels))
    backbone = tiny.tiny_image_backbone()
    transfer = join(backbone, HeadSection(l2=0.5), task)
    (plan,) = plan_phases((PhaseSection(**SOLVED),), transfer.groups, "image")
    apply_plan(transfer.model, plan)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 32, 32, 3)).astype("float32")
    targets = np.eye(2, dtype="float32")[rng.integers(0, 2, 40)]
    weights = np.linspace(0.1, 4, 40).astype("float32")
    if several:
        targets[:5], weights = 1.0, rng.uniform(0.1, 4, (40, 2)).astype("float32")
    batches = tf.data.Dataset.from_tensor_slices((images, targets, weights)).batch(40)
    training = TrainingSection(label_smoothing=0.2, focal_gamma=gamma)
    row = solve(transfer, plan, task, training, batches, None, folder=tmp_path)
    transfer.model.compile(loss=task.loss(0.2, gamma), metrics=task.training_metrics())
    expected = transfer.model.evaluate(batches, verbose=0, return_dict=True)
    assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    metric = task.target.headline().key
    assert row[metric] == pytest.approx(expected[metric])


@pytest.mark.parametrize("cache", [NEVER, ALWAYS])
@pytest.mark.parametrize(
    "augment",
    [{"brightness": 0.5}, {"layers": [{"layer": "MixUp"}]}, {"brightness": 0.5, "views": 2}],
)
def test_the_head_is_solved_on_images_as_they_are(tmp_path, augment, cache):
    plain, *_ = fit("cnn", tmp_path / "plain", (SOLVED,), NEVER)
    changed, *_ = fit("cnn", tmp_path, (SOLVED,), cache, augment=AugmentSection(**augment))
    np.testing.assert_allclose(
        plain["head_output/kernel"], changed["head_output/kernel"], rtol=1e-4, atol=1e-5
    )


def test_a_phase_after_a_solved_one_reads_changed_images(tmp_path):
    stepped = {"train": "head", "epochs": 1, "learning_rate": 0.01}
    given = (SOLVED, stepped)
    plain, *_ = fit("cnn", tmp_path / "plain", given, ALWAYS)
    views = AugmentSection(brightness=0.5, views=2)
    changed, *_ = fit("cnn", tmp_path, given, ALWAYS, augment=views)
    assert not np.allclose(plain["head_output/kernel"], changed["head_output/kernel"], atol=1e-3)


def test_regression_is_solved_too(tmp_path):
    keras.utils.set_random_seed(0)
    task = Task(TASKS["image-regression"], NumbersTarget())
    backbone = tiny.tiny_image_backbone()
    transfer = join(backbone, HeadSection(), task)
    (plan,) = plan_phases((PhaseSection(**SOLVED),), transfer.groups, "image")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(80, 32, 32, 3)).astype("float32") + rng.normal(size=(80, 1, 1, 1))
    features = backbone.model.predict(images, verbose=0)
    kernel = rng.normal(size=(features.shape[1], 1))
    targets = ((features - features.mean(0)) @ kernel / features.std()).astype("float32")
    parts = [
        tf.data.Dataset.from_tensor_slices((images[rows], targets[rows])).batch(16)
        for rows in (slice(0, 60), slice(60, 80))
    ]
    row = solve(transfer, plan, task, TrainingSection(), *parts, folder=tmp_path)
    assert row["val_mae"] < 0.02
    np.testing.assert_allclose(transfer.model.predict(images, verbose=0), targets, atol=0.1)


def plans_and_transfer(head=None, **phase):
    keras.utils.set_random_seed(0)
    task = Task(TASKS["image-classification"], ClassTarget(("a", "b")))
    transfer = join(tiny.tiny_image_backbone(), head or HeadSection(), task)
    return plan_phases((PhaseSection(**{**SOLVED, **phase}),), transfer.groups, "image"), transfer


def test_a_head_that_is_not_one_linear_layer_is_refused(monkeypatch):
    def nonlinear(features, task):
        return keras.layers.Dense(task.num_outputs, "tanh", name="head_output")(features.pooled)

    def mapped(features, task):
        x = keras.layers.Dense(task.num_outputs, name="head_output")(features.feature_map)
        return keras.layers.GlobalAveragePooling2D(name="head_pool")(x)

    def linear(features, task):
        x = keras.layers.GlobalMaxPooling2D(name="head_pool")(features.feature_map)
        return keras.layers.Dense(task.num_outputs, name="head_output")(x)

    monkeypatch.setitem(HEADS, "nonlinear", nonlinear)
    monkeypatch.setitem(HEADS, "mapped", mapped)
    monkeypatch.setitem(HEADS, "linear", linear)
    for head in (
        HeadSection(hidden_units=(4,)),
        *(HeadSection(name=n) for n in ("nonlinear", "mapped")),
    ):
        with pytest.raises(
            PlanError, match=r"schedule\.0\.solver: exact needs a head of one linear"
        ):
            check_solvable(*plans_and_transfer(head))
    with pytest.raises(PlanError, match="trains last group"):
        check_solvable(*plans_and_transfer(train=Last(last=1)))
    check_solvable(*plans_and_transfer(HeadSection(name="linear")))
    check_solvable(*plans_and_transfer(HeadSection(name="multi_level")))
    check_solvable(*plans_and_transfer())


def test_recipes_that_can_t_be_solved_are_refused_at_once():
    common = {"task": "image-classification", "backbone": "efficientnet-lite0"}
    with pytest.raises(RecipeError, match=r"schedule\.0\.solver: exact solves the head alone"):
        Recipe.of(**common, schedule=[{"train": "all", "solver": "exact"}])
    with pytest.raises(RecipeError, match="needs one linear layer"):
        Recipe.of(**common, head={"hidden_units": [8]}, schedule="linear_probe_then_fine_tune")


def test_lp_ft_solves_its_first_phase():
    probe, everything = expand_schedule("linear_probe_then_fine_tune", 3, "text")
    assert (probe.train, probe.solver) == ("head", "exact")
    assert (everything.train, everything.solver) == ("all", "gradient")

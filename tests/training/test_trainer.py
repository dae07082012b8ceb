from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from safetensors.numpy import load_file

from tltool.model.freezing import plan_phases
from tltool.model.joining import apply_plan, join, precision_scope, to_float32
from tltool.recipe.schema import (
    EarlyStoppingSection,
    HeadSection,
    Last,
    PhaseSection,
    TrainingSection,
)
from tltool.support import stopping
from tltool.support.errors import TrainingError
from tltool.support.progress import Progress
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task
from tltool.training.best_weights import BestWeights, Rule
from tltool.training.data import BatchedData
from tltool.training.phase import weight_bytes
from tltool.training.trainer import monitored, train

TASK = Task(TASKS["image-classification"], ClassTarget(("a", "b")))


def image_data(rows: int = 32, batch_size: int = 8, seed: int = 0) -> BatchedData:
    rng = np.random.default_rng(seed)
    classes = np.arange(rows) % 2
    images = rng.normal(classes[:, None, None, None], 1, (rows, 32, 32, 3)).astype("float32")
    targets = np.eye(2, dtype="float32")[classes]
    dataset = tf.data.Dataset.from_tensor_slices((images, targets)).batch(batch_size)
    return BatchedData(dataset, rows)


def fit(
    tmp_path,
    *phases,
    backbone=None,
    data=None,
    validation=None,
    validated=True,
    progress=None,
    task=TASK,
    **training,
):
    keras.utils.set_random_seed(0)
    transfer = join(backbone or tiny.tiny_image_backbone(), HeadSection(), task)
    before = {v.path: v.numpy() for v in transfer.model.variables}
    data = data or image_data()
    result = train(
        transfer,
        plan_phases(tuple(PhaseSection(**phase) for phase in phases), transfer.groups, "image"),
        task,
        TrainingSection(**training),
        data,
        (validation or data) if validated else None,
        strategy=tf.distribute.get_strategy(),
        checkpoint=tmp_path / "best.safetensors",
        progress=progress or Progress(),
    )
    after = {v.path: v.numpy() for v in transfer.model.variables}
    moved = {p for p in after if not np.array_equal(before[p], after[p]) and "seed" not in p}
    return transfer, result, moved


def test_frozen_weights_and_batch_norm_statistics_stay_bit_equal_and_trained_ones_move(tmp_path):
    transfer, _, moved = fit(tmp_path, {"train": Last(last=1), "epochs": 2, "learning_rate": 0.01})
    allowed = {
        weight.path
        for group in transfer.groups[-2:]
        for weight in group.weights
        if weight.kind == "weight"
    }
    assert moved == allowed
    assert any("stage2" in path for path in moved)


def test_training_everything_leaves_batch_norm_as_pretrained_by_default(tmp_path):
    _, _, moved = fit(tmp_path, {"train": "all", "learning_rate": 0.01})
    assert not any("_bn/" in path for path in moved)
    assert any("stem_conv" in path for path in moved)


def test_batch_norm_train_lets_scales_and_statistics_of_trained_groups_move(tmp_path):
    phase = {"train": Last(last=1), "batch_norm": "train", "learning_rate": 0.01}
    _, _, moved = fit(tmp_path, phase)
    assert {"stage2_bn/gamma", "stage2_bn/moving_mean"} <= moved
    assert not any(path.startswith(("stem", "stage1")) for path in moved)


def test_transformer_blocks_freeze_exactly(tmp_path):
    keras.utils.set_random_seed(0)
    backbone = tiny.tiny_text_backbone()
    task = Task(TASKS["text-classification"], ClassTarget(("a", "b")))
    transfer = join(backbone, HeadSection(), task)
    (plan,) = plan_phases((PhaseSection(train=Last(last=1)),), transfer.groups, "text")
    apply_plan(transfer.model, plan)
    assert {v.path for v in transfer.model.trainable_variables} == plan.trainable
    last_block = {v.path for v in backbone.groups[-1].variables if "seed" not in v.path}
    assert last_block < plan.trainable


def test_phases_follow_each_other_and_the_model_holds_the_best_epoch(tmp_path):
    # With every label wrong in the validation data, it gets worse the more is learnt.
    right = image_data()
    wrong = replace(right, dataset=right.dataset.map(lambda x, y: (x, 1.0 - y)))
    transfer, result, _ = fit(
        tmp_path,
        {"epochs": 2, "learning_rate": 0.05},
        {"train": "all", "epochs": 2, "learning_rate": 0.3, "curve": "constant"},
        data=right,
        validation=wrong,
        gradient_clip_norm=None,
        optimizer="sgd",
        momentum=0.0,
    )
    assert [row["phase"] for row in result.history] == ["1 head"] * 2 + ["2 all"] * 2
    losses = [row["val_loss"] for row in result.history]
    assert result.best["val_loss"] == min(losses)
    assert losses[-1] > min(losses), "the last epoch was meant not to be the best"
    transfer.model.compile(loss=TASK.loss())
    reached = transfer.model.evaluate(wrong.dataset, verbose=0, return_dict=True)["loss"]
    assert reached == pytest.approx(min(losses), rel=1e-5)


def test_the_best_epochs_batch_norm_statistics_are_put_back(tmp_path):
    right = image_data()
    wrong = replace(right, dataset=right.dataset.map(lambda x, y: (x, 1.0 - y)))
    phase = {"train": "all", "batch_norm": "train", "epochs": 3, "learning_rate": 0.3}
    transfer, result, moved = fit(tmp_path, phase, data=right, validation=wrong, optimizer="sgd")
    losses = [row["val_loss"] for row in result.history]
    assert losses[-1] > min(losses), "the last epoch was meant not to be the best"
    assert "stage2_bn/moving_mean" in moved
    transfer.model.compile(loss=TASK.loss())
    reached = transfer.model.evaluate(wrong.dataset, verbose=0, return_dict=True)["loss"]
    assert reached == pytest.approx(min(losses), rel=1e-5)


def test_without_validation_rows_the_last_epoch_is_kept_whatever_its_training_loss(tmp_path):
    # An exact head has the lowest loss on these rows; what follows it must not be thrown away.
    transfer, result, moved = fit(
        tmp_path,
        {"solver": "exact"},
        {"train": "all", "epochs": 2, "learning_rate": 0.3, "curve": "constant"},
        validated=False,
        gradient_clip_norm=None,
        optimizer="sgd",
        momentum=0.0,
    )
    losses = [row["loss"] for row in result.history]
    assert losses[-1] > min(losses), "the last epoch was meant not to have the lowest loss"
    assert result.best == result.history[-1]
    kept = load_file(tmp_path / "best.safetensors")
    assert "stem_conv/kernel" in moved, "phase 2 trained the backbone too"
    for variable in transfer.model.variables:
        if variable.path in kept:
            np.testing.assert_array_equal(variable.numpy(), kept[variable.path])


def test_of_two_equally_good_epochs_the_earlier_one_is_kept(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    best = BestWeights(model, tmp_path / "best.safetensors", Rule("val_accuracy", True))
    best.begin_phase([v.path for v in model.variables])
    for epoch, accuracy in enumerate((0.5, 0.75, 0.75, 0.5), start=1):
        model.set_weights([np.full((1, 1), epoch), np.zeros(1)])
        best.offer({"epoch": epoch, "val_accuracy": accuracy})
    best.restore()
    assert best.row["epoch"] == 2
    assert model.get_weights()[0] == 2.0


def test_early_stopping_ends_the_phase(tmp_path):
    _, result, _ = fit(
        tmp_path,
        {"epochs": 20, "learning_rate": 5.0, "curve": "constant"},
        early_stopping=EarlyStoppingSection(patience=2),
        optimizer="sgd",
    )
    best = [row["val_loss"] for row in result.history].index(result.best["val_loss"])
    assert len(result.history) == best + 3 < 20


def test_equal_seeds_make_equal_runs_and_other_seeds_other_runs(tmp_path):
    phase = {"train": "all", "epochs": 2}
    histories = [fit(tmp_path, phase)[1].history for _ in range(2)]
    timeless = [
        [{k: v for k, v in row.items() if "second" not in k} for row in rows] for rows in histories
    ]
    assert timeless[0] == timeless[1]


def test_a_loss_that_is_not_a_number_stops_and_names_the_step(tmp_path):
    data = image_data()
    poisoned = data.dataset.enumerate().map(
        lambda i, row: (tf.where(i == 2, np.nan, 1.0) * row[0], row[1])
    )
    with pytest.raises(
        TrainingError, match=r"nan at step 3 of epoch 1 in phase 1 \(head\)"
    ) as error:
        fit(tmp_path, {"epochs": 2}, data=BatchedData(poisoned, 32))
    assert "learning rate" in str(error.value.hint)


class PressCtrlC(Progress):
    """Raises KeyboardInterrupt in the middle of the third epoch."""

    def step(self, epoch, step, examples, values):
        if (epoch, step) == (3, 2):
            raise KeyboardInterrupt


def test_ctrl_c_keeps_the_best_epoch_so_far(tmp_path):
    transfer, result, _ = fit(tmp_path, {"epochs": 5, "learning_rate": 0.05}, progress=PressCtrlC())
    assert result.interrupted
    assert len(result.history) == 2
    keras.utils.set_random_seed(0)
    fresh = join(tiny.tiny_image_backbone(), HeadSection(), TASK).model
    kept = load_file(tmp_path / "best.safetensors")
    for variable in fresh.variables:
        if variable.path in kept:
            variable.assign(kept[variable.path])
    images = image_data().dataset.map(lambda x, _: x)
    np.testing.assert_allclose(
        fresh.predict(images, verbose=0), transfer.model.predict(images, verbose=0), rtol=1e-5
    )


@pytest.mark.parametrize("moment", ["between phases", "while tracing"])
def test_a_signal_is_heeded_where_nothing_can_raise_it(moment, tmp_path):
    class Signalling(Progress):
        def phase(self, title, epochs, steps_per_epoch):
            if (moment, title) == ("between phases", "2 all"):
                signal.raise_signal(signal.SIGTERM)
            return super().phase(title, epochs, steps_per_epoch)

    class Traced(ClassTarget):
        """Its loss sends the signal, and what that raises is lost."""

        def loss(self, **settings):
            own = super().loss(**settings)

            def loss(truth, raw):
                if moment == "while tracing":
                    with contextlib.suppress(BaseException):
                        signal.raise_signal(signal.SIGTERM)
                return own(truth, raw)

            return loss

    task = replace(TASK, target=Traced(("a", "b")))
    with stopping.stoppable(), stopping.in_steps():
        phases = ({"epochs": 1}, {"train": "all", "epochs": 1})
        _, result, _ = fit(tmp_path, *phases, task=task, progress=Signalling())
        assert stopping.exit_code() == 143
    assert result.interrupted
    assert len(result.history) == (1 if moment == "between phases" else 0)


def kinds_data(target, rows=64):
    """Noise whose levels in three colours say what the targets are."""
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(rows, 3))
    images = (levels[:, None, None] + 0.1 * rng.normal(size=(rows, 32, 32, 3))).astype("float32")
    if isinstance(target, NumbersTarget):
        weights, truth = np.ones(rows, "float32"), levels[:, :2] * target.std
    else:
        truth = levels > (0.5, 0.0, -0.5)
        sets = [tuple(np.array(target.labels)[row]) for row in truth]
        weights = target.weights(sets, "balanced")
    parts = (images, target.encode(truth), weights)
    return BatchedData(tf.data.Dataset.from_tensor_slices(parts).batch(16), rows)


@pytest.mark.parametrize(
    ("task", "training"),
    [
        (
            Task(
                TASKS["image-multi-label"],
                ClassSetTarget(("a", "b", "c"), frequencies=(0.3, 0.5, 0.7)),
            ),
            {"label_smoothing": 0.1, "focal_gamma": 1.0},
        ),
        (Task(TASKS["image-regression"], NumbersTarget(("a", "b"), (0, 0), (1.0, 50.0))), {}),
    ],
    ids=["multi-label", "numbers"],
)
def test_every_kind_of_target_learns_and_is_monitored_by_its_headline(tmp_path, task, training):
    score = task.target.headline()
    _, result, _ = fit(
        tmp_path,
        {"train": "all", "epochs": 6, "learning_rate": 0.01, "curve": "constant"},
        task=task,
        data=kinds_data(task.target),
        monitor="metric",
        **training,
    )
    values = [row[f"val_{score.key}"] for row in result.history]
    best = (max if score.higher_is_better else min)(values)
    assert result.best["epoch"] == values.index(best) + 1
    assert values[-1] > 0.9 if score.higher_is_better else values[-1] < 0.5 * values[0]
    assert result.history[-1]["loss"] < result.history[0]["loss"]


@pytest.mark.parametrize("monitor", ["auto", "metric"])
def test_an_order_that_is_trained_is_monitored_by_the_correlation(tmp_path, monitor):
    task = Task(TASKS["image-regression"], NumbersTarget(("a", "b"), (0, 0), (1.0, 50.0)))
    _, result, _ = fit(
        tmp_path,
        {"train": "all", "epochs": 5, "learning_rate": 0.01, "curve": "constant"},
        task=task,
        data=kinds_data(task.target),
        monitor=monitor,
        ranking=1.0,
    )
    values = [row["val_spearman"] for row in result.history]
    assert result.best["epoch"] == values.index(max(values)) + 1
    assert values[-1] > 0.8


@pytest.mark.parametrize(("monitor", "found"), [("auto", None), ("loss", None), ("metric", "mae")])
def test_without_an_order_the_loss_is_monitored(monitor, found):
    task = Task(TASKS["image-regression"], NumbersTarget(("a",), (0.0,), (1.0,)))
    score = monitored(TrainingSection(monitor=monitor), task)
    assert (score and score.key) == found


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
def test_every_optimizer_learns(optimizer, tmp_path):
    rate = 0.1 if optimizer == "sgd" else 0.02
    _, result, _ = fit(
        tmp_path, {"train": "all", "epochs": 4, "learning_rate": rate}, optimizer=optimizer
    )
    assert result.best["val_loss"] < 0.8 * result.history[0]["loss"]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_its_float32_copy_gives_the_same(precision, tmp_path):
    with precision_scope(precision):
        backbone = tiny.tiny_image_backbone()
        transfer, result, moved = fit(
            tmp_path, {"train": "all", "epochs": 3, "learning_rate": 0.02}, backbone=backbone
        )
    assert keras.config.dtype_policy().name == "float32"
    assert moved
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    images = next(iter(image_data().dataset))[0]
    copied = to_float32(transfer.model)
    assert {layer.compute_dtype for layer in copied.layers} == {"float32"}
    np.testing.assert_allclose(
        copied(images, training=False), transfer.model(images, training=False), atol=0.05
    )


DISTRIBUTED = Path(__file__).parents[1] / "helpers" / "distributed_fit.py"


def fit_on_devices(kind: str, devices: int, rows: int) -> dict:
    """Fits in a process of its own: logical devices are fixed once TensorFlow is in use."""
    done = subprocess.run(
        [sys.executable, str(DISTRIBUTED), kind, str(devices), str(rows)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "bert"])
def test_two_devices_give_the_losses_of_one(kind):
    one, two = (fit_on_devices(kind, devices, rows=26) for devices in (1, 2))
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert len(one["losses"]) == 8
    np.testing.assert_allclose(two["losses"], one["losses"], atol=1e-4)


@pytest.mark.slow
def test_a_last_batch_smaller_than_the_devices_is_left_out():
    # 25 examples in batches of 8 end with one example: the second device would get none.
    one, two = fit_on_devices("cnn", 1, rows=24), fit_on_devices("cnn", 2, rows=25)
    np.testing.assert_allclose(two["losses"], one["losses"], atol=1e-4)


def test_the_bytes_of_weights_are_counted_without_reading_them(monkeypatch):
    transfer = join(tiny.tiny_image_backbone(), HeadSection(), TASK)
    plans = plan_phases((PhaseSection(train="head", epochs=1),), transfer.groups, "image")
    every = sum(v.numpy().nbytes for v in transfer.model.variables)
    monkeypatch.setattr(keras.Variable, "numpy", None)
    assert weight_bytes(transfer, plans)[0] == every

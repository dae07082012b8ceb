"""Which epochs are trained again, and that the second training begins where the first one did."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from tltool.data.examples import Examples
from tltool.model.freezing import plan_phases
from tltool.model.joining import apply_plan, join
from tltool.recipe.schema import HeadSection, PhaseSection, TrainingSection
from tltool.support.progress import Progress
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task
from tltool.training.best_weights import Rule
from tltool.training.data import BatchedData
from tltool.training.refit import StartingPoint, kept_epochs, stopped, with_all_rows
from tltool.training.trainer import train

TASK = Task(TASKS["image-classification"], ClassTarget(("a", "b")))
RULE = Rule("val_loss", False)
HEAD = {"train": "head", "epochs": 4, "learning_rate": 0.01}
ALL = {"train": "all", "epochs": 4, "learning_rate": 0.01}
CONTRASTIVE = {"train": "all", "objective": "contrastive", "epochs": 2}


def planned(*phases):
    keras.utils.set_random_seed(0)
    transfer = join(tiny.tiny_image_backbone(), HeadSection(), TASK)
    sections = tuple(PhaseSection(**phase) for phase in phases)
    return transfer, plan_phases(sections, transfer.groups, "image")


def rows(*phases):
    """Of each phase, the losses of its epochs."""
    return [
        {"phase": f"{number} phase", "epoch": epoch, "val_loss": loss}
        for number, losses in enumerate(phases, start=1)
        for epoch, loss in enumerate(losses, start=1)
    ]


@pytest.mark.parametrize(
    ("phases", "losses", "kept"),
    [
        # The second phase began with the first one's second epoch.
        ((HEAD, ALL), ((5, 4, 4.5), (3, 2, 3)), {1: 2, 2: 2}),
        # It brought nothing better.
        ((HEAD, ALL), ((5, 4), (6, 7, 8)), {1: 2, 2: 0}),
        # So the third one began with the first one's.
        ((HEAD, ALL, ALL), ((5, 4, 6), (6,), (9, 3)), {1: 2, 2: 0, 3: 2}),
        # Of equal epochs the first one is kept.
        ((HEAD,), ((5, 4, 4, 4),), {1: 2}),
        # Features that are drawn together don't compete, and all of their epochs count.
        ((CONTRASTIVE, HEAD), ((0, 0), (5, 4)), {1: 2, 2: 2}),
        ((HEAD, CONTRASTIVE, ALL), ((1,), (0, 0), (5, 4)), {1: 1, 2: 0, 3: 0}),
    ],
)
def test_the_epochs_that_led_to_the_weights_that_were_kept(phases, losses, kept):
    assert kept_epochs(rows(*losses), planned(*phases)[1], RULE) == kept


def test_the_change_that_counts_as_better_is_the_trainings():
    plans = planned(HEAD)[1]
    losses = ((5.0, 4.9, 4.4, 4.3),)
    assert kept_epochs(rows(*losses), plans, RULE) == {1: 4}
    assert kept_epochs(rows(*losses), plans, Rule("val_loss", False, min_delta=0.5)) == {1: 3}


def data(count=32):
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 2
    images = rng.normal(classes[:, None, None, None], 1, (count, 32, 32, 3)).astype("float32")
    targets = np.eye(2, dtype="float32")[classes]
    dataset = tf.data.Dataset.from_tensor_slices((images, targets)).batch(8)
    return BatchedData(dataset, count)


def trained(transfer, plans, validation=None, **options):
    keras.utils.set_random_seed(0)
    settings = TrainingSection(optimizer="sgd", early_stopping={"patience": 1})
    result = train(
        transfer, plans, TASK, settings, data(), validation, strategy=tf.distribute.get_strategy(),
        checkpoint=None, progress=Progress(), **options,
    )  # fmt: skip
    return result, [v.numpy() for v in transfer.model.variables]


def test_again_from_the_same_start_gives_the_same_weights():
    transfer, plans = planned(HEAD, ALL)
    start = StartingPoint(transfer, plans)
    before = [v.numpy() for v in transfer.model.variables]
    _, first = trained(transfer, plans)
    assert any(not np.array_equal(a, b) for a, b in zip(before, first, strict=True))
    start.restore()
    for value, variable in zip(before, transfer.model.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())
    _, second = trained(transfer, plans)
    for value, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(value, other)


def test_settled_epochs_are_trained_at_the_rates_that_were_planned_and_the_last_is_kept():
    transfer, plans = planned(HEAD, {**ALL, "epochs": 2}, HEAD)
    plans = stopped(plans, {1: 3, 2: 0, 3: 1})
    result, weights = trained(transfer, plans, settled=True)
    assert [row["phase"] for row in result.history] == ["1 head"] * 3 + ["3 head"]
    assert result.best == result.history[-1]
    whole, _ = trained(*planned(HEAD), settled=True)
    for row, other in zip(result.history[:3], whole.history, strict=False):
        assert row["learning_rate"] == other["learning_rate"]
    # Nothing is put back in the end: the weights are those of the last step.
    transfer, plans = planned(HEAD, {**ALL, "epochs": 2}, HEAD)
    again, other = trained(transfer, stopped(plans, {1: 3, 2: 0, 3: 1}), settled=True)
    assert again.best["epoch"] == 1
    for value, one in zip(weights, other, strict=True):
        np.testing.assert_array_equal(value, one)


def test_a_loss_that_rises_ends_no_settled_phase():
    transfer, plans = planned({**HEAD, "learning_rate": 10.0, "curve": "constant", "epochs": 6})
    result, _ = trained(transfer, plans, settled=True)
    losses = [row["loss"] for row in result.history]
    assert len(losses) == 6
    assert result.best["epoch"] == 6
    rises = [later > earlier for earlier, later in itertools.pairwise(losses)]
    assert any(rises[:-1]), "the loss was meant to rise before the last epoch"


def test_a_phase_of_no_epochs_leaves_what_later_ones_find():
    transfer, plans = planned(ALL)
    (plan,) = stopped(plans, {1: 0})
    before = [v.numpy() for v in transfer.model.variables]
    apply_plan(transfer.model, plan)
    result, after = trained(transfer, (plan,), settled=True)
    assert result.best is None
    for value, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(value, other)


def test_validation_rows_become_training_rows_and_test_rows_stay():
    examples = Examples("text", ["a", "b", "c"], ["x"] * 3, ["train", "validation", "test"], "123")
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Prepared:
        examples: Examples
        plans: tuple

    found = with_all_rows(Prepared(examples, ()), (SimpleNamespace(),))
    assert list(found.examples.splits) == ["train", "train", "test"]
    assert list(examples.splits) == ["train", "validation", "test"]

"""What a training is at, put back in another one: the rest is, to the bit, that of the first."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from tltool.data.batches.pipeline import Epochs, make_batches
from tltool.data.batches.source import Source, nothing_to_load
from tltool.model.freezing import plan_phases
from tltool.model.joining import join, precision_scope
from tltool.model.lora import add_adapters
from tltool.recipe.schema import (
    EarlyStoppingSection,
    EverySteps,
    HeadSection,
    Last,
    PhaseSection,
    TrainingSection,
)
from tltool.support import stopping
from tltool.support.errors import RunError
from tltool.support.progress import Progress
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task
from tltool.training.checkpoint import Checkpoints, Position, read_state, write_state
from tltool.training.data import BatchedData
from tltool.training.optimizers import moments
from tltool.training.phase import state_bytes
from tltool.training.trainer import train

TASK = Task(TASKS["image-classification"], ClassTarget(("a", "b")))
TEXTS = Task(TASKS["text-classification"], ClassTarget(("a", "b")))
PHASES = (
    {"train": "head", "epochs": 2, "learning_rate": 0.01},
    {"train": Last(last=1), "epochs": 2, "learning_rate": 0.01, "batch_norm": "train"},
)
ROWS, BATCH = 20, 8
LATER = ((1, 1, 2), (2, 1, 0))
TIMES = {"seconds", "examples_per_second"}


class Every(Checkpoints):
    """Collects the states of all steps instead of writing them."""

    def __init__(self, folder):
        super().__init__(folder, EverySteps(steps=1))
        self.states = {}

    def keep(self, take, *, surely=False):
        state = take()
        position = state.position
        self.states[position.phase, position.epoch, position.step] = state

    keep_last = keep


class Shuffled(BatchedData):
    """Rows in another order in every epoch."""

    def batches(self, phase, features=None, *, epochs=None, skipped=0, **_):
        return make_batches(
            self.dataset[0], targets=self.dataset[1], batch_size=BATCH, training=True, seed=phase,
            epochs=epochs, skipped=skipped,
        )  # fmt: skip


def images(training: bool = True) -> BatchedData:
    rng = np.random.default_rng(0)
    classes = np.arange(ROWS) % 2
    pixels = rng.normal(classes[:, None, None, None], 1, (ROWS, 32, 32, 3)).astype("float32")
    targets = np.eye(2, dtype="float32")[classes]
    if training:
        kept = tf.constant(pixels)
        source = Source(ROWS, nothing_to_load, lambda _, rows: tf.gather(kept, rows))
        return Shuffled((source, targets), ROWS)
    return BatchedData(tf.data.Dataset.from_tensor_slices((pixels, targets)).batch(BATCH), ROWS)


def texts() -> BatchedData:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 30, (ROWS, 8)).astype("int32")
    inputs = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones_like(ids),
    }
    targets = np.eye(2, dtype="float32")[ids[:, 0] % 2]
    return BatchedData(tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(BATCH), ROWS)


def fit(folder, phases=PHASES, *, begin=None, checkpoints=None, lora=False, strategy=None, **how):
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    strategy = strategy or tf.distribute.get_strategy()
    training = TrainingSection(batch_size=BATCH, checkpoint=EverySteps(steps=1), **how)
    with strategy.scope(), precision_scope(training.precision):
        if lora:
            backbone = add_adapters(tiny.tiny_text_backbone(), 2)
            transfer = join(backbone, HeadSection(), TEXTS)
        else:
            transfer = join(tiny.tiny_image_backbone(), HeadSection(), TASK)
    modality = "text" if lora else "image"
    plans = plan_phases(tuple(PhaseSection(**p) for p in phases), transfer.groups, modality)
    result = train(
        transfer,
        plans,
        TEXTS if lora else TASK,
        training,
        texts() if lora else images(),
        texts() if lora else images(training=False),
        strategy=strategy,
        checkpoint=folder / "best.safetensors",
        progress=Progress(),
        checkpoints=checkpoints,
        begin=begin,
    )
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in result.history]
    return rows, [v.numpy() for v in transfer.model.variables], transfer, plans


def assert_equal(found, expected):
    assert found[0] == expected[0]
    for value, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    every = Every(folder)
    return fit(folder, checkpoints=every), every.states


def test_every_step_and_epoch_is_kept(undisturbed):
    _, states = undisturbed
    within = {(phase, epoch, step) for phase in (1, 2) for epoch in (0, 1) for step in (1, 2)}
    ends = {(phase, epoch, 0) for phase in (1, 2) for epoch in (1, 2)}
    assert set(states) == within | ends


@pytest.mark.parametrize(
    "place", [(2, 0, 1), (2, 2, 0), *(pytest.param(p, marks=pytest.mark.slow) for p in LATER)]
)
def test_the_rest_is_that_of_an_undisturbed_training(undisturbed, place, tmp_path):
    expected, states = undisturbed
    write_state(tmp_path / "state-1.safetensors", states[place])
    begin = read_state(tmp_path / "state-1.safetensors")
    random.seed(99)  # whatever another process has drawn
    assert_equal(fit(tmp_path, begin=begin), expected)


@pytest.mark.slow
def test_a_training_stopped_in_validation_has_only_that_to_do(tmp_path, monkeypatch):
    how = {"ema_momentum": 0.9}
    expected = fit(tmp_path, **how)
    every = Every(tmp_path)
    validating = keras.Model.evaluate
    calls = []

    def asked(*args, **kwargs):
        calls.append(stopping._asked)
        if len(calls) == 3:
            monkeypatch.setattr(stopping, "_asked", 15)
        return validating(*args, **kwargs)

    monkeypatch.setattr(keras.Model, "evaluate", asked)
    fit(tmp_path, checkpoints=every, **how)
    monkeypatch.undo()
    assert (2, 0, 3) in every.states
    begin, later = every.states[2, 0, 3], Every(tmp_path)
    assert_equal(fit(tmp_path, begin=begin, checkpoints=later, **how), expected)
    # Stopped in that validation once more, it keeps what the first process had.
    calls.clear()
    calls.extend([None, None])
    monkeypatch.setattr(keras.Model, "evaluate", asked)
    fit(tmp_path, begin=begin, checkpoints=later, **how)
    monkeypatch.undo()
    again = later.states[2, 0, 3]
    assert again.facts["epoch"]["trained"] == begin.facts["epoch"]["trained"] != {}
    assert_equal(fit(tmp_path, begin=again, **how), expected)


def test_a_checkpoint_of_another_model_or_optimizer_is_refused(undisturbed, tmp_path):
    _, states = undisturbed
    with pytest.raises(RunError, match="of another model or optimizer"):
        fit(tmp_path, begin=states[1, 1, 2], optimizer="sgd")


def test_the_told_size_is_that_of_the_largest(undisturbed):
    (_, _, transfer, plans), states = undisturbed
    largest = max(sum(v.nbytes for v in state.tensors.values()) for state in states.values())
    assert largest <= 1.1 * state_bytes(transfer, plans, TrainingSection()) + 1000


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_moments_of_optimizers_are_counted(name, momentum):
    from tltool.training.optimizers import WarmupThenDecay, make_optimizer

    training = TrainingSection(optimizer=name, momentum=momentum)
    optimizer = make_optimizer(training, WarmupThenDecay(0.1, 10, 0, "constant"), {})
    variable = keras.Variable(np.zeros(3, "float32"))
    optimizer.build([variable])
    assert moments(training) == sum(v.shape == (3,) for v in optimizer.variables)


def test_skipped_batches_are_not_read_and_the_rest_are_those_of_the_epoch():
    seen = []

    def load(rows, _):
        def one(row):
            return row, tf.numpy_function(lambda r: (seen.append(int(r)), r)[1], [row], tf.int64)

        return rows.map(one)

    source = Source(10, load, lambda key, rows, loaded: loaded)

    def epoch(now, **how):
        seen.clear()
        batches = make_batches(
            source, targets=None, batch_size=3, training=True, epochs=Epochs(4, now), **how
        )
        found = [batch.numpy().tolist() for batch in batches]
        assert len(batches) == len(found)
        return found

    whole = epoch(2)
    assert epoch(2, skipped=2) == whole[2:]
    assert sorted(seen) == sorted(row for batch in whole[2:] for row in batch)
    assert epoch(1) != whole == epoch(2)


SLOW_CASES = {
    "half precision": {"precision": "mixed_float16"},
    "several steps a call": {"steps_per_execution": 2, "optimizer": "sgd"},
    "moving average": {"ema_momentum": 0.9},
    "mean of the best epochs": {"average_epochs": {"best": 2}},
    "mean of the last epochs": {"average_epochs": {"last": 2}, "ema_momentum": 0.9},
    "gradients in parts": {"gradient_accumulation_steps": 2},
    "early stopping": {"early_stopping": EarlyStoppingSection(patience=1), "optimizer": "rmsprop"},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW_CASES)
def test_whatever_is_set_for_training(case, tmp_path):
    every = Every(tmp_path)
    expected = fit(tmp_path, checkpoints=every, **SLOW_CASES[case])
    for place in list(every.states)[4::6]:
        assert_equal(fit(tmp_path, begin=every.states[place], **SLOW_CASES[case]), expected)


@pytest.mark.slow
def test_features_that_are_drawn_together_first(tmp_path):
    phases = ({"train": "all", "objective": "contrastive", "epochs": 2}, {"train": "head"})
    every = Every(tmp_path)
    expected = fit(tmp_path, phases, checkpoints=every)
    for place in list(every.states)[1::4]:
        assert_equal(fit(tmp_path, phases, begin=every.states[place]), expected)


@pytest.mark.slow
def test_a_rate_that_falls_on_a_plateau(tmp_path):
    plateau = {"learning_rate": 1.0, "curve": "plateau", "plateau_patience": 1}
    phases = ({"train": "head", "epochs": 4, **plateau},)
    every = Every(tmp_path)
    how = {"early_stopping": EarlyStoppingSection(patience=9, min_delta=0.5)}
    expected = fit(tmp_path, phases, checkpoints=every, **how)
    assert expected[0][-1]["learning_rate"] < 1.0, "the rate was meant to fall"
    for place in list(every.states)[1::4]:
        assert_equal(fit(tmp_path, phases, begin=every.states[place], **how), expected)


@pytest.mark.slow
def test_several_devices(tmp_path):
    """In a process of its own: the processor can be split before it is used alone."""
    code = (
        "import pathlib, sys\n"
        "from tltool.recipe.schema import TrainingSection\n"
        "from tltool.training.distribution import make_strategy\n"
        "section = TrainingSection(distribution='mirrored', devices=('cpu:0', 'cpu:1'))\n"
        "strategy = make_strategy(section)\n"
        "import test_course as test\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "every = test.Every(folder)\n"
        "expected = test.fit(folder, checkpoints=every, strategy=strategy)\n"
        "for place in list(every.states)[4::6]:\n"
        "    found = test.fit(folder, begin=every.states[place], strategy=strategy)\n"
        "    test.assert_equal(found, expected)\n"
        "    print('equal', place)\n"
    )
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "helpers"), str(here.parent.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal") == 2


@pytest.mark.slow
def test_adapters(tmp_path):
    phases = ({"train": "head", "epochs": 1}, {"train": "lora", "rank": 2, "epochs": 2})
    every = Every(tmp_path)
    expected = fit(tmp_path, phases, checkpoints=every, lora=True)
    for place in list(every.states)[1::4]:
        assert_equal(fit(tmp_path, phases, begin=every.states[place], lora=True), expected)


@pytest.mark.slow
def test_another_number_of_steps_goes_on_at_the_epochs_begin(undisturbed, tmp_path, monkeypatch):
    _, states = undisturbed
    assert states[2, 0, 1].facts["steps"] == 3
    monkeypatch.setattr(sys.modules[__name__], "BATCH", 4)
    rows, _, _, _ = fit(tmp_path, begin=states[2, 1, 2])
    assert [row["epoch"] for row in rows] == [1, 2, 1, 2]
    # Half of the phase's steps are done, whatever their number.
    assert rows[-1]["learning_rate"] == pytest.approx(0.005, rel=1e-3)


def test_positions_are_told_in_words():
    assert str(Position(2, 0, 1)) == "epoch 1 of phase 2 after 1 step"
    assert str(Position(2, 1, over=True)) == "the end of phase 2"

"""What the callbacks make of a fit's calls, without a fit."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest

from tltool.model.freezing import Group, Weight, plan_phases
from tltool.recipe.schema import EarlyStoppingSection, PhaseSection
from tltool.support import stopping
from tltool.support.errors import TrainingError
from tltool.support.progress import Progress
from tltool.support.stopwatch import Stopwatch
from tltool.training import callbacks
from tltool.training.best_weights import Rule
from tltool.training.callbacks import (
    EpochEnd,
    Keeping,
    NanStop,
    StageClock,
    StepProgress,
    StopAsked,
    Telling,
)
from tltool.training.checkpoint import Position

GROUPS = (Group("head", (Weight("kernel", 1),)),)
PLAN = plan_phases(
    (PhaseSection(epochs=1), PhaseSection(epochs=9, learning_rate=0.25)), GROUPS, "image"
)[1]


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self):
        self.notes, self.steps, self.epochs = [], [], []

    def note(self, text):
        self.notes.append(text)

    def step(self, *told):
        self.steps.append(told)

    def epoch_end(self, row, best):
        self.epochs.append((row["epoch"], best))


class Best:
    """Takes the epochs of the lowest loss for the best ones."""

    rule = Rule("val_loss", False)

    def __init__(self):
        self.lowest = math.inf

    def offer(self, row):
        better = row["loss"] < self.lowest
        self.lowest = min(self.lowest, row["loss"])
        return better


def epoch_end(history, *, patience=None, best=None, optimizer=None, examples=100):
    section = None if patience is None else EarlyStoppingSection(patience=patience)
    progress = Told()
    made = EpochEnd(PLAN, history, best or Best(), section, examples, progress)
    optimizer = optimizer or SimpleNamespace(learning_rate=0.5)
    made.set_model(SimpleNamespace(optimizer=optimizer, stop_training=False))
    return made, progress


@pytest.fixture
def ticking(monkeypatch):
    """A clock that is one second later at each look."""
    clock = itertools.count(10)
    time = SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr(callbacks, "time", time)


def test_a_row_says_where_the_epoch_stands_and_how_fast_training_alone_was(ticking):
    history = [{"phase": "1 head", "epoch": 1}]
    made, progress = epoch_end(history)
    made.on_epoch_begin(0)
    made.on_test_begin()
    made.model.optimizer.learning_rate = 0.1  # a schedule has moved it on
    made.on_epoch_end(0, {"loss": 2, "val_loss": 3.0})
    assert history[1] == {
        "phase": "2 head",
        "epoch": 1,
        "total_epoch": 2,
        "loss": 2.0,
        "val_loss": 3.0,
        "learning_rate": 0.5,
        "seconds": 2.0,
        "examples_per_second": 100.0,
    }
    # Without validation the whole epoch is training; nothing is left of the epoch before.
    made.on_epoch_begin(1)
    made.on_epoch_end(1, {"loss": 1.0})
    assert history[2]["examples_per_second"] == 100.0
    assert history[2]["learning_rate"] == 0.1
    assert (history[2]["epoch"], history[2]["total_epoch"]) == (2, 3)
    assert progress.epochs == [(1, True), (2, True)]


def test_times_are_rounded_for_people_and_none_is_divided_by(monkeypatch):
    times = iter([1.0, 1.3333333, 1.0, 1.0])
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    history = []
    made, _ = epoch_end(history)
    made.on_epoch_begin(0)
    made.on_epoch_end(0, {"loss": 1.0})
    assert (history[0]["seconds"], history[0]["examples_per_second"]) == (0.333, 300.0)
    made.on_epoch_begin(1)
    made.on_epoch_end(1, {"loss": 1.0})
    assert history[1]["examples_per_second"] == pytest.approx(1e11)


def test_the_rate_is_that_of_the_optimizer_inside_loss_scaling():
    inner = SimpleNamespace(learning_rate=0.5)
    history = []
    made, _ = epoch_end(history, optimizer=SimpleNamespace(inner_optimizer=inner))
    made.on_epoch_begin(0)
    made.on_epoch_end(0, {"loss": 1.0})
    assert history[0]["learning_rate"] == 0.5


def test_patience_counts_the_epochs_since_the_best_one():
    made, progress = epoch_end([], patience=2)
    for epoch, (loss, ended) in enumerate([(3, 0), (4, 0), (2, 0), (2, 0), (5, 1)]):
        assert not made.model.stop_training
        made.on_epoch_begin(epoch)
        made.on_epoch_end(epoch, {"loss": loss})
        assert made.model.stop_training == bool(ended)
    assert progress.notes == ["stopped early: val_loss has not improved for 2 epochs"]
    assert [best for _, best in progress.epochs] == [True, False, True, False, False]


def test_without_early_stopping_a_phase_goes_on():
    made, progress = epoch_end([])
    for epoch in range(5):
        made.on_epoch_begin(epoch)
        made.on_epoch_end(epoch, {"loss": 1.0})
    assert not made.model.stop_training
    assert progress.notes == []


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_the_steps_that_gave_no_number_are_named(loss):
    stop = NanStop(PLAN)
    with pytest.raises(TrainingError, match=f"The loss is {loss} at step 1 of epoch 1 in phase 2"):
        stop.on_train_batch_end(0, {"loss": loss})
    stop = NanStop(PLAN)
    for epoch in (0, 1):
        stop.on_epoch_begin(epoch)
        stop.on_train_batch_end(3, {"loss": 1.0})
    # Four steps in one call.
    with pytest.raises(TrainingError, match=r"one of the steps 5 to 8 of epoch 2 in") as error:
        stop.on_train_batch_end(7, {"loss": loss})
    assert "ten times lower than 0.25" in error.value.hint
    stop.on_epoch_begin(2)
    with pytest.raises(TrainingError, match="at step 1 of epoch 3"):
        stop.on_train_batch_end(0, {"loss": loss})
    stop.on_train_batch_end(1, None)


def test_steps_are_told_with_the_examples_that_they_held():
    progress = Told()
    made = StepProgress(progress, 8)
    made.on_train_batch_end(0, {"loss": 4.0})
    for epoch in (1, 2):
        made.on_epoch_begin(epoch)
        made.on_train_batch_end(3, {"loss": 2.0})
        made.on_train_batch_end(4, None)
    assert progress.steps == [
        (1, 1, 8, {"loss": 4.0}),
        (2, 4, 32, {"loss": 2.0}),
        (2, 5, 8, {}),
        (3, 4, 32, {"loss": 2.0}),
        (3, 5, 8, {}),
    ]


def test_the_first_step_of_each_phase_is_compiling_and_validation_is_apart():
    calls = []

    class Clock(Stopwatch):
        def start(self, stage):
            calls.append(stage)

        def stop(self):
            calls.append("stop")

    made = StageClock(Clock())
    for _ in range(2):
        made.on_train_begin()
        made.on_train_batch_end(0)
        made.on_train_batch_end(1)
        made.on_test_begin()
        made.on_test_end()
    assert calls == ["compiling", "stop", "validation", "stop"] * 2


def test_a_stop_is_heeded_after_every_step_and_epoch(monkeypatch):
    made = StopAsked()
    moments = (made.on_train_batch_end, made.on_test_batch_end, made.on_epoch_end)
    for moment in moments:
        moment(0)
    monkeypatch.setattr(stopping, "_asked", 15)
    for moment in moments:
        with pytest.raises(stopping.Stopped):
            moment(0)


def test_a_phase_that_never_beats_the_one_before_ends_by_patience_too():
    best = Best()
    best.lowest = 1.0
    made, _ = epoch_end([], patience=1, best=best)
    made.on_epoch_begin(0)
    made.on_epoch_end(0, {"loss": 2.0})
    assert made.model.stop_training


def test_speed_is_told_to_a_tenth(ticking):
    history = []
    made, _ = epoch_end(history, examples=33)
    made.on_epoch_begin(0)
    made._started -= 8  # nine seconds in all
    made.on_epoch_end(0, {"loss": 1.0})
    assert history[0]["examples_per_second"] == 3.7


class Kept:
    """Stands for checkpoints, and for what is kept in them."""

    def __init__(self):
        self.asked, self.last, self.states = 0, [], []

    def metrics(self, *, together):
        self.asked += 1
        return {"together": together}

    def state(self, position, epoch, metrics=None):
        self.states.append((position, metrics))
        return position

    def keep(self, take, *, surely=False):
        take()

    def keep_last(self, take):
        self.last.append(take())

    def finish(self):
        self.states.append("finished")


def keeping(kept, checkpoints, **how):
    model = SimpleNamespace(stop_training=False, get_metrics_result=lambda: {"loss": 0.5})
    made = Keeping(PLAN, Position(2), 5, 2, checkpoints, kept, epoch_end([])[0], **how)
    made.set_model(model)
    made.on_epoch_begin(0)
    return made


def test_workers_that_keep_none_give_their_part_at_the_same_steps():
    chief, other = Kept(), Kept()
    for kept, checkpoints in ((chief, chief), (other, None)):
        made = keeping(kept, checkpoints, together=True)
        for batch in range(5):
            made.on_train_batch_end(batch)
        made.on_epoch_end(0)
    assert chief.asked == other.asked == 2
    assert chief.states == [
        (Position(2, 0, 2), {"together": True}),
        (Position(2, 0, 4), {"together": True}),
        (Position(2, 1), None),
    ]
    assert other.states == []


def test_the_last_checkpoint_of_workers_waits_for_their_agreement():
    kept = Kept()
    made = keeping(kept, kept, together=True)
    with stopping.stoppable(), stopping.in_agreement():
        stopping.ask(15)
        made.on_train_batch_end(0)
        assert kept.last == []
        stopping.agree()
        made.on_train_batch_end(1)
        made.on_test_batch_end(0)
    assert kept.last == [Position(2, 0, 2), Position(2, 0, 2)]


def test_an_epoch_is_told_once_its_checkpoint_is_written():
    kept, rows = Kept(), []
    made = Telling(kept.states.append, rows, kept)
    rows.append({"epoch": 1})
    made.on_epoch_end(0)
    assert kept.states == ["finished", {"epoch": 1}]
    with stopping.stoppable():
        stopping.ask(15)
        made.on_epoch_end(1)
    assert len(kept.states) == 2

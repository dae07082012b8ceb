"""Keras callbacks of the trainer: history, a stop on NaN or when asked, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tltool.model.freezing import PhasePlan
from tltool.recipe.schema import EarlyStoppingSection
from tltool.support import stopping
from tltool.support.errors import TrainingError
from tltool.support.progress import Progress, in_epochs
from tltool.support.stopwatch import Stopwatch
from tltool.training.best_weights import BestWeights, HistoryRow
from tltool.training.checkpoint import Checkpoints, Position, State, is_between
from tltool.training.course import Course
from tltool.training.epoch_average import EpochAverage


class StepCount(keras.callbacks.Callback):
    """Counts the steps of an epoch, those that another process did too.

    Args:
        begin: Where the phase goes on.
    """

    def __init__(self, begin: Position) -> None:
        super().__init__()
        self._begin = begin
        self._skipped = 0
        self.epoch = 0
        self.done = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch, counted from 0."""
        self.epoch = epoch
        self._skipped = self._begin.step if epoch == self._begin.epoch else 0
        self.done = self._skipped

    @property
    def all_skipped(self) -> bool:
        """Whether no step of the epoch was done here."""
        return 0 < self.done == self._skipped

    def count(self, batch: int) -> int:
        """Steps of the epoch done before the call that ended with this batch."""
        before, self.done = self.done, self._skipped + batch + 1
        return before


class NanStop(StepCount):
    """Ends training with an error at the first step whose loss is not a number."""

    def __init__(self, plan: PhasePlan, begin: Position | None = None) -> None:
        super().__init__(begin or Position(plan.number))
        self._plan = plan

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        first = self.count(batch) + 1
        if not math.isfinite(loss):
            several = f"one of the steps {first} to" if first < self.done else "step"
            raise TrainingError(
                f"The loss is {loss} at {several} {self.done} of epoch {self.epoch + 1} in phase "
                f"{self._plan.number} ({self._plan.title}).",
                hint="Try a learning rate ten times lower than "
                f"{self._plan.phase.learning_rate:g}, `training.gradient_clip_norm: 1.0`, a "
                "warm-up, or `training.precision: float32`; look for extreme targets in the data.",
            )


class StopAsked(keras.callbacks.Callback):
    """Raises `Stopped` after a step or an epoch if a stop was asked for."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Between two steps."""
        stopping.check()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Between two steps of validation."""
        stopping.check()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Between two epochs."""
        stopping.check()


class EpochEnd(keras.callbacks.Callback):
    """At the end of each epoch: one history row, the best weights, early stopping.

    Args:
        plan: The phase.
        history: Rows of all phases; one is added each epoch.
        best: Where the best weights are kept; None in a phase whose epochs don't compete.
        stopping: When to end the phase early, or None.
        num_examples: Examples in an epoch.
        progress: Is told of each epoch.
        average: Where the weights of several epochs are kept, or None.
    """

    def __init__(
        self,
        plan: PhasePlan,
        history: list[HistoryRow],
        best: BestWeights | None,
        stopping: EarlyStoppingSection | None,
        num_examples: int,
        progress: Progress,
        average: EpochAverage | None = None,
    ) -> None:
        super().__init__()
        self._plan = plan
        self._history = history
        self._best = best
        self._average = average
        self._stopping = stopping
        self._num_examples = num_examples
        self._progress = progress
        self._started = 0.0
        self._train_seconds = 0.0
        self._rate = 0.0
        self._waited = 0
        self._begun: Mapping[str, Any] = {}

    def state(self) -> dict[str, Any]:
        """What another process needs to go on, ready for JSON."""
        seconds = time.perf_counter() - self._started
        return {"waited": self._waited, "rate": self._rate, "seconds": seconds}

    def go_on(self, state: Mapping[str, Any], *, within: bool) -> None:
        """Takes what `state` was; `within` an epoch, for the next one to begin."""
        self._waited = state["waited"]
        self._begun = state if within else {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock and notes the learning rate the epoch begins with."""
        self._started = time.perf_counter()
        self._train_seconds = 0.0
        if self._begun:
            self._started -= self._begun["seconds"]
            self._rate, self._begun = self._begun["rate"], {}
            return
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        self._rate = float(optimizer.learning_rate)

    def on_test_begin(self, logs: Any = None) -> None:
        """Stops the training clock: validation is not counted in examples a second."""
        self._train_seconds = time.perf_counter() - self._started

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the row, keeps the weights if they are the best, and may end the phase."""
        seconds = time.perf_counter() - self._started
        row: HistoryRow = {
            "phase": f"{self._plan.number} {self._plan.title}",
            "epoch": epoch + 1,
            "total_epoch": len(self._history) + 1,
            **{key: float(value) for key, value in (logs or {}).items()},
            "learning_rate": self._rate,
            "seconds": round(seconds, 3),
            "examples_per_second": round(
                self._num_examples / max(self._train_seconds or seconds, 1e-9), 1
            ),
        }
        self._history.append(row)
        better = self._best is not None and self._best.offer(row)
        if self._average is not None:
            self._average.offer(row)
        self._waited = 0 if better else self._waited + 1
        self._progress.epoch_end(row, better)
        if self._best is None:
            return
        if self._stopping is not None and self._waited >= self._stopping.patience:
            self._progress.note(
                f"stopped early: {self._best.rule.monitor} has not improved for "
                f"{in_epochs(self._waited)}"
            )
            self.model.stop_training = True


class StepProgress(StepCount):
    """Tells the progress display of each step, or each call of several steps."""

    def __init__(self, progress: Progress, batch_size: int, begin: Position | None = None) -> None:
        super().__init__(begin or Position(1))
        self._progress = progress
        self._batch_size = batch_size

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Passes the step on."""
        before = self.count(batch)
        steps = self.done - before
        self._progress.step(self.epoch + 1, self.done, steps * self._batch_size, dict(logs or {}))


class Keeping(StepCount):
    """Keeps checkpoints as often as is asked for, and one more when a stop was.

    Args:
        plan: The phase.
        begin: Where it goes on.
        steps: Of an epoch.
        every: Steps from one checkpoint to the next within an epoch, or None.
        checkpoints: Where they are kept; None in a worker that another one keeps them for.
        course: What is kept.
        epoch_end: Adds the row of each epoch; it is called before this one.
        trained: What the steps gave where all of them are done where the phase goes on.
        together: Whether several workers train: each has a part of an epoch's running means.
    """

    def __init__(
        self,
        plan: PhasePlan,
        begin: Position,
        steps: int,
        every: int | None,
        checkpoints: Checkpoints | None,
        course: Course,
        epoch_end: EpochEnd,
        trained: Mapping[str, float] | None = None,
        *,
        together: bool = False,
    ) -> None:
        super().__init__(begin)
        self._plan = plan
        self._steps = steps
        self._every = every
        self._checkpoints = checkpoints
        self._course = course
        self._epoch_end = epoch_end
        self._trained = dict(trained or {})
        self._together = together

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Between two steps."""
        before = self.count(batch)
        self.done = min(self.done, self._steps)
        if stopping.is_due():
            self._note_trained()
            self._keep_within(last=True)
        elif self.done < self._steps and is_between(self._every, before, self.done):
            self._keep_within()

    def on_test_begin(self, logs: Any = None) -> None:
        """Notes what training gave: validation uses the same running means."""
        if not self.all_skipped:
            self._note_trained()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Between two steps of validation."""
        if stopping.is_due():
            self._keep_within(last=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Between two epochs."""
        if self._checkpoints is None:
            return
        over = self.model.stop_training or epoch + 1 == self._plan.epochs
        # An epoch that ends by count goes on where a later recipe has more of them.
        position = Position(self._plan.number, epoch + 1, over=bool(self.model.stop_training))

        def take() -> State:
            return self._course.state(position, self._epoch_end.state())

        if stopping.is_due():
            self._checkpoints.keep_last(take)
        else:
            self._checkpoints.keep(take, surely=over)

    def _note_trained(self) -> None:
        means = self.model.get_metrics_result()
        self._trained = {name: float(value) for name, value in means.items()}

    def _keep_within(self, *, last: bool = False) -> None:
        # All workers give their part before the one that keeps looks whether it has the time.
        metrics = self._course.metrics(together=self._together)
        if self._checkpoints is None:
            return
        position = Position(self._plan.number, self.epoch, self.done)

        def take() -> State:
            epoch = {**self._epoch_end.state(), "trained": self._trained}
            return self._course.state(position, epoch, metrics)

        if last:
            self._checkpoints.keep_last(take)
        else:
            self._checkpoints.keep(take)


class Telling(keras.callbacks.Callback):
    """Tells others of each epoch once its checkpoint is written.

    Args:
        tell: Is given the epoch's row.
        history: Rows of all phases.
        checkpoints: Where the checkpoint is written, or None.
    """

    def __init__(
        self,
        tell: Callable[[HistoryRow], None],
        history: list[HistoryRow],
        checkpoints: Checkpoints | None,
    ) -> None:
        super().__init__()
        self._tell = tell
        self._history = history
        self._checkpoints = checkpoints

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Between two epochs; not where a stop is due, which leaves no time."""
        if stopping.is_due():
            return
        if self._checkpoints is not None:
            self._checkpoints.finish()
        self._tell(self._history[-1])


class StageClock(keras.callbacks.Callback):
    """Counts the time of compiling, steps and validation apart.

    A phase's first step is counted as compiling: TensorFlow traces it.
    """

    def __init__(self, clock: Stopwatch) -> None:
        super().__init__()
        self._clock = clock
        self._compiling = False

    def on_train_begin(self, logs: Any = None) -> None:
        """The first step is about to be traced."""
        self._clock.start("compiling")
        self._compiling = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After the first step, training has begun."""
        if self._compiling:
            self._clock.stop()
            self._compiling = False

    def on_test_begin(self, logs: Any = None) -> None:
        """Validation begins."""
        self._clock.start("validation")

    def on_test_end(self, logs: Any = None) -> None:
        """Training goes on."""
        self._clock.stop()

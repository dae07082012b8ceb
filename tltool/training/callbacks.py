"""Keras callbacks of the trainer: history, a stop on NaN or when asked, progress."""

from __future__ import annotations

import math
import time
from typing import Any

import keras

from tltool.model.freezing import PhasePlan
from tltool.recipe.schema import EarlyStoppingSection
from tltool.support import stopping
from tltool.support.errors import TrainingError
from tltool.support.progress import Progress, in_epochs
from tltool.support.stopwatch import Stopwatch
from tltool.training.best_weights import BestWeights, HistoryRow


class NanStop(keras.callbacks.Callback):
    """Ends training with an error at the first step whose loss is not a number."""

    def __init__(self, plan: PhasePlan) -> None:
        super().__init__()
        self._plan = plan
        self._epoch = 1
        self._done = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch + 1
        self._done = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        first, self._done = self._done + 1, batch + 1
        if not math.isfinite(loss):
            several = f"one of the steps {first} to" if first < self._done else "step"
            raise TrainingError(
                f"The loss is {loss} at {several} {self._done} of epoch {self._epoch} in phase "
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
    """

    def __init__(
        self,
        plan: PhasePlan,
        history: list[HistoryRow],
        best: BestWeights | None,
        stopping: EarlyStoppingSection | None,
        num_examples: int,
        progress: Progress,
    ) -> None:
        super().__init__()
        self._plan = plan
        self._history = history
        self._best = best
        self._stopping = stopping
        self._num_examples = num_examples
        self._progress = progress
        self._started = 0.0
        self._train_seconds = 0.0
        self._rate = 0.0
        self._waited = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock and notes the learning rate the epoch begins with."""
        self._started = time.perf_counter()
        self._train_seconds = 0.0
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
        self._waited = 0 if better else self._waited + 1
        self._progress.epoch_end(row, better)
        if self._best is None:
            return
        if self._stopping is not None and self._waited >= self._stopping.patience:
            self._progress.note(
                f"stopped early: {self._best.monitor} has not improved for "
                f"{in_epochs(self._waited)}"
            )
            self.model.stop_training = True


class StepProgress(keras.callbacks.Callback):
    """Tells the progress display of each step, or each call of several steps."""

    def __init__(self, progress: Progress, batch_size: int) -> None:
        super().__init__()
        self._progress = progress
        self._batch_size = batch_size
        self._epoch = 1
        self._done = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch + 1
        self._done = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Passes the step on."""
        steps, self._done = batch + 1 - self._done, batch + 1
        self._progress.step(self._epoch, self._done, steps * self._batch_size, dict(logs or {}))


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

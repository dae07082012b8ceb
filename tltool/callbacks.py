"""Keras callbacks of the trainer: history, the best weights, a stop on NaN, progress."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import keras

from tltool.errors import TrainingError
from tltool.files import atomic_path
from tltool.freezing import PhasePlan
from tltool.progress import Progress
from tltool.schema import EarlyStoppingSection

HistoryRow = dict[str, str | int | float | None]


class NanStop(keras.callbacks.Callback):
    """Ends training with an error at the first step whose loss is not a number."""

    def __init__(self, plan: PhasePlan) -> None:
        super().__init__()
        self._plan = plan
        self._epoch = 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} at step {batch + 1} of epoch {self._epoch} in phase "
                f"{self._plan.number} ({self._plan.title}).",
                hint="Try a learning rate ten times lower than "
                f"{self._plan.phase.learning_rate:g}, `training.gradient_clip_norm: 1.0`, a "
                "warm-up, or `training.precision: float32`; look for extreme targets in the data.",
            )


class BestWeights:
    """The best weights of all phases so far, kept in a file.

    Args:
        path: Where they are kept (`.weights.h5`); replaced atomically.
        monitor: Key of the history row that decides.
        higher_is_better: Direction of `monitor`.
        min_delta: Smallest change that counts as better.
    """

    def __init__(
        self, path: Path, monitor: str, higher_is_better: bool, min_delta: float = 0.0
    ) -> None:
        self.path = path
        self.monitor = monitor
        self.row: HistoryRow | None = None
        self._sign = 1.0 if higher_is_better else -1.0
        self._min_delta = min_delta
        self._best = -math.inf

    def offer(self, model: keras.Model, row: HistoryRow) -> bool:
        """Keeps the model's weights if this epoch is better than all before it."""
        value = self._sign * float(row[self.monitor] or 0.0)
        if not value > self._best + (self._min_delta if self.row else 0.0):
            return False
        with atomic_path(self.path) as temporary:
            _without_optimizer(model).save_weights(temporary)
        self._best, self.row = value, row
        return True

    def restore(self, model: keras.Model) -> None:
        """Puts the best weights back; does nothing before the first epoch's end."""
        if self.row is not None:
            _without_optimizer(model).load_weights(self.path)


def _without_optimizer(model: keras.Model) -> keras.Model:
    """The same layers. The optimizer's state of one phase would not fit that of the next."""
    return keras.Model(model.input, model.output, name=model.name)


class EpochEnd(keras.callbacks.Callback):
    """At the end of each epoch: one history row, the best weights, early stopping.

    Args:
        plan: The phase.
        history: Rows of all phases; one is added each epoch.
        best: Where the best weights are kept.
        stopping: When to end the phase early, or None.
        num_examples: Examples in an epoch.
        progress: Is told of each epoch.
    """

    def __init__(
        self,
        plan: PhasePlan,
        history: list[HistoryRow],
        best: BestWeights,
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
        better = self._best.offer(self.model, row)
        self._waited = 0 if better else self._waited + 1
        self._progress.epoch_end(row, better)
        if self._stopping is not None and self._waited >= self._stopping.patience:
            self._progress.note(
                f"stopped early: {self._best.monitor} has not improved for {self._waited} epochs"
            )
            self.model.stop_training = True


class StepProgress(keras.callbacks.Callback):
    """Tells the progress display of each step, and of the examples in it (on average)."""

    def __init__(self, progress: Progress, examples_per_step: int) -> None:
        super().__init__()
        self._progress = progress
        self._examples_per_step = examples_per_step
        self._epoch = 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Passes the step on."""
        self._progress.step(self._epoch, batch + 1, self._examples_per_step, dict(logs or {}))

"""Trains a model phase by phase: apply the plan, compile, fit.

Keras asks for a new compile after a change of `trainable`, so a phase is never
a callback in the middle of a fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tltool.callbacks import BestWeights, EpochEnd, HistoryRow, NanStop, StepProgress
from tltool.distribution import divisible_batches
from tltool.errors import TrainingError
from tltool.freezing import PhasePlan
from tltool.model import TransferModel, apply_plan
from tltool.optimizers import make_optimizer, make_schedule
from tltool.progress import Progress
from tltool.schema import TrainingSection
from tltool.tasks import Task


@dataclass(frozen=True)
class TrainingData:
    """Batched data and how many examples it holds.

    Attributes:
        dataset: Yields (inputs, targets) or (inputs, targets, weights).
        num_examples: Examples in one pass.
    """

    dataset: tf.data.Dataset
    num_examples: int


@dataclass(frozen=True)
class TrainingResult:
    """What training left behind; the model holds the weights of the best epoch.

    Attributes:
        history: One row for each epoch of each phase.
        best: The row whose weights the model has; None if no epoch was completed.
        interrupted: Whether Ctrl-C ended it.
    """

    history: tuple[HistoryRow, ...]
    best: HistoryRow | None
    interrupted: bool


def train(
    transfer: TransferModel,
    plans: Sequence[PhasePlan],
    task: Task,
    training: TrainingSection,
    data: TrainingData,
    validation: TrainingData | None,
    *,
    strategy: tf.distribute.Strategy,
    checkpoint: Path,
    progress: Progress,
) -> TrainingResult:
    """Trains through all phases and leaves the best weights in the model.

    Args:
        transfer: Built in the strategy's scope.
        plans: What learns in each phase.
        task: Gives loss and metrics.
        training: Optimizer, regularisation and stopping.
        data, validation: Without validation, the best epoch is the one of the
            lowest training loss.
        strategy: From `tltool.distribution.make_strategy`.
        checkpoint: File for the best weights so far (`.weights.h5`).
        progress: Is told of phases, steps and epochs.

    Raises:
        TrainingError: The loss is not a number, or memory ran out.
    """
    monitor, higher_is_better = _monitor(training, task, validation is not None)
    min_delta = training.early_stopping.min_delta if training.early_stopping else 0.0
    best = BestWeights(checkpoint, monitor, higher_is_better, min_delta)
    data = _for_devices(data, training, strategy)
    validation = _for_devices(validation, training, strategy) if validation else None
    history: list[HistoryRow] = []
    interrupted = False
    for plan in plans:
        try:
            with strategy.scope():
                _compile(transfer, plan, task, training, data)
                _fit(transfer.model, plan, data, validation, training, history, best, progress)
        except KeyboardInterrupt:
            interrupted = True
            progress.note("interrupted: keeping the best epoch so far")
        except tf.errors.ResourceExhaustedError as error:
            raise TrainingError(
                f"Out of memory in phase {plan.number} ({plan.title}).",
                hint=f"Use a smaller {_size_of_batches(training)}, or train fewer layer groups.",
            ) from error
        finally:
            best.restore(transfer.model)
        if interrupted:
            break
    return TrainingResult(tuple(history), best.row, interrupted)


def _size_of_batches(training: TrainingSection) -> str:
    if training.tokens_per_batch is not None:
        return f"`training.tokens_per_batch` than {training.tokens_per_batch}"
    return f"`training.batch_size` than {training.batch_size}"


def _for_devices(
    data: TrainingData, training: TrainingSection, strategy: tf.distribute.Strategy
) -> TrainingData:
    replicas = strategy.num_replicas_in_sync
    dataset = divisible_batches(data.dataset, data.num_examples, training.batch_size, replicas)
    return TrainingData(dataset, data.num_examples)


def _monitor(training: TrainingSection, task: Task, validated: bool) -> tuple[str, bool]:
    """The history key that decides which epoch is best, and whether more is better."""
    prefix = "val_" if validated else ""
    if training.monitor == "loss":
        return f"{prefix}loss", False
    return f"{prefix}{task.spec.metric}", task.spec.kind == "classification"


def _compile(
    transfer: TransferModel,
    plan: PhasePlan,
    task: Task,
    training: TrainingSection,
    data: TrainingData,
) -> None:
    apply_plan(transfer.model, plan)
    factors = {path: plan.rate_factors[transfer.group_of[path]] for path in plan.trainable}
    schedule = make_schedule(plan.phase, int(data.dataset.cardinality()))
    transfer.model.compile(
        optimizer=make_optimizer(training, schedule, factors),
        loss=task.loss(training.label_smoothing),
        metrics=task.training_metrics(),
        # On the CPU, XLA compiles once for every batch shape, and convolutions get slower.
        jit_compile=False,
    )
    # Else the first step makes the optimizer's variables, and TensorFlow traces it a second time.
    transfer.model.optimizer.build(transfer.model.trainable_variables)


def _fit(
    model: keras.Model,
    plan: PhasePlan,
    data: TrainingData,
    validation: TrainingData | None,
    training: TrainingSection,
    history: list[HistoryRow],
    best: BestWeights,
    progress: Progress,
) -> None:
    steps = int(data.dataset.cardinality())
    callbacks: list[Any] = [
        NanStop(plan),
        EpochEnd(plan, history, best, training.early_stopping, data.num_examples, progress),
        StepProgress(progress, round(data.num_examples / steps)),
    ]
    with progress.phase(f"{plan.number} {plan.title}", plan.phase.epochs, steps):
        model.fit(
            data.dataset,
            validation_data=validation.dataset if validation is not None else None,
            epochs=plan.phase.epochs,
            callbacks=callbacks,
            verbose=0,
            # The dataset shuffles itself.
            shuffle=False,
        )

"""Trains a model phase by phase: apply the plan, compile, fit.

Keras asks for a new compile after a change of `trainable`, so a phase is never
a callback in the middle of a fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tltool.data.batches.source import Source
from tltool.features.cache import Boundary, FeatureCache, Served
from tltool.graph.cut import Cut, cut_model
from tltool.model.freezing import PhasePlan
from tltool.model.joining import TransferModel, apply_plan
from tltool.recipe.schema import TrainingSection
from tltool.support import stopping
from tltool.support.errors import RunError, TrainingError
from tltool.support.progress import Progress
from tltool.support.stopwatch import Stopwatch
from tltool.tasks.table import Task
from tltool.training.best_weights import BestWeights, HistoryRow
from tltool.training.callbacks import EpochEnd, NanStop, StageClock, StepProgress, StopAsked
from tltool.training.data import ExampleData, TrainingData
from tltool.training.distribution import divisible_batches
from tltool.training.head_solver import HeadData, solve_head
from tltool.training.input_wait import InputWait, waiting_note
from tltool.training.optimizers import make_optimizer, make_schedule
from tltool.training.static_shapes import StaticModel, has_static_shapes, is_static
from tltool.training.worker_steps import chiefs, share_of, work_together
from tltool.training.workers import Workers

# A call of a compiled function costs about a millisecond, a step of a head on vectors less.
_HEAD_STEPS = 16
_TRAINING = ("compiling", "training steps")


@dataclass(frozen=True)
class TrainingResult:
    """What training left behind; the model holds the weights of the best epoch.

    Attributes:
        history: One row for each epoch of each phase.
        best: The row whose weights the model has; None if no epoch was completed.
        interrupted: Whether Ctrl-C or another signal ended it.
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
    checkpoint: Path | None,
    progress: Progress,
    cache: FeatureCache | None = None,
    clock: Stopwatch | None = None,
    workers: Workers | None = None,
) -> TrainingResult:
    """Trains through all phases and leaves the best weights in the model.

    Frozen layers below the first trained one always run in inference mode,
    whether their outputs are stored or computed in every epoch.

    Args:
        transfer: Built in the strategy's scope.
        plans: What learns in each phase.
        task: Gives loss and metrics.
        training: Optimizer, regularisation and stopping.
        data, validation: Without validation, the best epoch is the one of the
            lowest training loss.
        strategy: From `tltool.training.distribution.make_strategy`.
        checkpoint: File for the best weights so far (`.safetensors`); None writes none.
        progress: Is told of phases, steps and epochs.
        cache: Stored outputs of frozen layers; None computes them in every epoch.
        clock: Counts the time of frozen layers, compiling, steps and validation.
        workers: That train together; None is one alone.

    Returns:
        What was trained until the end, or until a stop was asked for.

    Raises:
        TrainingError: The loss is not a number, or memory ran out.
    """
    monitor, higher_is_better = _monitor(training, task, validation is not None)
    min_delta = training.early_stopping.min_delta if training.early_stopping else 0.0
    best = BestWeights(transfer.model, checkpoint, monitor, higher_is_better, min_delta, progress)
    clock, workers = clock or Stopwatch(), workers or Workers()
    history: list[HistoryRow] = []
    interrupted = False
    for plan in plans:
        try:
            workers.check(f"phase {plan.number}")
            best.begin_phase(_changing(transfer, plan))
            with clock.measure("frozen layers"):
                phase = prepare_phase(
                    transfer, plans, plan, data, validation, cache, task, strategy, workers
                )
            with strategy.scope():
                if plan.phase.solver == "exact":
                    rows = HeadData(phase.cut, phase.stored, phase.data, phase.validation)
                    with clock.measure("training steps"):
                        solve_head(transfer, plan, task, training, rows, history, best, progress,
                                   lambda array: chiefs(array, workers))  # fmt: skip
                    continue
                if not workers.are_several:
                    phase = phase.for_devices(training, strategy)
                with clock.measure("training steps"):
                    compile_phase(phase, transfer, plan, task, training)
                    _fit(phase, plan, training, history, best, progress, clock, workers)
        except KeyboardInterrupt as stop:
            if workers.are_several and not isinstance(stop, stopping.Agreed):
                raise
            interrupted = True
            progress.note("interrupted: keeping the best epoch so far")
        except tf.errors.ResourceExhaustedError as error:
            raise out_of_memory(plan, training) from error
        finally:
            # Features say nothing of the task, so those of the last epoch stay.
            if interrupted or not _is_contrastive(plan):
                best.restore()
        if interrupted:
            break
    return TrainingResult(tuple(history), best.row, interrupted)


def _is_contrastive(plan: PhasePlan) -> bool:
    return plan.phase.objective == "contrastive"


def out_of_memory(plan: PhasePlan, training: TrainingSection) -> TrainingError:
    """The error for a phase that needs more memory than there is."""
    return TrainingError(
        f"Out of memory in phase {plan.number} ({plan.title}).",
        hint=f"Use a smaller {_size_of_batches(training)}, or train fewer layer groups.",
    )


@dataclass(frozen=True)
class Phase:
    """What one phase fits.

    Attributes:
        model: The whole model, or what is above the stored features.
        data, validation: What `model` reads, in batches.
        num_examples, num_validation: Examples in one pass.
        vectors: Whether `model` reads stored vectors: it is a head alone.
        several_devices: Whether more than one device trains.
        cut: Where the frozen part of the whole model ends, or None.
        stored: Whether `data` holds stored features.
    """

    model: keras.Model
    data: tf.data.Dataset
    validation: tf.data.Dataset | None
    num_examples: int
    num_validation: int
    vectors: bool = False
    several_devices: bool = False
    cut: Cut | None = None
    stored: bool = False

    def for_devices(self, training: TrainingSection, strategy: tf.distribute.Strategy) -> Phase:
        """The same with batches that all devices can share."""
        replicas, batch_size = strategy.num_replicas_in_sync, training.batch_size
        if has_static_shapes(training, strategy):
            model = StaticModel(self.model.input, self.model.output, name=self.model.name)
            held_out = () if self.validation is None else (self.validation,)
            model.by_shape = not all(map(is_static, (self.data, *held_out)))
            return replace(self, model=model, several_devices=replicas > 1)
        data = divisible_batches(self.data, self.num_examples, batch_size, replicas)
        validation = self.validation
        if validation is not None:
            validation = divisible_batches(validation, self.num_validation, batch_size, replicas)
        return replace(self, data=data, validation=validation, several_devices=replicas > 1)


def prepare_phase(
    transfer: TransferModel,
    plans: Sequence[PhasePlan],
    plan: PhasePlan,
    data: TrainingData,
    validation: TrainingData | None,
    cache: FeatureCache | None,
    task: Task,
    strategy: tf.distribute.Strategy,
    workers: Workers | None = None,
) -> Phase:
    """Freezes and cuts the model, and chooses what the phase reads.

    Features are computed outside the strategy's scope: what one worker does alone must not make
    variables of all.
    """
    workers = workers or Workers()
    with strategy.scope():
        apply_plan(transfer.model, plan)
        whole = transfer.features if _is_contrastive(plan) else transfer.model
        cut = cut_model(whole, plan.trainable)
    served = _serve_all(transfer, plans, plan, cut, cache, workers)
    with strategy.scope():
        model = whole if cut is None else cut.rest if served is not None else cut.joined
    # A head is solved by each worker, on all rows.
    share = None if plan.phase.solver == "exact" else share_of(workers)
    compares = task.target.compares_rows or _is_contrastive(plan)
    held_out = None
    if validation is not None and not _is_contrastive(plan):
        held_out = validation.batches(
            plan.number,
            _source(served, validation, training=False),
            compares_rows=compares,
            share=share,
        )
    return Phase(
        model,
        data.batches(
            plan.number,
            _source(served, data, training=True),
            compares_rows=compares,
            share=share,
        ),
        held_out,
        data.num_examples,
        validation.num_examples if validation is not None else 0,
        vectors=served is not None and all(len(t.shape) == 2 for t in model.inputs),
        several_devices=share is not None,
        cut=cut,
        stored=served is not None,
    )


def weight_bytes(transfer: TransferModel, plans: Sequence[PhasePlan]) -> tuple[int, int]:
    """Bytes of all weights of a model, and of those that some phase may change."""
    sizes = {
        v.path: math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in transfer.model.variables
    }
    changing = frozenset[str]().union(*(_changing(transfer, plan) for plan in plans))
    return sum(sizes.values()), sum(sizes[path] for path in changing)


def _changing(transfer: TransferModel, plan: PhasePlan) -> frozenset[str]:
    """Weights that a phase trains, or may change without learning them: moving averages."""
    return plan.trainable | {
        weight.path
        for group in transfer.groups
        if group.name not in plan.frozen_prefix
        for weight in group.weights
        if weight.kind == "statistic"
    }


def _serve_all(
    transfer: TransferModel,
    plans: Sequence[PhasePlan],
    plan: PhasePlan,
    cut: Cut | None,
    cache: FeatureCache | None,
    workers: Workers,
) -> Served | None:
    """As `_serve`; of several workers the chief decides and stores first.

    The others find what it stored where they share its cache folder, and store it in theirs else.
    """
    served = _serve(transfer, plans, plan, cut, cache) if workers.is_chief else None
    stage = f"the features of phase {plan.number}"
    if workers.told(stage, served is not None) and not workers.is_chief:
        served = _serve(transfer, plans, plan, cut, cache, surely=True)
        if served is None:
            raise RunError(
                f"The features of phase {plan.number} are stored by the chief, and can't be here.",
                hint="Make room in the cache folder, have TLTOOL_CACHE name one that all workers "
                "share, or use cache.use=never.",
            )
    workers.meet(f"{stage}, read")
    return served


def _serve(
    transfer: TransferModel,
    plans: Sequence[PhasePlan],
    plan: PhasePlan,
    cut: Cut | None,
    cache: FeatureCache | None,
    *,
    surely: bool = False,
) -> Served | None:
    """Stored features for a phase, if there are any and they pay."""
    if cut is None or cache is None:
        return None
    later = plans[plan.number :]
    epochs = plan.phase.epochs
    shallower: list[Boundary] = []
    frozen = {v.path for v in cut.weights}
    for other in later:
        frozen -= other.trainable
        lower = cut_model(transfer.model, other.trainable)
        # What crosses is the same until then only if no phase in between changes its weights.
        if lower is None or not {v.path for v in lower.weights} <= frozen:
            continue
        if lower.describe() == cut.describe():
            epochs += other.phase.epochs
        else:
            shallower.append(_boundary(other, lower, other.phase.epochs))
    return cache.serve(_boundary(plan, cut, epochs), shallower, surely=surely)


def _boundary(plan: PhasePlan, cut: Cut, epochs: int) -> Boundary:
    return Boundary(cut, plan.frozen_prefix[-1] if plan.frozen_prefix else cut.describe(), epochs)


def _source(served: Served | None, data: TrainingData, *, training: bool) -> Source | None:
    if served is None or not isinstance(data, ExampleData):
        return None
    return served.source(data.examples, training=training, few_widths=data.static)


def _size_of_batches(training: TrainingSection) -> str:
    if training.tokens_per_batch is not None:
        return f"`training.tokens_per_batch` than {training.tokens_per_batch}"
    return f"`training.batch_size` than {training.batch_size}"


def _monitor(training: TrainingSection, task: Task, validated: bool) -> tuple[str, bool]:
    """The history key that decides which epoch is best, and whether more is better."""
    prefix = "val_" if validated else ""
    if training.monitor == "loss":
        return f"{prefix}loss", False
    score = task.target.headline()
    return f"{prefix}{score.key}", score.higher_is_better


def compile_phase(
    phase: Phase,
    transfer: TransferModel,
    plan: PhasePlan,
    task: Task,
    training: TrainingSection,
    schedule: keras.optimizers.schedules.LearningRateSchedule | None = None,
) -> None:
    """Compiles what a phase fits: its optimizer, loss and metrics, and how steps are run.

    `schedule` takes the place of the phase's own learning rate.
    """
    factors = {path: plan.rate_factors[transfer.group_of[path]] for path in plan.trainable}
    steps = int(phase.data.cardinality())
    phase.model.compile(
        optimizer=make_optimizer(training, schedule or make_schedule(plan.phase, steps), factors),
        loss=(
            task.target.contrastive_loss()
            if _is_contrastive(plan)
            else task.loss(
                training.label_smoothing,
                training.focal_gamma,
                dice=training.dice,
                ranking=training.ranking,
            )
        ),
        metrics=[] if _is_contrastive(plan) else task.training_metrics(),
        jit_compile=_jit(training, phase),
        steps_per_execution=min(_steps_per_execution(training, phase), steps),
    )
    # Else the first step makes the optimizer's variables, and TensorFlow traces it a second time.
    phase.model.optimizer.build(phase.model.trainable_variables)


def _jit(training: TrainingSection, phase: Phase) -> bool:
    if training.jit == "auto":
        return bool(tf.config.list_logical_devices("GPU")) and not phase.several_devices
    return training.jit == "always"


def _steps_per_execution(training: TrainingSection, phase: Phase) -> int:
    if training.steps_per_execution != "auto":
        return training.steps_per_execution
    return _HEAD_STEPS if phase.vectors and not phase.several_devices else 1


def _fit(
    phase: Phase,
    plan: PhasePlan,
    training: TrainingSection,
    history: list[HistoryRow],
    best: BestWeights,
    progress: Progress,
    clock: Stopwatch,
    workers: Workers,
) -> None:
    steps = int(phase.data.cardinality())
    callbacks: list[Any] = [
        StageClock(clock),
        NanStop(plan),
        EpochEnd(
            plan,
            history,
            None if _is_contrastive(plan) else best,
            training.early_stopping,
            phase.num_examples,
            progress,
        ),
        StepProgress(progress, round(phase.num_examples / steps)),
        StopAsked(),
    ]
    wait = None if phase.vectors or phase.several_devices else InputWait()
    data = phase.data if wait is None else wait.watch(phase.data)
    validation = phase.validation
    together: AbstractContextManager[None] = nullcontext()
    if workers.are_several:
        divided = work_together(phase.model, phase.data, workers)
        data, together = divided(data), stopping.in_agreement()
        validation = None if validation is None else divided(validation)
    before = clock.so_far(*_TRAINING)
    with progress.phase(f"{plan.number} {plan.title}", plan.phase.epochs, steps), together:
        phase.model.fit(
            data,
            validation_data=validation,
            epochs=plan.phase.epochs,
            callbacks=callbacks,
            verbose=0,
            # The dataset shuffles itself.
            shuffle=False,
        )
    if wait is not None:
        progress.note(waiting_note(wait.take(), clock.so_far(*_TRAINING) - before))

"""Trains a model phase by phase: apply the plan, compile, fit.

Keras asks for a new compile after a change of `trainable`, so a phase is never
a callback in the middle of a fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tltool.data.batches.pipeline import Epochs
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
from tltool.training.callbacks import (
    EpochEnd,
    Keeping,
    NanStop,
    StageClock,
    StepProgress,
    StopAsked,
    Telling,
)
from tltool.training.checkpoint import Checkpoints, Position, State, steps_between
from tltool.training.course import Course
from tltool.training.data import ExampleData, TrainingData
from tltool.training.distribution import divisible_batches
from tltool.training.head_solver import HeadData, solve_head
from tltool.training.input_wait import InputWait, waiting_note
from tltool.training.optimizers import make_optimizer, make_schedule, moments
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
    checkpoints: Checkpoints | None = None,
    begin: State | None = None,
    after_epoch: Callable[[HistoryRow], None] | None = None,
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
        checkpoints: Where to keep what a stopped training goes on from, or None.
        begin: What it goes on from: the result is, to the bit where the machine
            computes alike, that of a training that was never stopped.
        after_epoch: Is given the history's row of each epoch, once its checkpoint is written.

    Returns:
        What was trained until the end, or until a stop was asked for.

    Raises:
        TrainingError: The loss is not a number, or memory ran out.
        RunError: `begin` is of another model, or the features that it was trained on are gone.
    """
    monitor, higher_is_better = _monitor(training, task, validation is not None)
    min_delta = training.early_stopping.min_delta if training.early_stopping else 0.0
    best = BestWeights(
        transfer.model, checkpoint, monitor, higher_is_better, min_delta, progress,
        loss="loss" if validation is None else "val_loss", newest=training.keep == "last",
    )  # fmt: skip
    workers = workers or Workers()
    history: list[HistoryRow] = []
    course = Course(transfer, best, history)
    if begin is not None:
        course.put_back(begin)
    job = _Job(
        transfer, plans, task, training, data, validation, cache, strategy, best, history, course,
        checkpoints, progress, clock or Stopwatch(), workers, after_epoch,
    )  # fmt: skip
    interrupted = False
    for plan in plans:
        at, state = _beginning(plan, begin)
        course.enter(_changing(transfer, plan))
        if begin is not None and plan.number < begin.position.phase:
            continue
        try:
            workers.check(f"phase {plan.number}")
            best.begin_phase(_changing(transfer, plan))
            if at.over or at.epoch >= plan.phase.epochs:
                apply_plan(transfer.model, plan)
            else:
                job.run(plan, at, state)
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
    if checkpoints is not None:
        checkpoints.finish()
    return TrainingResult(tuple(history), best.row, interrupted)


def _beginning(plan: PhasePlan, begin: State | None) -> tuple[Position, State | None]:
    """Where a phase goes on, and from what state; None where it begins."""
    if begin is None or plan.number != begin.position.phase:
        return Position(plan.number), None
    return begin.position, begin


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
        features: What tells these from others; None where none are stored.
        epochs: Which epoch `data` is read for.
        begin: Where the phase goes on.
        rest: The batches that are left of the epoch that it goes on within.
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
    features: list[str] | None = None
    epochs: Epochs = field(default_factory=lambda: Epochs(1))
    begin: Position = field(default_factory=lambda: Position(1))
    rest: tf.data.Dataset | None = None

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
        rest = self.rest
        if rest is not None:
            rest = divisible_batches(rest, self.num_examples, batch_size, replicas, self.begin.step)
        return replace(
            self, data=data, validation=validation, rest=rest, several_devices=replicas > 1
        )


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
    begin: Position | None = None,
    state: State | None = None,
) -> Phase:
    """Freezes and cuts the model, and chooses what the phase reads.

    Features are computed outside the strategy's scope: what one worker does alone must not make
    variables of all.

    Args:
        transfer, plans, plan, data, validation, cache, task, strategy, workers: As `train` has
            them.
        begin, state: Where the phase goes on, and what was kept there.

    Raises:
        RunError: It read stored features then, and can't have the same ones.
    """
    workers, begin = workers or Workers(), begin or Position(plan.number)
    with strategy.scope():
        apply_plan(transfer.model, plan)
        whole = transfer.features if _is_contrastive(plan) else transfer.model
        cut = frozen_part(transfer, whole, plan)
    served = _serve_all(transfer, plans, plan, cut, cache, workers, state)
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
    epochs = Epochs(plan.phase.epochs, begin.epoch)
    read = partial(
        data.batches,
        plan.number,
        _source(served, data, training=True),
        compares_rows=compares,
        share=share,
        epochs=epochs,
    )
    batches = read()
    within = 0 < begin.step < int(batches.cardinality())
    return Phase(
        model,
        batches,
        held_out,
        data.num_examples,
        validation.num_examples if validation is not None else 0,
        vectors=served is not None and all(len(t.shape) == 2 for t in model.inputs),
        several_devices=share is not None,
        cut=cut,
        stored=served is not None,
        features=served.digests if served is not None else None,
        epochs=epochs,
        begin=begin,
        rest=read(skipped=begin.step) if within else None,
    )


def weight_bytes(transfer: TransferModel, plans: Sequence[PhasePlan]) -> tuple[int, int]:
    """Bytes of all weights of a model, and of those that some phase may change."""
    sizes = {
        v.path: math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in transfer.model.variables
    }
    changing = frozenset[str]().union(*(_changing(transfer, plan) for plan in plans))
    return sum(sizes.values()), sum(sizes[path] for path in changing)


def state_bytes(
    transfer: TransferModel, plans: Sequence[PhasePlan], training: TrainingSection
) -> int:
    """Most bytes of a checkpoint: the weights that change, their moments, and the best of them."""
    return weight_bytes(transfer, plans)[1] * (2 + moments(training))


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
    state: State | None,
) -> Served | None:
    """As `_serve`; of several workers the chief decides and stores first.

    The others find what it stored where they share its cache folder, and store it in theirs else.
    """
    served = _serve(transfer, plans, plan, cut, cache, state) if workers.is_chief else None
    stage = f"the features of phase {plan.number}"
    if workers.told(stage, served is not None) and not workers.is_chief:
        served = _serve(transfer, plans, plan, cut, cache, decided=True)
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
    state: State | None = None,
    *,
    decided: bool | None = None,
) -> Served | None:
    """Stored features for a phase, if there are any and they pay.

    Where the phase goes on from a state, those that it read before.
    """
    if cut is None or cache is None:
        return None
    before = None if state is None else state.facts["features"]
    decided = decided if state is None else before is not None
    later = plans[plan.number :]
    epochs = plan.phase.epochs
    shallower: list[Boundary] = []
    frozen = {v.path for v in cut.weights}
    for other in later:
        frozen -= other.trainable
        lower = frozen_part(transfer, transfer.model, other)
        # What crosses is the same until then only if no phase in between changes its weights.
        if lower is None or not {v.path for v in lower.weights} <= frozen:
            continue
        if lower.describe() == cut.describe():
            epochs += other.phase.epochs
        else:
            shallower.append(_boundary(other, lower, other.phase.epochs))
    served = cache.serve(_boundary(plan, cut, epochs), shallower, decided=decided)
    if before is not None and (served is None or served.digests != before):
        raise RunError(
            f"Phase {plan.number} ({plan.title}) was training on stored features, and "
            + ("they can't be stored again." if served is None else "what is stored now differs."),
            hint="see `tltool cache list` and the free disk; or train anew",
        )
    return served


def frozen_part(transfer: TransferModel, model: keras.Model, plan: PhasePlan) -> Cut | None:
    """Where a model is cut in a phase; None where nothing below could ever learn.

    Constants of a head that reads the inputs too, such as its one-hot table, freeze nothing.
    """
    cut = cut_model(model, plan.trainable)
    could = {w.path for group in transfer.groups for w in group.weights if w.kind != "statistic"}
    return cut if cut is not None and any(v.path in could for v in cut.weights) else None


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


@dataclass(frozen=True)
class _Job:
    """What all phases of a training have in common; see `train`."""

    transfer: TransferModel
    plans: Sequence[PhasePlan]
    task: Task
    training: TrainingSection
    data: TrainingData
    validation: TrainingData | None
    cache: FeatureCache | None
    strategy: tf.distribute.Strategy
    best: BestWeights
    history: list[HistoryRow]
    course: Course
    checkpoints: Checkpoints | None
    progress: Progress
    clock: Stopwatch
    workers: Workers
    after_epoch: Callable[[HistoryRow], None] | None

    def run(self, plan: PhasePlan, at: Position, state: State | None) -> None:
        """Trains a phase from a position on."""
        with self.clock.measure("frozen layers"):
            phase = prepare_phase(
                self.transfer, self.plans, plan, self.data, self.validation, self.cache, self.task,
                self.strategy, self.workers, at, state,
            )  # fmt: skip
        with self.strategy.scope(), self.clock.measure("training steps"):
            if plan.phase.solver == "exact":
                self._solve(phase, plan)
                return
            if not self.workers.are_several:
                phase = phase.for_devices(self.training, self.strategy)
            compile_phase(phase, self.transfer, plan, self.task, self.training)
            steps = int(phase.data.cardinality())
            self.course.compiled(phase.model, phase.features, steps)
            if state is not None:
                self.course.put_back_phase(state, at)
                if state.facts["steps"] != steps:  # within an epoch, places are others
                    phase = replace(phase, begin=Position(plan.number, at.epoch), rest=None)
            self._fit(phase, plan, steps, state)

    def _solve(self, phase: Phase, plan: PhasePlan) -> None:
        grouped = isinstance(self.data, ExampleData) and bool(self.data.examples.groups)
        rows = HeadData(phase.cut, phase.stored, phase.data, phase.validation, grouped)
        solve_head(
            self.transfer, plan, self.task, self.training, rows, self.history, self.best,
            self.progress, lambda array: chiefs(array, self.workers),
        )  # fmt: skip
        if self.checkpoints is not None:
            solved = Position(plan.number, 1, over=True)
            self.checkpoints.keep(partial(self.course.state, solved, {}), surely=True)

    def _fit(self, phase: Phase, plan: PhasePlan, steps: int, state: State | None) -> None:
        begin = phase.begin
        callbacks = self._callbacks(phase, plan, steps, state)
        wait = None if phase.vectors or phase.several_devices else InputWait()
        before = self.clock.so_far(*_TRAINING)
        divided: Callable[[Any], Any] = wait.watch if wait is not None else lambda data: data
        validation = phase.validation
        together: AbstractContextManager[None] = nullcontext()
        if self.workers.are_several:
            divided, together = (
                work_together(phase.model, phase.data, self.workers), stopping.in_agreement()
            )  # fmt: skip
            validation = None if validation is None else divided(validation)

        def run(data: tf.data.Dataset, first: int, end: int, *others: Any) -> bool:
            """Trains epochs; whether more may follow."""
            phase.model.fit(
                divided(data),
                validation_data=validation,
                initial_epoch=first,
                epochs=end,
                callbacks=[*callbacks, *others],
                verbose=0,
                # The dataset shuffles itself.
                shuffle=False,
            )
            return not phase.model.stop_training

        title = f"{plan.number} {plan.title}"
        with self.progress.phase(title, plan.phase.epochs, steps), together:
            first, more = begin.epoch, True
            if state is not None and begin.step:
                if phase.rest is None:
                    more = _validate(phase, validation, callbacks, state)
                else:
                    more = run(phase.rest, first, first + 1, *self._metrics_of(phase, state))
                first += 1
            if more and first < plan.phase.epochs:
                run(phase.data, first, plan.phase.epochs)
        if wait is not None:
            trained = self.clock.so_far(*_TRAINING) - before
            self.progress.note(waiting_note(wait.take(), trained))

    def _metrics_of(self, phase: Phase, state: State) -> list[Any]:
        """What puts back the running means of an epoch; they are sums over workers."""
        if not self.workers.is_chief:
            return []
        if not self.workers.are_several:
            # Else Keras makes the metrics in the first step, too late to put them back.
            phase.model._symbolic_build(data_batch=next(iter(phase.rest or phase.data)))
        return [
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: self.course.put_back_metrics(state)
            )
        ]

    def _callbacks(
        self, phase: Phase, plan: PhasePlan, steps: int, state: State | None
    ) -> list[Any]:
        epoch_end = EpochEnd(
            plan,
            self.history,
            None if _is_contrastive(plan) else self.best,
            self.training.early_stopping,
            phase.num_examples,
            self.progress,
        )
        if state is not None:
            epoch_end.go_on(state.facts["epoch"], within=phase.begin.step > 0)
        keeping: list[Any] = []
        if self.checkpoints is not None or self.workers.are_several:
            trained = None if state is None else state.facts["epoch"].get("trained")
            keeping.append(
                Keeping(
                    plan,
                    phase.begin,
                    steps,
                    steps_between(self.training.checkpoint),
                    self.checkpoints,
                    self.course,
                    epoch_end,
                    trained,
                    together=self.workers.are_several,
                )
            )
        if self.after_epoch is not None:
            keeping.append(Telling(self.after_epoch, self.history, self.checkpoints))
        return [
            keras.callbacks.LambdaCallback(on_epoch_begin=phase.epochs.begin),
            StageClock(self.clock),
            NanStop(plan, phase.begin),
            epoch_end,
            StepProgress(self.progress, round(phase.num_examples / steps), phase.begin),
            *keeping,
            StopAsked(),
        ]


def _validate(phase: Phase, validation: Any, callbacks: list[Any], state: State) -> bool:
    """Ends an epoch whose steps another process has done; whether more may follow."""
    told = keras.callbacks.CallbackList(callbacks, model=phase.model)
    phase.model.stop_training = False
    told.on_epoch_begin(phase.begin.epoch)
    logs = dict(state.facts["epoch"]["trained"])
    if validation is not None:
        found = phase.model.evaluate(validation, callbacks=told, verbose=0, return_dict=True)
        logs |= {f"val_{name}": value for name, value in found.items()}
    told.on_epoch_end(phase.begin.epoch, logs)
    return not phase.model.stop_training

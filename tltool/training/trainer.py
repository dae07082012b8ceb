"""Trains a model phase by phase: apply the plan, compile, fit.

Keras asks for a new compile after a change of `trainable`, so a phase is never
a callback in the middle of a fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tltool.data.splits import tied_rows
from tltool.features.cache import FeatureCache
from tltool.model.freezing import PhasePlan
from tltool.model.joining import TransferModel, apply_plan
from tltool.recipe.schema import TrainingSection
from tltool.report.history import epoch_words, weights_words
from tltool.support import stopping
from tltool.support.errors import TrainingError
from tltool.support.progress import Progress
from tltool.support.stopwatch import Stopwatch
from tltool.tasks.reports import Score
from tltool.tasks.table import Task
from tltool.training.best_weights import BestWeights, HistoryRow, Rule
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
from tltool.training.epoch_average import EpochAverage
from tltool.training.head_solver import HeadData, solve_head
from tltool.training.input_wait import InputWait, waiting_note
from tltool.training.linear_solver import Folds, undivided_folds
from tltool.training.moving_average import HideAverage, ShowAverage
from tltool.training.optimizers import Plateau
from tltool.training.phase import (
    Compiled,
    Phase,
    changing,
    compile_phase,
    is_contrastive,
    prepare_phase,
)
from tltool.training.plateau import FallOnPlateau
from tltool.training.worker_steps import chiefs, work_together
from tltool.training.workers import Workers

_TRAINING = ("compiling", "training steps")


@dataclass(frozen=True)
class TrainingResult:
    """What training left behind; the model holds the weights of the best epoch.

    Attributes:
        history: One row for each epoch of each phase.
        best: The row whose weights the model has; None if no epoch was completed.
        interrupted: Whether Ctrl-C or another signal ended it.
        refit_rows: Rows of the second training that the model is of; None where there was one.
        notes: Sentences on what the model is, where that is not plain from `best`.
    """

    history: tuple[HistoryRow, ...]
    best: HistoryRow | None
    interrupted: bool
    refit_rows: int | None = None
    notes: tuple[str, ...] = ()


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
    settled: bool = False,
) -> TrainingResult:
    """Trains through all phases and leaves the best weights in the model.

    Frozen layers below the first trained one always run in inference mode,
    whether their outputs are stored or computed in every epoch.

    Args:
        transfer: Built in the strategy's scope.
        plans: What learns in each phase.
        task: Gives loss and metrics.
        training: Optimizer, regularisation and stopping.
        data, validation: Without validation the last epoch is kept: a training loss compares
            nothing, since phases see inputs that are augmented more or less, or not at all.
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
        settled: Whether the plans' epochs are known to be right: nothing ends a phase before
            them, and the weights that are kept are always those of the last one.

    Returns:
        What was trained until the end, or until a stop was asked for.

    Raises:
        TrainingError: The loss is not a number, or memory ran out.
        RunError: `begin` is of another model, or the features that it was trained on are gone.
    """
    training = training.model_copy(update={"early_stopping": None}) if settled else training
    rule = rule_of(training, task, validated=validation is not None)
    newest = settled or training.keep == "last" or validation is None
    best = BestWeights(transfer.model, checkpoint, rule, progress, newest=newest)
    workers = workers or Workers()
    history: list[HistoryRow] = []
    average = _epoch_average(transfer, plans[-1], training, rule)
    course = Course(transfer, best, history, average)
    if begin is not None:
        course.put_back(begin)
    job = _Job(
        transfer, plans, task, training, data, validation, cache, strategy, best, history, course,
        checkpoints, progress, clock or Stopwatch(), workers, after_epoch, rule, average,
    )  # fmt: skip
    interrupted = False
    for plan in plans:
        at, state = _beginning(plan, begin)
        course.enter(changing(transfer, plan))
        if begin is not None and plan.number < begin.position.phase:
            continue
        try:
            workers.check(f"phase {plan.number}")
            best.begin_phase(changing(transfer, plan))
            if (at.over or at.epoch >= plan.epochs) and job.average_of(plan) is None:
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
            if interrupted or not is_contrastive(plan):
                best.restore()
        if interrupted:
            break
    if checkpoints is not None:
        checkpoints.finish()
    return TrainingResult(tuple(history), best.row, interrupted, notes=tuple(job.notes))


def _epoch_average(
    transfer: TransferModel, last: PhasePlan, training: TrainingSection, rule: Rule
) -> EpochAverage | None:
    """What keeps epochs of the last phase, if the mean of several is asked for."""
    which = training.average_epochs
    if which is None:
        return None
    return EpochAverage(transfer.model, changing(transfer, last), which, rule)


def _beginning(plan: PhasePlan, begin: State | None) -> tuple[Position, State | None]:
    """Where a phase goes on, and from what state; None where it begins."""
    if begin is None or plan.number != begin.position.phase:
        return Position(plan.number), None
    return begin.position, begin


def out_of_memory(plan: PhasePlan, training: TrainingSection) -> TrainingError:
    """The error for a phase that needs more memory than there is."""
    return TrainingError(
        f"Out of memory in phase {plan.number} ({plan.title}).",
        hint=f"Use a smaller {_size_of_batches(training)}, or train fewer layer groups.",
    )


def _size_of_batches(training: TrainingSection) -> str:
    if training.tokens_per_batch is not None:
        return f"`training.tokens_per_batch` than {training.tokens_per_batch}"
    return (
        f"`training.batch_size` than {training.batch_size} (with more "
        "`training.gradient_accumulation_steps` updates are as large)"
    )


def monitored(training: TrainingSection, task: Task) -> Score | None:
    """The score that `training.monitor` means; None is the loss."""
    order = task.target.order_score(training.ranking)
    if training.monitor == "loss" or (training.monitor == "auto" and order is None):
        return None
    return order or task.target.headline()


def rule_of(training: TrainingSection, task: Task, *, validated: bool) -> Rule:
    """What decides which epoch of a training is best, with validation rows or without."""
    prefix = "val_" if validated else ""
    min_delta = training.early_stopping.min_delta if training.early_stopping else 0.0
    score = monitored(training, task)
    if score is None:
        return Rule(f"{prefix}loss", False, min_delta)
    return Rule(f"{prefix}{score.key}", score.higher_is_better, min_delta, f"{prefix}loss")


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
    rule: Rule
    average: EpochAverage | None
    notes: list[str] = field(default_factory=list)

    def average_of(self, plan: PhasePlan) -> EpochAverage | None:
        """Where a phase's epochs are kept whose mean is asked for: those of the last phase."""
        return self.average if plan.number == len(self.plans) else None

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
            phase = phase.in_parts(self.training)
            compiled = compile_phase(phase, self.transfer, plan, self.task, self.training)
            steps = int(phase.data.cardinality())
            training = nullcontext if compiled.average is None else compiled.average.hidden
            self.course.compiled(phase.model, phase.features, steps, training)
            if state is not None:
                self.course.put_back_phase(state, at)
                if state.facts["steps"] != steps:  # within an epoch, places are others
                    begin = Position(plan.number, at.epoch, over=at.over)
                    phase = replace(phase, begin=begin, rest=None)
            self._fit(phase, plan, steps, state, compiled)

    def _solve(self, phase: Phase, plan: PhasePlan) -> None:
        folds = self._folds(phase, plan)
        rows = HeadData(phase.cut, phase.stored, phase.data, phase.validation, folds, phase.taught)
        solve_head(
            self.transfer, plan, self.task, self.training, rows, self.history, self.best,
            self.progress, lambda array: chiefs(array, self.workers),
        )  # fmt: skip
        if self.checkpoints is not None:
            solved = Position(plan.number, 1, over=True)
            self.checkpoints.keep(partial(self.course.state, solved, {}), surely=True)

    def _folds(self, phase: Phase, plan: PhasePlan) -> Folds | None:
        """What chooses a solved head's penalty where rows are of groups, which it never divides.

        The validation rows alone, where there are any; None where rows stand by themselves.
        """
        data = self.data
        if not (isinstance(data, ExampleData) and data.examples.groups):
            return None
        if phase.validation is not None:
            return ()
        return undivided_folds(tied_rows(data.examples)[data.order(plan.number)], data.seed)

    def _fit(
        self,
        phase: Phase,
        plan: PhasePlan,
        steps: int,
        state: State | None,
        compiled: Compiled,
    ) -> None:
        begin = phase.begin
        callbacks = self._callbacks(phase, plan, steps, state, compiled)
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
        with self.progress.phase(title, plan.epochs, steps), together:
            first, more = begin.epoch, not begin.over
            if state is not None and begin.step:
                if phase.rest is None:
                    more = _validate(phase, validation, callbacks, state)
                else:
                    more = run(phase.rest, first, first + 1, *self._metrics_of(phase, state))
                first += 1
            if more and first < plan.epochs:
                run(phase.data, first, plan.epochs)
            if (averaged := self.average_of(plan)) is not None:
                self._take_mean(averaged, phase.model, validation)
        if wait is not None:
            trained = self.clock.so_far(*_TRAINING) - before
            self.progress.note(waiting_note(wait.take(), trained))

    def _take_mean(self, average: EpochAverage, model: keras.Model, validation: Any) -> None:
        """Keeps the mean of several epochs' weights, if it is no worse than the best epoch."""
        row, best = average.mean_in(), self.best.row
        if row is None or best is None:
            self._tell("No mean of weights was taken: the last phase has fewer than two epochs.")
            return
        if validation is not None:
            found = model.evaluate(validation, callbacks=[StopAsked()], verbose=0, return_dict=True)
            row |= {f"val_{name}": float(value) for name, value in found.items()}
            if replace(self.rule, min_delta=0.0).is_better(best, than=row):
                key = self.rule.monitor
                self._tell(
                    f"The mean of the weights of epochs {row['averaged']} is worse on the "
                    f"validation rows than {epoch_words(best)} ({key} {row[key]:.4f} against "
                    f"{best[key]:.4f}), and was left out."
                )
                return
        self.best.keep(row)
        self.progress.note(weights_words(row))

    def _tell(self, note: str) -> None:
        self.notes.append(note)
        self.progress.note(note)

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
        self,
        phase: Phase,
        plan: PhasePlan,
        steps: int,
        state: State | None,
        compiled: Compiled,
    ) -> list[Any]:
        epoch_end = EpochEnd(
            plan,
            self.history,
            None if is_contrastive(plan) else self.best,
            self.training.early_stopping,
            phase.num_examples,
            self.progress,
            self.average_of(plan),
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
        before: list[Any] = []
        after: list[Any] = []
        if isinstance(compiled.schedule, Plateau):
            before.append(FallOnPlateau(plan, compiled.schedule, self.history, self.rule))
        if compiled.average is not None:
            before.append(ShowAverage(compiled.average))
            after.append(HideAverage(compiled.average))
        return [
            keras.callbacks.LambdaCallback(on_epoch_begin=phase.epochs.begin),
            StageClock(self.clock),
            NanStop(plan, phase.begin),
            *before,
            epoch_end,
            *after,
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

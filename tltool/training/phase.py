"""What one phase fits: the model cut where nothing below learns, what it reads, how it is compiled.

Keras asks for a new compile after a change of `trainable`, so a phase is never
a callback in the middle of a fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import keras
import tensorflow as tf

from tltool.data.batches.pipeline import Epochs
from tltool.data.batches.source import Source
from tltool.features.cache import Boundary, FeatureCache, Served
from tltool.graph.cut import Cut, cut_model
from tltool.model.freezing import PhasePlan
from tltool.model.joining import TransferModel, apply_plan
from tltool.recipe.schema import TrainingSection
from tltool.support.errors import RunError
from tltool.tasks.losses.taught import Teaching
from tltool.tasks.table import Task
from tltool.training.accumulation import AccumulatingModel
from tltool.training.checkpoint import Position, State
from tltool.training.course import UnfitError
from tltool.training.data import ExampleData, TrainingData
from tltool.training.distribution import divisible_batches
from tltool.training.moving_average import MovingAverage
from tltool.training.optimizers import make_optimizer, make_schedule, moments
from tltool.training.static_shapes import StaticModel, has_static_shapes, is_static
from tltool.training.worker_steps import share_of
from tltool.training.workers import Workers

# A call of a compiled function costs about a millisecond, a step of a head on vectors less.
_HEAD_STEPS = 16


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
        taught: How targets of `data` are learnt that a teacher's are joined to, or None.
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
    taught: Teaching | None = None

    def for_devices(self, training: TrainingSection, strategy: tf.distribute.Strategy) -> Phase:
        """The same with batches that all devices can share."""
        replicas, update = strategy.num_replicas_in_sync, training.rows_per_update
        if has_static_shapes(training, strategy):
            model = StaticModel(self.model.input, self.model.output, name=self.model.name)
            held_out = () if self.validation is None else (self.validation,)
            model.by_shape = not all(map(is_static, (self.data, *held_out)))
            return replace(self, model=model, several_devices=replicas > 1)
        data = divisible_batches(self.data, self.num_examples, update, replicas)
        validation = self.validation
        if validation is not None:
            validation = divisible_batches(
                validation, self.num_validation, training.batch_size, replicas
            )
        rest = self.rest
        if rest is not None:
            rest = divisible_batches(rest, self.num_examples, update, replicas, self.begin.step)
        return replace(
            self, data=data, validation=validation, rest=rest, several_devices=replicas > 1
        )

    def in_parts(self, training: TrainingSection) -> Phase:
        """The same with a model that takes the gradient of each batch in parts, if it is to."""
        if training.gradient_accumulation_steps == 1:
            return self
        model = AccumulatingModel(self.model.input, self.model.output, name=self.model.name)
        model.parts = training.gradient_accumulation_steps
        return replace(self, model=model)


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
    if plan.phase.solver == "exact":
        # A head that is solved reads each image once, which says most as it is.
        own = cache and cache.unchanged()
        if own is not cache:
            plans = plans[: plan.number]  # later phases read other images
        data, cache = data.unchanged(), own
    with strategy.scope():
        apply_plan(transfer.model, plan)
        whole = transfer.features if is_contrastive(plan) else transfer.model
        cut = frozen_part(transfer, whole, plan)
    served = _serve_all(transfer, plans, plan, cut, cache, workers, state)
    with strategy.scope():
        model = whole if cut is None else cut.rest if served is not None else cut.joined
    # A head is solved by each worker, on all rows.
    share = None if plan.phase.solver == "exact" else share_of(workers)
    compares = task.target.compares_rows or is_contrastive(plan)
    held_out = None
    if validation is not None and not is_contrastive(plan):
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
        taught=data.taught,
    )


@dataclass(frozen=True)
class Compiled:
    """What the optimizer of a compiled phase follows.

    Attributes:
        schedule: Of its learning rate.
        average: What is to be measured and kept in place of the weights, or None.
    """

    schedule: keras.optimizers.schedules.LearningRateSchedule
    average: MovingAverage | None


def compile_phase(
    phase: Phase,
    transfer: TransferModel,
    plan: PhasePlan,
    task: Task,
    training: TrainingSection,
    schedule: keras.optimizers.schedules.LearningRateSchedule | None = None,
) -> Compiled:
    """Compiles what a phase fits: its optimizer, loss and metrics, and how steps are run.

    `schedule` takes the place of the phase's own learning rate.
    """
    average = _moving_average(phase, transfer, plan, training)
    factors = {path: plan.rate_factors[transfer.group_of[path]] for path in plan.trainable}
    steps = int(phase.data.cardinality())
    schedule = schedule or make_schedule(plan.phase, steps)
    phase.model.compile(
        optimizer=make_optimizer(training, schedule, factors, average),
        loss=(
            task.target.contrastive_loss()
            if is_contrastive(plan)
            else training_loss(task, training, phase.taught)
        ),
        metrics=[] if is_contrastive(plan) else training_metrics(task, training, phase.taught),
        jit_compile=_jit(training, phase),
        steps_per_execution=min(_steps_per_execution(training, phase), steps),
    )
    # Else the first step makes the optimizer's variables, and TensorFlow traces it a second time.
    phase.model.optimizer.build(phase.model.trainable_variables)
    return Compiled(schedule, average)


def training_loss(
    task: Task, training: TrainingSection, taught: Teaching | None = None
) -> keras.losses.Loss:
    """The loss of a phase that trains what the task asks.

    Args:
        task: Gives it.
        training: Its settings.
        taught: How a teacher is listened to; None where there is none.
    """
    labels = task.loss(
        training.label_smoothing,
        training.focal_gamma,
        dice=training.dice,
        ranking=training.ranking,
    )
    return labels if taught is None else taught.loss(labels, task.loss())


def training_metrics(
    task: Task, training: TrainingSection, taught: Teaching | None = None
) -> list[keras.metrics.Metric]:
    """The metrics of such a phase; arguments are those of `training_loss`."""
    metrics = task.training_metrics(ranking=training.ranking)
    return metrics if taught is None else taught.metrics(metrics)


def _moving_average(
    phase: Phase, transfer: TransferModel, plan: PhasePlan, training: TrainingSection
) -> MovingAverage | None:
    """Of what learns, and of the statistics of BatchNorm layers that do.

    None in a phase whose epochs don't compete: the next one goes on from its last weights.
    """
    if training.ema_momentum is None or is_contrastive(plan):
        return None
    averaged = plan.trainable
    if plan.phase.batch_norm == "train":
        averaged = changing(transfer, plan)
    return MovingAverage(
        training.ema_momentum,
        [v for v in phase.model.variables if v.path in averaged and v.dtype.startswith("float")],
    )


def _jit(training: TrainingSection, phase: Phase) -> bool:
    if training.jit == "auto":
        # XLA has no parts whose number and size are known only as it runs.
        whole = training.gradient_accumulation_steps == 1 and not phase.several_devices
        return whole and bool(tf.config.list_logical_devices("GPU"))
    return training.jit == "always"


def _steps_per_execution(training: TrainingSection, phase: Phase) -> int:
    if training.steps_per_execution != "auto":
        return training.steps_per_execution
    return _HEAD_STEPS if phase.vectors and not phase.several_devices else 1


def is_contrastive(plan: PhasePlan) -> bool:
    """Whether a phase trains features by bringing rows of a class near, and no head."""
    return plan.phase.objective == "contrastive"


def changing(transfer: TransferModel, plan: PhasePlan) -> frozenset[str]:
    """Weights that a phase trains, or may change without learning them: moving averages."""
    return plan.trainable | {
        weight.path
        for group in transfer.groups
        if group.name not in plan.frozen_prefix
        for weight in group.weights
        if weight.kind == "statistic"
    }


def weight_bytes(transfer: TransferModel, plans: Sequence[PhasePlan]) -> tuple[int, int]:
    """Bytes of all weights of a model, and of those that some phase may change."""
    sizes = {
        v.path: math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in transfer.model.variables
    }
    changed = frozenset[str]().union(*(changing(transfer, plan) for plan in plans))
    return sum(sizes.values()), sum(sizes[path] for path in changed)


def state_bytes(
    transfer: TransferModel, plans: Sequence[PhasePlan], training: TrainingSection
) -> int:
    """Most bytes of a checkpoint: the weights that change, their moments, and the best of them.

    And those of several epochs of the last phase where their mean is asked for.
    """
    found = weight_bytes(transfer, plans)[1] * (2 + moments(training))
    if training.average_epochs is not None:
        found += weight_bytes(transfer, plans[-1:])[1] * training.average_epochs.number
    return found


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
    epochs = plan.epochs
    shallower: list[Boundary] = []
    frozen = {v.path for v in cut.weights}
    for other in later:
        frozen -= other.trainable
        lower = frozen_part(transfer, transfer.model, other)
        # What crosses is the same until then only if no phase in between changes its weights.
        if lower is None or not {v.path for v in lower.weights} <= frozen:
            continue
        if lower.describe() == cut.describe():
            epochs += other.epochs
        else:
            shallower.append(_boundary(other, lower, other.epochs))
    served = cache.serve(_boundary(plan, cut, epochs), shallower, decided=decided)
    if before is not None and (served is None or served.digests != before):
        raise UnfitError(
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

"""The learning-rate range test: at which rates a phase learns, and where it diverges.

Smith 2015, "Cyclical Learning Rates for Training Neural Networks"
(arXiv:1506.01186), with the exponential rise, the smoothing and the stop of
fastai's `lr_find`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.features.cache import FeatureCache
from tltool.model.freezing import PhasePlan
from tltool.model.joining import TransferModel
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import HIGHEST_RATE, TrainingSection
from tltool.support.errors import PlanError, RecipeError, TrainingError
from tltool.support.files import scratch_folder
from tltool.support.progress import Progress
from tltool.tasks.table import Task
from tltool.training.data import TrainingData
from tltool.training.inputs import example_data, make_feature_cache
from tltool.training.optimizers import ExponentialRise
from tltool.training.phase import compile_phase, prepare_phase
from tltool.training.preparation import Prepared, prepare
from tltool.training.trainer import out_of_memory, train

STEPS = 100
FIRST_RATE, LAST_RATE = 1e-7, HIGHEST_RATE

# Share of the earlier steps in the running mean of the loss.
_SMOOTHING = 0.9
# The test ends where the smoothed loss is so many times the lowest (fastai's factor).
_DIVERGED = 4.0
# The suggestion is this share of the rate of the lowest loss, which is about to diverge.
_SHARE = 0.1
# The slope is measured over so many steps, since that of one is mostly noise.
_SLOPE_STEPS = 8
# A loss that falls by less than this share from that of the lowest rates has not been learnt from;
# nor has one that falls by less than so many standard deviations of the running mean.
_LEARNT = 0.02
_NOISE = 2.0
# Share of the steps whose rates are too low to change anything: what varies there is noise.
_STILL = 0.2


@dataclass(frozen=True)
class RateTest:
    """What a range test found.

    Attributes:
        phase: Its number, counted from 1.
        title: What the phase trains.
        rates: The phase's learning rate in each step; groups with a
            `group_decay` had their share of it.
        losses: Training loss of each step's batch, before its update.
        smoothed: Their exponential running mean, corrected for its start.
        suggestion: A tenth of `lowest`, or of `rises`; None where there is neither.
        steepest: The rate at which the smoothed loss falls fastest.
        lowest: The rate of the lowest smoothed loss; None where nothing was learnt.
        rises: The rate from which on the smoothed loss rises, where earlier phases have learnt
            what there is and none makes it fall; else None.
        diverged: Whether the test ended early, by the loss.
        seconds: Time of the steps.
    """

    phase: int
    title: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    steepest: float | None
    lowest: float | None
    rises: float | None
    diverged: bool
    seconds: float


def lr_find(
    recipe: Recipe | str | Path,
    *,
    data: Any = None,
    phase: int = 1,
    steps: int = STEPS,
    first_rate: float = FIRST_RATE,
    last_rate: float = LAST_RATE,
    progress: Progress | None = None,
) -> RateTest:
    """Runs a learning-rate range test for a phase of a recipe; writes no run.

    Earlier phases are trained first, as a run would, since they decide where
    this one starts. Frozen layers are read from the store of features, and put
    there, as a run does.

    Args:
        recipe: A recipe, a recipe file, or the name of one of tltool's own.
        data: As for `finetune`.
        phase: Its number, counted from 1.
        steps: From the first rate to the last.
        first_rate, last_rate: Between them the rate rises exponentially.
        progress: Is told what happens.

    Raises:
        PlanError: There is no such phase, or it is solved exactly; or rates are out of range.
        RecipeError: The recipe searches its head, or chooses its schedule.
        TltoolError: As for `finetune`.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    progress = progress or Progress()
    _check(steps, first_rate, last_rate)
    _check_recipe(recipe)
    prepared = prepare(recipe, data=data, progress=progress)
    if recipe.teacher is not None:
        progress.note("the test trains on the labels alone, without the teacher")
    plan = _plan(prepared, phase)
    examples = example_data(recipe, prepared, "train")
    cache = make_feature_cache(recipe, prepared, examples, progress)
    if phase > 1:
        _train_earlier(recipe, prepared, examples, cache, phase, progress)
    progress.stage(f"Learning-rate test of phase {phase} {plan.title}")
    return range_test(
        prepared.transfer,
        prepared.plans,
        plan,
        prepared.task,
        recipe.training,
        examples,
        strategy=prepared.strategy,
        cache=cache,
        steps=steps,
        first_rate=first_rate,
        last_rate=last_rate,
    )


def range_test(
    transfer: TransferModel,
    plans: Sequence[PhasePlan],
    plan: PhasePlan,
    task: Task,
    training: TrainingSection,
    data: TrainingData,
    *,
    strategy: tf.distribute.Strategy,
    cache: FeatureCache | None = None,
    steps: int = STEPS,
    first_rate: float = FIRST_RATE,
    last_rate: float = LAST_RATE,
) -> RateTest:
    """Tests the rates of one phase on a model, whose weights are as before afterwards.

    Args:
        transfer: The model as the phase would find it.
        plans, plan: All phases, and the one to test.
        task, training, data, strategy, cache: As for `tltool.training.trainer.train`.
        steps, first_rate, last_rate: As for `lr_find`.

    Raises:
        TrainingError: Memory ran out, or no step has a loss that is a number.
    """
    before = [variable.numpy() for variable in transfer.model.variables]
    recorder = _Recorder()
    rise = ExponentialRise(first_rate, last_rate, steps)
    # One step a call, so that the loss of each is seen.
    training = training.model_copy(update={"steps_per_execution": 1})
    try:
        with strategy.scope():
            phase = prepare_phase(transfer, plans, plan, data, None, cache, task, strategy)
            phase = phase.for_devices(training, strategy).in_parts(training)
            compile_phase(phase, transfer, plan, task, training, rise)
            started = time.perf_counter()
            phase.model.fit(
                phase.data.repeat(),
                steps_per_epoch=steps,
                callbacks=[recorder],
                verbose=0,
                shuffle=False,
            )
    except tf.errors.ResourceExhaustedError as error:
        raise out_of_memory(plan, training) from error
    finally:
        for variable, value in zip(transfer.model.variables, before, strict=True):
            variable.assign(value)
    if not recorder.losses:
        raise TrainingError(
            f"The loss is not a number at the first step, at the rate {first_rate:g}.",
            hint="Try `training.precision: float32`; look for extreme values in the data.",
        )
    rates = np.geomspace(first_rate, last_rate, steps)[: len(recorder.losses)]
    return _result(plan, rates, steps, recorder, time.perf_counter() - started)


class _Recorder(keras.callbacks.Callback):
    """Notes each step's own loss, and ends the test where it diverges."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False
        self._mean = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Forgets the earlier steps: Keras reports the mean since the last reset."""
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the loss."""
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            self._stop()
            return
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        self.losses.append(loss)
        self.smoothed.append(self._mean / (1 - _SMOOTHING ** len(self.losses)))
        if self.smoothed[-1] > _DIVERGED * min(self.smoothed):
            self._stop()

    def _stop(self) -> None:
        self.diverged = True
        self.model.stop_training = True


def _result(
    plan: PhasePlan, rates: np.ndarray, steps: int, recorder: _Recorder, seconds: float
) -> RateTest:
    lowest = steepest = rises = None
    smoothed = np.array(recorder.smoothed)
    if len(smoothed) > 2:
        at = int(smoothed.argmin())
        # What the loss is before anything is learnt: that of the lowest rates.
        still = recorder.losses[: max(2, round(_STILL * steps))]
        start, noise = float(np.mean(still)), _noise(still)
        if start - smoothed[at] > max(_LEARNT * abs(start), noise):
            lowest = float(rates[at])
            # The steps are equal on the logarithmic axis, so that the largest fall is the steepest.
            apart = min(_SLOPE_STEPS, at)
            falls = smoothed[: at + 1 - apart] - smoothed[apart : at + 1]
            steepest = float(rates[int(falls.argmax()) + apart // 2])
        elif plan.number > 1:
            limit = start + max(_LEARNT * abs(start), noise)
            flat = np.flatnonzero(smoothed <= limit)
            if len(flat) and flat[-1] + 1 < len(smoothed):
                rises = float(rates[flat[-1] + 1])
    found = rises if lowest is None else lowest
    return RateTest(
        phase=plan.number,
        title=plan.title,
        rates=tuple(map(float, rates)),
        losses=tuple(recorder.losses),
        smoothed=tuple(recorder.smoothed),
        suggestion=None if found is None else _SHARE * found,
        steepest=steepest,
        lowest=lowest,
        rises=rises,
        diverged=recorder.diverged,
        seconds=seconds,
    )


def _noise(losses: Sequence[float]) -> float:
    """How far the running mean of such losses strays from their mean by chance.

    The variance of an exponential running mean is (1 - s) / (1 + s) of that of its terms.
    """
    share = (1 - _SMOOTHING) / (1 + _SMOOTHING)
    return _NOISE * float(np.std(losses)) * math.sqrt(share)


def _check(steps: int, first_rate: float, last_rate: float) -> None:
    if steps < 10:
        raise PlanError(f"A range test needs at least 10 steps. Received: {steps}.")
    if not 0 < first_rate < last_rate <= HIGHEST_RATE:
        raise PlanError(
            f"first_rate and last_rate: 0 < first_rate < last_rate <= {HIGHEST_RATE:g} is needed. "
            f"Received: {first_rate:g} and {last_rate:g}.",
            hint=f"{FIRST_RATE:g} and {LAST_RATE:g} are usual",
        )


def _check_recipe(recipe: Recipe) -> None:
    """Raises RecipeError where a run would train something else than is tested."""
    if recipe.head.search:
        raise RecipeError(
            "head.search: a run puts the head that it finds in the place of this one.",
            hint="use head.search=false, or first `tltool tune-head`",
        )
    recipe.refuse_few_examples("test")


def _plan(prepared: Prepared, phase: int) -> PhasePlan:
    if not 1 <= phase <= len(prepared.plans):
        count = len(prepared.plans)
        raise PlanError(
            f"There is no phase {phase}: the schedule has {count}.",
            hint="`tltool plan RECIPE` prints the phases.",
        )
    plan = prepared.plans[phase - 1]
    if plan.phase.solver == "exact":
        raise PlanError(
            f"Phase {phase} ({plan.title}) is solved exactly and has no learning rate.",
            hint="Test a later phase with --phase, or `solver: gradient`.",
        )
    return plan


def _train_earlier(
    recipe: Recipe,
    prepared: Prepared,
    examples: TrainingData,
    cache: FeatureCache,
    phase: int,
    progress: Progress,
) -> None:
    """Trains the phases before one, and leaves the model as that one would find it."""
    progress.stage("Training of the earlier phases" if phase > 2 else "Training of phase 1")
    validation = example_data(recipe, prepared, "validation")
    # A mean of epochs is that of a run's last phase.
    training = recipe.training.model_copy(update={"average_epochs": None})
    with scratch_folder("lr-find") as folder:
        result = train(
            prepared.transfer,
            prepared.plans[: phase - 1],
            prepared.task,
            training,
            examples,
            validation if validation.num_examples else None,
            strategy=prepared.strategy,
            checkpoint=folder / "best.safetensors",
            progress=progress,
            cache=cache,
        )
    if result.interrupted:
        raise KeyboardInterrupt

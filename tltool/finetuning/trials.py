"""One trial of a search over recipes: trained as `finetune` does, here or in another process."""

from __future__ import annotations

import gc
import math
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tltool.data.examples import Examples, Split
from tltool.data.labels import make_task
from tltool.finetuning.series import Base, check_enough, check_labels, held_out_rows, shared_rows
from tltool.finetuning.teaching import check_teacher, taught
from tltool.recipe.recipe import Recipe
from tltool.support import stopping
from tltool.support.errors import RecipeError, TrainingError, first_line
from tltool.support.progress import Progress
from tltool.tasks.table import Task
from tltool.training.preparation import Prepared, prepare

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Asked

    from tltool.training.best_weights import HistoryRow

# Before so many trials have ended, the pruner ends none.
_UNPRUNED_TRIALS = 4
# Hyperband divides trials into brackets, each of which needs some, and epochs to be cut at.
_HYPERBAND_TRIALS, _HYPERBAND_EPOCHS = 20, 9

# By the name of the study and the number of the trial Hyperband chooses its bracket.
_STUDY = "tune"


@dataclass(frozen=True)
class Job:
    """What all trials share; sent to where they run.

    Attributes:
        recipe: Without the section `tune`, its schedule a list of phases.
        data: As for `finetune`.
        folds: Of each trial, or None.
        metric: Key of the history whose best value counts.
        higher_is_better: Its direction.
        most_epochs: Of any trial.
        trials: That are asked for.
        token: Tells this search from others.
    """

    recipe: Recipe
    data: Any
    folds: int | None
    metric: str
    higher_is_better: bool
    most_epochs: int
    trials: int
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """As Optuna calls it."""
        return "maximize" if self.higher_is_better else "minimize"

    def pruner(self) -> BasePruner:
        """Hyperband where there are trials and epochs enough for its brackets, else the median."""
        from optuna.pruners import HyperbandPruner, MedianPruner

        steps = self.folds or self.most_epochs
        if self.trials >= _HYPERBAND_TRIALS and steps >= _HYPERBAND_EPOCHS:
            return HyperbandPruner(min_resource=1, max_resource=steps)
        return MedianPruner(n_startup_trials=_UNPRUNED_TRIALS)


@dataclass(frozen=True)
class Item:
    """One trial to run.

    Attributes:
        recipe: To train.
        others: Trials that have ended, for what they had come to at the same epoch.
    """

    recipe: Recipe
    others: tuple[FrozenTrial, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        state: "stopped" where a stop was asked for.
        value: That counts; None where it came to none.
        steps: The value after each epoch, or the mean after each fold, by number from 1.
        epochs, seconds, reason: As `Trial` has them.
    """

    state: Literal["complete", "pruned", "failed", "stopped"]
    value: float | None
    steps: Mapping[int, float]
    epochs: int
    seconds: float
    reason: str | None = None


def plain(recipe: Recipe) -> Recipe:
    """The recipe as trials train it: they export nothing."""
    export = recipe.export.model_copy(update={"formats": ()})
    return recipe.model_copy(update={"export": export, "tune": {}})


def epochs_of(recipe: Recipe) -> int:
    """Epochs of all phases of a recipe whose schedule is a list of them."""
    return sum(phase.epochs for phase in recipe.schedule if not isinstance(phase, str))


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna without its talk, which is for its own users.

    Raises:
        RecipeError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise RecipeError(
            f"Optuna is not installed ({first_line(error)}).", hint="pip install 'tltool[tune]'"
        ) from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class Ground:
    """Data and models that the trials of a process share.

    Args:
        recipe: As it stands.
        prepared: Of that recipe.
        folds: Rows of each fold, its own as validation rows, with the task on them; None where
            trials train and validate on the recipe's own rows.
        pool: What features are stored of for all folds.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        folds: Sequence[tuple[Examples, Task]] | None = None,
        pool: Examples | None = None,
    ) -> None:
        self.prepared = prepared
        self._folds = folds
        self._pool = pool
        self._base = Base(recipe, prepared, saved=False)

    @classmethod
    def of(cls, recipe: Recipe, data: Any, folds: int | None, progress: Progress) -> Ground:
        """Reads the data and builds the model.

        Raises:
            RecipeError: There are neither validation rows nor folds.
            DataError: There are too few rows for so many folds, or one would lack a label.
        """
        prepared = prepare(
            recipe,
            data=data,
            progress=progress,
            validated=folds is None,
            teacher=check_teacher(recipe),
        )
        prepared = taught(recipe, prepared, progress=progress)
        examples = prepared.examples
        if folds is None:
            if not len(examples.split("validation")):
                raise RecipeError(
                    "There are no validation rows to compare trials on.",
                    hint="set data.validation_fraction=0.1, or give --folds 5",
                )
            return cls(recipe, prepared)
        rows = examples.of_splits("train", "validation")
        target, seed = prepared.task.target, recipe.data.split_seed
        check_enough(rows, target, folds)
        parts: list[tuple[Examples, Task]] = []
        for held in held_out_rows(rows, target, folds, seed):
            own = set(held.tolist())
            splits: list[Split | None] = [
                "validation" if row in own else "train" for row in range(len(rows))
            ]
            part = replace(rows, splits=splits)
            task = make_task(recipe.spec, part)
            check_labels(prepared.task, task, len(parts) + 1)
            parts.append((part, task))
        return cls(recipe, prepared, parts, shared_rows(recipe, rows))

    def trainings(self, recipe: Recipe) -> Iterator[Prepared]:
        """What each training of a trial needs, with pretrained weights."""
        if self._folds is None:
            yield self._base.training(recipe)
            return
        for fold in self._folds:
            yield self._base.training(recipe, fold, self._pool)


# By the token of a search: a process runs trials of one search at a time.
GROUNDS: dict[str, Ground] = {}


def run_trial(job: Job, item: Item) -> Outcome:
    """Trains and measures one trial; it may run in another process."""
    ground = GROUNDS.get(job.token)
    if ground is None:
        GROUNDS.clear()
        ground = Ground.of(plain(job.recipe), job.data, job.folds, Progress())
        GROUNDS[job.token] = ground
    started, watched = time.perf_counter(), _Watched(job, item)
    values: list[float] = []
    state: Literal["complete", "pruned", "failed", "stopped"] = "complete"
    reason = None
    try:
        with quiet_optuna():
            for prepared in ground.trainings(plain(item.recipe)):
                found = _trained(job, item.recipe, prepared, watched)
                if found is None:
                    state = "stopped"
                    break
                values.append(found)
                if job.folds is not None:
                    watched.end_fold(float(np.mean(values)), last=len(values) == job.folds)
    except _PrunedError:
        state = "pruned"
    except TrainingError as error:
        state, reason = "failed", error.message
    gc.collect()  # a model holds itself in circles
    value = float(np.mean(values)) if state == "complete" else None
    seconds = round(time.perf_counter() - started, 2)
    return Outcome(state, value, watched.steps, watched.epochs, seconds, reason)


def _trained(job: Job, recipe: Recipe, prepared: Prepared, watched: _Watched) -> float | None:
    """Trains once; returns the value of the best epoch, None where a stop was asked for."""
    from tltool.training.inputs import example_data, make_feature_cache
    from tltool.training.trainer import train

    data = example_data(recipe, prepared, "train")
    with stopping.in_steps():
        result = train(
            prepared.transfer,
            prepared.plans,
            prepared.task,
            recipe.training,
            data,
            example_data(recipe, prepared, "validation"),
            strategy=prepared.strategy,
            checkpoint=None,
            progress=Progress(),
            cache=make_feature_cache(recipe, prepared, data, Progress()),
            after_epoch=watched.end_epoch,
        )
    if result.interrupted:
        return None
    found = None if result.best is None else result.best.get(job.metric)
    if not isinstance(found, int | float) or not math.isfinite(found):
        raise TrainingError(f"The best epoch has no {job.metric} that is a number: {found}.")
    return float(found)


class _PrunedError(Exception):
    """Ends a trial that others are better than."""


class _Watched:
    """A trial under way, compared with those that have ended.

    Args:
        job: The search.
        item: The trial.
    """

    def __init__(self, job: Job, item: Item) -> None:
        self.steps: dict[int, float] = {}
        self.epochs = 0
        self._job = job
        self._planned = epochs_of(item.recipe)
        self._item = item
        self._asked: Asked | None = None

    def end_epoch(self, row: HistoryRow) -> None:
        """Notes an epoch, and ends the trial where it is too bad; folds are compared whole."""
        self.epochs += 1
        value = row.get(self._job.metric)
        if self._job.folds is None and isinstance(value, float):
            step = int(row["total_epoch"])  # type: ignore[arg-type]
            self._note(step, value, last=step >= self._planned)

    def end_fold(self, mean: float, *, last: bool) -> None:
        """Notes the mean over the folds so far, and ends the trial where it is too bad."""
        self._note(len(self.steps) + 1, mean, last=last)

    def _note(self, step: int, value: float, *, last: bool) -> None:
        self.steps[step] = value
        self._asked = self._asked or self._alike()
        self._asked.report(value, step)
        if not last and self._asked.should_prune():
            raise _PrunedError

    def _alike(self) -> Asked:
        """A trial of the same number in a study of the trials that have ended."""
        import optuna

        study = optuna.create_study(
            study_name=_STUDY, direction=self._job.direction, pruner=self._job.pruner()
        )
        study.add_trials(self._item.others)
        return study.ask()

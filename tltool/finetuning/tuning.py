"""A search over whole recipes: trials train as `finetune` does, and Optuna says what to try next.

    tltool tune RECIPE --trials 30

Test rows are not looked at. Nothing of a trial is kept but its figures; the best recipe is written
for `tltool finetune best.yaml`, which trains that very model again.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tltool.finetuning.job import recording
from tltool.finetuning.resuming import origin
from tltool.finetuning.series import SeriesFolder, refuse_several_workers
from tltool.finetuning.trials import (
    GROUNDS,
    Ground,
    Item,
    Job,
    Outcome,
    epochs_of,
    plain,
    quiet_optuna,
    run_trial,
)
from tltool.model.freezing import plan_phases
from tltool.recipe.recipe import Recipe
from tltool.search.space import Space, shown_value
from tltool.support import stopping
from tltool.support.errors import RecipeError, TrainingError
from tltool.support.files import write_json, write_text
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.support.words import number
from tltool.training.preparation import Prepared, check_named
from tltool.training.trainer import monitored
from tltool.training.workers import Workers

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Asked

KIND = "tune"
TRIALS = 30
# Fields by which losses of trials can't be compared: they are of different losses.
_OF_THE_LOSS = (
    "training.label_smoothing",
    "training.focal_gamma",
    "training.dice",
    "training.ranking",
    "training.class_weights",
    "head.l2",
)
# Before so many trials have ended, the sampler draws at random.
_RANDOM_TRIALS = 8

# What tells the trial of the recipe as it was given.
_OWN = "own"

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One recipe that was tried.

    Attributes:
        number: From 0, in the order in which they ended.
        state: "pruned" ended early, as it was worse than others at the same epoch.
        value: Of the best epoch, or the mean over the folds; of a pruned one the last it came to.
        settings: Values by field.
        epochs: That ran, of all folds together.
        seconds: Its time.
        own: Whether it is the recipe as it was given.
        reason: Why it failed, or None.
    """

    number: int
    state: State
    value: float | None
    settings: Mapping[str, Any]
    epochs: int
    seconds: float
    own: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class TuningResult:
    """What a search found.

    Attributes:
        path: Its folder, with `best.yaml`, `tune.json` and `study.db`.
        metric: Key of what is compared, such as `val_accuracy`.
        higher_is_better: Its direction.
        folds: Of each trial; None where it is measured on the validation rows.
        trials: The best first, then those that were pruned and that failed.
        recipe: That of the best trial; None where none came to its end.
        importance: Of each field for the value, 0..1, together 1; empty where it can't be told.
        seconds: Wall time of this process.
        finished: Whether it came to its end.
    """

    path: Path
    metric: str
    higher_is_better: bool
    folds: int | None
    trials: tuple[Trial, ...]
    recipe: Recipe | None
    importance: Mapping[str, float]
    seconds: float
    finished: bool

    @property
    def best(self) -> Trial:
        """The trial whose settings `recipe` has."""
        return self.trials[0]

    @property
    def own(self) -> Trial | None:
        """The trial of the recipe as it was given, where there is one that came to its end."""
        found = (one for one in self.trials if one.own and one.state == "complete")
        return next(found, None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `tune.json`."""
        return {
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "folds": self.folds,
            "seconds": round(self.seconds, 1),
            "best": None if self.recipe is None else vars(self.best),
            "importance": dict(self.importance),
            "trials": [vars(trial) for trial in self.trials],
        }


def tune(
    recipe: Recipe | str | Path,
    *,
    trials: int = TRIALS,
    hours: float | None = None,
    folds: int | None = None,
    data: Any = None,
    progress: Progress | None = None,
    spread: Spread | None = None,
    resume: bool = False,
) -> TuningResult:
    """Searches the values of a recipe's fields with which it does best on its validation rows.

    What is searched is the recipe's section `tune`, or a usual space around the recipe as it
    stands, which is then the first trial.

    Args:
        recipe: A recipe, a recipe file, or the name of one of tltool's own.
        trials: How many, at least 1; those of a search that goes on are counted.
        hours: After so many no trial is begun; those that run come to their end. None is no limit.
        folds: Measure each trial by the mean over so many folds of the training and validation
            rows, each trained on the others, in place of the validation rows.
        data: As for `finetune`.
        progress: Is told of each trial; None is silent.
        spread: Where trials run, such as `spread_over("auto")` gives it: as many beside each
            other as it is wide; None takes this process.
        resume: Go on with the newest search of the recipe's name, also one that came to its end.

    Returns:
        What was found; not `finished` where a stop was asked for.

    Raises:
        RecipeError: The recipe has nothing to search, can't be searched, or `hours` are too few
            for a single trial.
        TrainingError: Every trial failed.
        TltoolError: As in `finetune`, also where one is found in a trial.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    progress, spread, started = progress or Progress(), spread or Spread(), time.perf_counter()
    _check(recipe, trials, hours, folds)
    with stopping.stoppable(pass_on=True), quiet_optuna():
        ground = Ground.of(plain(recipe), data, folds, progress)
        base = _expanded(recipe, ground.prepared)
        space = Space.of(base, len(ground.prepared.transfer.groups) - 1)
        most_epochs = _check_space(space, ground.prepared)
        metric, higher_is_better = _monitored(recipe, ground.prepared, space)
        job = Job(
            space.recipe, data, folds, metric, higher_is_better, most_epochs, trials
        )  # fmt: skip
        facts = {**origin(recipe, ground.prepared), "folds": folds, "space": space.to_values()}
        folder = _opened(recipe, ground.prepared, facts, progress) if resume else None
        if folder is None:
            folder = SeriesFolder.begun(recipe, KIND, ground.prepared, facts)
        progress.stage(f"Tuning {', '.join(one.field for one in space.dimensions)} by {metric}")
        search = _Search(job, space, folder, progress, spread)
        GROUNDS.clear()
        GROUNDS[job.token] = ground
        try:
            with recording(folder, Workers()):
                finished = search.run(None if hours is None else started + 3600 * hours)
                result = search.result(recipe, time.perf_counter() - started, finished=finished)
                _write(folder, result)
        finally:  # the data and the backbone are not needed any more
            GROUNDS.clear()
        return result


def _check(recipe: Recipe, trials: int, hours: float | None, folds: int | None) -> None:
    """Raises RecipeError where nothing can come of it."""
    if trials < 1:
        raise RecipeError(f"trials: at least 1 is needed, received {trials}.")
    if hours is not None and not hours > 0:
        raise RecipeError(f"hours: a number above 0 is needed, received {hours}.")
    if folds is not None and folds < 2:
        raise RecipeError(f"folds: at least 2 are needed, received {folds}.")
    if recipe.head.search:
        raise RecipeError(
            "head.search: a search in each trial of a search is too much.",
            hint="use head.search=false, and head.dropout or others in the section `tune`",
        )
    recipe.refuse_few_examples("tune")
    if folds is not None and recipe.spec.target.sized:
        raise RecipeError(f"folds: {recipe.task} is not measured by folds.", hint="leave it out")
    refuse_several_workers(recipe, "each trial")


def _expanded(recipe: Recipe, prepared: Prepared) -> Recipe:
    """The recipe with the phases that its schedule stands for, in which fields can be changed."""
    return recipe.model_copy(update={"schedule": tuple(plan.phase for plan in prepared.plans)})


def _check_space(space: Space, prepared: Prepared) -> int:
    """Sees that each value by itself makes a recipe that can be trained; returns the most epochs.

    Raises:
        RecipeError, PlanError, DataError: One doesn't.
    """
    epochs = [epochs_of(space.recipe)]
    for recipe in space.extremes():
        if recipe.backbone == space.recipe.backbone:
            plan_phases(recipe.schedule, prepared.transfer.groups, recipe.spec.backbone_modality)
        check_named(recipe, prepared.task.target)
        epochs.append(epochs_of(recipe))
    return max(epochs)


def _monitored(recipe: Recipe, prepared: Prepared, space: Space) -> tuple[str, bool]:
    """What trials are compared by, and whether more is better.

    The value that decides which epoch is best; where that is the loss, and the loss itself is
    among what is tried, the task's main metric.
    """
    differing = {one.field for one in space.dimensions}
    score = monitored(recipe.training, prepared.task)
    if score is None and differing.isdisjoint(_OF_THE_LOSS):
        return "val_loss", False
    if score is None or "training.ranking" in differing:
        score = prepared.task.target.headline()
    return f"val_{score.key}", score.higher_is_better


def _opened(
    recipe: Recipe, prepared: Prepared, facts: Mapping[str, Any], progress: Progress
) -> SeriesFolder | None:
    """The search to go on with, taken over."""
    folder = SeriesFolder.newest(recipe, KIND, ended_too=True)
    if folder is None:
        progress.note(f"nothing to resume in {recipe.output_dir}/{recipe.name}-{KIND}")
        return None
    folder.go_on(facts, ended_too=True)
    progress.note(f"going on with {folder.path}")
    return folder


class _Search:
    """Asks Optuna for trials, has them run, and tells it what came of them.

    Args:
        job, space: What is searched.
        folder: Where the study is kept.
        progress: Is told of each trial.
        spread: Where trials run.
    """

    def __init__(
        self, job: Job, space: Space, folder: SeriesFolder, progress: Progress, spread: Spread
    ) -> None:
        import optuna
        from sqlalchemy.engine import URL

        self._job, self._space, self._folder = job, space, folder
        self._progress, self._spread = progress, spread
        url = URL.create("sqlite", database=str((folder.path / "study.db").resolve()))
        self._study: Study = optuna.create_study(
            study_name=KIND,
            storage=url.render_as_string(hide_password=False),
            direction=job.direction,
            pruner=job.pruner(),
            load_if_exists=True,
        )
        for trial in self._trials():
            if trial.state.name == "RUNNING":  # of a process that is gone
                self._put_off(trial)
        own = space.own()
        if own is None:
            progress.note("the recipe as it stands is not among what is tried")
        elif not self._trials():
            self._study.enqueue_trial(own, user_attrs={_OWN: True})

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _ended(self) -> tuple[FrozenTrial, ...]:
        """Those that came to an end of their own."""
        return tuple(trial for trial in self._trials() if "seconds" in trial.user_attrs)

    def _put_off(self, trial: FrozenTrial | Asked) -> None:
        """Gives up a trial that was stopped, and has its values tried again first of all."""
        from optuna.trial import TrialState

        about = {name: True for name in trial.user_attrs if name == _OWN}
        self._study.tell(trial.number, state=TrialState.FAIL)
        self._study.enqueue_trial(trial.params, user_attrs=about)

    def run(self, until: float | None) -> bool:
        """Runs trials until there are enough, or the time is over; whether no stop came.

        Args:
            until: As `time.perf_counter` counts; None is no limit.
        """
        while (left := self._job.trials - len(self._ended())) > 0:
            if stopping.is_due():
                return False
            if until is not None and time.perf_counter() >= until:
                self._progress.note("the time is over")
                break
            if not self._run_some(min(left, self._spread.width)):
                return False
        return True

    def _run_some(self, amount: int) -> bool:
        """Runs so many trials beside each other; whether no stop came."""
        self._study.sampler = self._sampler()
        distributions = self._space.distributions()
        asked = [self._study.ask(distributions) for _ in range(amount)]
        waiting = list(asked)
        others = self._ended()
        try:
            drawn = [self._space.settings(trial.params) for trial in asked]
            items = [Item(self._space.recipe_with(settings), others) for settings in drawn]
            outcomes = self._spread.map(partial(run_trial, self._job), items, computes=True)
            for trial, settings, outcome in zip(asked, drawn, outcomes, strict=True):
                if outcome.state == "stopped":
                    return False
                self._tell(trial, settings, outcome)
                waiting.remove(trial)
        finally:
            for left in waiting:
                self._put_off(left)
        return True

    def _sampler(self) -> Any:
        """Drawn from anew for each draw, so that a search that was stopped goes on alike."""
        from optuna.samplers import TPESampler

        number = len(self._ended())
        (seed,) = np.random.SeedSequence([self._job.recipe.training.seed, number]).generate_state(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that are new in one version
            return TPESampler(
                seed=int(seed), n_startup_trials=_RANDOM_TRIALS, multivariate=True,
                constant_liar=True,
            )  # fmt: skip

    def _tell(self, trial: Asked, settings: Mapping[str, Any], outcome: Outcome) -> None:
        from optuna.trial import TrialState

        place = len(self._ended())
        for step, value in outcome.steps.items():
            trial.report(value, step)
        for name in ("epochs", "seconds", "reason"):
            trial.set_user_attr(name, getattr(outcome, name))
        trial.set_user_attr("settings", dict(settings))
        states = {
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        self._study.tell(trial, outcome.value, state=states[outcome.state])
        what = {"pruned": "pruned", "failed": f"failed: {outcome.reason}"}.get(
            outcome.state, f"{self._job.metric} {number(outcome.value)}"
        )
        shown = ", ".join(f"{name}={shown_value(value)}" for name, value in settings.items())
        self._progress.note(f"trial {place}: {what} ({outcome.seconds:.1f} s; {shown})")

    def result(self, recipe: Recipe, seconds: float, *, finished: bool) -> TuningResult:
        """What all trials gave.

        Raises:
            RecipeError: The time was over before there was one.
            TrainingError: All of them failed.
        """
        sign = -1 if self._job.higher_is_better else 1
        ranks = ("complete", "pruned", "failed")
        trials = sorted(
            map(_as_trial, count(), self._ended()),
            key=lambda one: (ranks.index(one.state), sign * (one.value or 0.0), one.number),
        )
        if finished and not trials:
            raise RecipeError(
                "hours: the time was over before the first trial could begin.",
                hint=f"give more hours: {seconds:.0f} s went into data and backbone alone",
            )
        if finished and all(one.state == "failed" for one in trials):
            raise TrainingError(
                f"Every trial failed, the first: {trials[0].reason}",
                hint="narrow the section `tune`, with lower learning rates say",
            )
        best = None
        if trials and trials[0].state == "complete":
            best = self._space.recipe_with(trials[0].settings)
            best = best.model_copy(update={"export": recipe.export})
        return TuningResult(
            self._folder.path, self._job.metric, self._job.higher_is_better, self._job.folds,
            tuple(trials), best, importance_of(self._study, self._job.recipe.training.seed),
            seconds, finished,
        )  # fmt: skip


def importance_of(study: Study, seed: int) -> dict[str, float]:
    """How much of the differences between trials each field explains.

    By the variance over a random forest of the trials (fANOVA, Hutter et al. 2014, "An Efficient
    Approach for Assessing Hyperparameter Importance", ICML).

    Args:
        study: With its trials.
        seed: Of the forest.

    Returns:
        Shares, together 1, the largest first; empty where trials are too few or all alike, or
        where there is one field, which explains what it does and what is chance alike.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    fields = {field for trial in complete for field in trial.params}
    if len(fields) < 2 or len({trial.value for trial in complete}) < 2:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    except (RuntimeError, ValueError):
        return {}
    return {name: round(float(share), 4) for name, share in found.items()}


def _as_trial(number: int, found: FrozenTrial) -> Trial:
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned"}
    about = found.user_attrs
    return Trial(
        number, states.get(found.state.name, "failed"), found.value, about["settings"],
        about["epochs"], about["seconds"], bool(about.get(_OWN)), about["reason"],
    )  # fmt: skip


def _write(folder: SeriesFolder, result: TuningResult) -> None:
    """Writes the best recipe and the table, and closes the folder."""
    write_json(folder.path / "tune.json", result.to_json())
    headline = {}
    if result.recipe is not None:
        write_text(folder.path / "best.yaml", result.recipe.to_yaml())
        headline = {result.metric: result.best.value}
    folder.record(
        "finished" if result.finished else "interrupted",
        metrics=headline,
        seconds=round(result.seconds, 1),
    )

"""From a recipe to a better head: the search on a recipe's own data and backbone."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tltool.data.splits import undivided
from tltool.model.freezing import PhasePlan
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import PhaseSection
from tltool.search.head_fits import FitSettings, HeadSettings
from tltool.search.head_search import (
    HeadTrial,
    Rates,
    SearchProblem,
    draw_settings,
    search_heads,
)
from tltool.support.errors import RecipeError
from tltool.support.files import write_text
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.training.frozen_features import frozen_features
from tltool.training.optimizers import make_schedule
from tltool.training.preparation import Prepared, prepare

TRIALS = 40
FOLDS = 5


@dataclass(frozen=True)
class HeadSearchResult:
    """What a head search found.

    Attributes:
        trials: The best first; those trained on all folds come before the others.
        metrics: Names of the metrics of a trial, the one that ranks first.
        folds: Number of folds.
        epochs: Passes over the data in each fit.
        num_rows: Training and validation rows together.
        seconds: Time of the search, without computing features.
        recipe: The recipe with the best trial's settings, and `head.search` off.
        overrides: What turns the given recipe into `recipe`, as `key=value`.
    """

    trials: tuple[HeadTrial, ...]
    metrics: tuple[str, ...]
    folds: int
    epochs: int
    num_rows: int
    seconds: float
    recipe: Recipe
    overrides: tuple[str, ...]

    @property
    def best(self) -> HeadTrial:
        """The trial whose settings `recipe` has."""
        return self.trials[0]

    def table(self) -> list[dict[str, Any]]:
        """One row for each trial, the best first, ready for JSON and CSV."""
        return [_row(rank, trial, self) for rank, trial in enumerate(self.trials, start=1)]

    def to_yaml(self) -> str:
        """The part of a recipe that holds the best trial's settings."""
        values = self.recipe.to_values()
        own = self.recipe.head.model_dump(mode="json", exclude_defaults=True)
        part = {
            "head": {**own, **{key: values["head"][key] for key in ("hidden_units", "dropout")}},
            "schedule": [phase_values(phase) for phase in self.recipe.schedule
                         if isinstance(phase, PhaseSection)],
            "training": {key: values["training"][key] for key in _TRAINING_KEYS},
        }  # fmt: skip
        return yaml.safe_dump(part, sort_keys=False, default_flow_style=None)

    def write(self, path: Path) -> None:
        """Writes the table as CSV."""
        rows = [{**row, "hidden_units": " ".join(map(str, row["hidden_units"]))}
                for row in self.table()]  # fmt: skip
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())


_TRAINING_KEYS = ("weight_decay", "label_smoothing")


def tune_head(
    recipe: Recipe | str | Path,
    *,
    data: Any = None,
    trials: int = TRIALS,
    folds: int = FOLDS,
    progress: Progress | None = None,
    spread: Spread | None = None,
) -> HeadSearchResult:
    """Searches a head for a recipe; trains nothing else and writes no run.

    Args:
        recipe: As for `finetune`; its head must be the default one.
        data: As for `finetune`.
        trials: Heads to try, the recipe's own among them; at least 2.
        folds: Parts of the training and validation rows, at least 2; each is
            held out once. Test rows are not touched.
        progress: Is told what happens; None is silent.
        spread: Where features are computed and heads trained, such as `spread_over("auto")`
            gives it; None takes this machine.

    Raises:
        TltoolError: One of its kinds, as in `finetune`; `RecipeError` where
            the recipe has nothing to search.
    """
    _check_counts(trials, folds)
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    searched = recipe.with_overrides("head.search=true")
    progress = progress or Progress()
    prepared = prepare(searched, data=data, progress=progress)
    result = search_head(searched, prepared, progress, trials=trials, folds=folds, spread=spread)
    if recipe.head.search:
        return replace(result, overrides=("head.search=false", *result.overrides))
    return result


def _check_counts(trials: int, folds: int) -> None:
    for name, value in (("trials", trials), ("folds", folds)):
        if value < 2:
            raise RecipeError(
                f"{name}: a head search needs at least 2, received {value}.",
                hint=f"The default is {TRIALS if name == 'trials' else FOLDS}.",
            )


def search_head(
    recipe: Recipe,
    prepared: Prepared,
    progress: Progress,
    *,
    trials: int = TRIALS,
    folds: int = FOLDS,
    spread: Spread | None = None,
) -> HeadSearchResult:
    """The search of `tune_head` on data and backbone that are loaded already.

    Args:
        recipe: With `head.search`, so that it is known to have what is needed.
        prepared: Of that recipe.
        progress: Is told what happens.
        trials, folds, spread: As in `tune_head`.
    """
    progress.stage("Head search on the frozen backbone's features")
    if recipe.augment is not None:
        progress.note("heads are compared on the images as they are, without `augment`")
    phase = next(plan.phase for plan in prepared.plans if plan.phase.train == "head")
    problem = _problem(recipe, prepared, phase, progress, spread)
    started = time.perf_counter()
    own = HeadSettings(
        recipe.head.hidden_units,
        recipe.head.dropout,
        phase.learning_rate,
        recipe.training.weight_decay,
        recipe.training.label_smoothing,
    )
    target = prepared.task.target
    smooths = "training.label_smoothing" not in target.refused
    candidates = draw_settings(trials, own, recipe.training.seed, smooths=smooths)
    ranked = search_heads(problem, candidates, _rates_of(phase), folds, progress.note, spread)
    metrics = [score.key for score in target.search_scores]
    result = HeadSearchResult(
        trials=tuple(ranked),
        metrics=(problem.monitor.key, *(m for m in metrics if m != problem.monitor.key)),
        folds=folds,
        epochs=phase.epochs,
        num_rows=len(problem.features),
        seconds=time.perf_counter() - started,
        recipe=_recipe_with(recipe, prepared.plans, ranked[0].settings),
        overrides=_overrides(recipe, prepared.plans, ranked[0].settings),
    )
    _tell(result, progress)
    return result


def _problem(
    recipe: Recipe,
    prepared: Prepared,
    phase: PhaseSection,
    progress: Progress,
    spread: Spread | None,
) -> SearchProblem:
    found = frozen_features(recipe, prepared, progress, spread=spread)
    examples = prepared.examples.of_splits("train", "validation")
    target, training = prepared.task.target, recipe.training
    shared = FitSettings(
        target=target,
        activation=recipe.head.activation,
        l2=recipe.head.l2,
        batch_size=training.rows_per_update,
        epochs=phase.epochs,
        clip_norm=training.gradient_clip_norm,
    )

    return SearchProblem(
        features=np.concatenate([found.train, found.validation]),
        truth=target.truth(examples.targets, examples.origins),
        weights=target.weights(examples.targets, training.class_weights),
        shared=shared,
        monitor=target.search_scores[1 if training.monitor == "metric" else 0],
        seed=training.seed,
        groups=undivided(examples),
    )


def _rates_of(phase: PhaseSection) -> Rates:
    def rates(peak: float, steps: int) -> np.ndarray:
        curve = phase.model_copy(update={"learning_rate": peak})
        return np.asarray(make_schedule(curve, steps // phase.epochs)(np.arange(steps)))

    return rates


def _recipe_with(recipe: Recipe, plans: Sequence[PhasePlan], found: HeadSettings) -> Recipe:
    values = recipe.to_values()
    values["head"].update(
        search=False, hidden_units=list(found.hidden_units), dropout=found.dropout
    )
    values["training"].update(
        weight_decay=found.weight_decay, label_smoothing=found.label_smoothing
    )
    values["schedule"] = [
        phase.model_dump(mode="json", by_alias=True) for phase in _phases_with(recipe, plans, found)
    ]
    return Recipe.of(**values)


def _phases_with(
    recipe: Recipe, plans: Sequence[PhasePlan], found: HeadSettings
) -> list[PhaseSection]:
    """The phases of a schedule, those that train the head alone at the rate found."""
    rate = {"learning_rate": found.learning_rate}
    schedule = recipe.schedule
    phases = [plan.phase for plan in plans] if isinstance(schedule, str) else schedule
    return [phase.model_copy(update=rate) if phase.train == "head" else phase for phase in phases]


def _overrides(recipe: Recipe, plans: Sequence[PhasePlan], found: HeadSettings) -> tuple[str, ...]:
    phases = _phases_with(recipe, plans, found)
    if isinstance(recipe.schedule, str):
        # A name has no phases to override one by one.
        schedule = [f"schedule={json.dumps([phase_values(phase) for phase in phases])}"]
    else:
        schedule = [
            f"schedule.{index}.learning_rate={phase.learning_rate!r}"
            for index, phase in enumerate(phases)
            if phase.train == "head"
        ]
    return (
        f"head.hidden_units={json.dumps(list(found.hidden_units))}",
        f"head.dropout={found.dropout!r}",
        *schedule,
        f"training.weight_decay={found.weight_decay!r}",
        f"training.label_smoothing={found.label_smoothing!r}",
    )


def phase_values(phase: PhaseSection) -> dict[str, Any]:
    """A phase as short as a person would write it."""
    values = phase.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {"train": phase.model_dump(mode="json", by_alias=True)["train"], **values}


def _row(rank: int, trial: HeadTrial, result: HeadSearchResult) -> dict[str, Any]:
    settings = trial.settings
    scores: dict[str, Any] = {}
    for metric in result.metrics:
        std = trial.std(metric)
        mean = trial.mean(metric)
        scores[metric] = round(mean, 6) if np.isfinite(mean) else None
        scores[f"{metric}_std"] = None if std is None or not np.isfinite(std) else round(std, 6)
    return {
        "rank": rank,
        "own": trial.number == 0,
        "hidden_units": list(settings.hidden_units),
        "dropout": settings.dropout,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "label_smoothing": settings.label_smoothing,
        **scores,
        "folds": len(trial.scores),
        "epochs": result.epochs,
        "seconds": round(trial.seconds, 2),
    }


def _tell(result: HeadSearchResult, progress: Progress) -> None:
    rows = result.table()
    own = next(row for row in rows if row["own"])
    progress.note(f"best of {len(rows)} in {result.seconds:.1f} s: {describe(rows[0], result)}")
    if own is not rows[0]:
        progress.note(f"the recipe's own head: {describe(own, result)}")


def describe(row: Mapping[str, Any], result: HeadSearchResult) -> str:
    """A row of the table in words."""
    hidden = ", ".join(map(str, row["hidden_units"])) or "none"
    scores = ", ".join(f"{metric} {scored(row, metric)}" for metric in result.metrics)
    return (
        f"hidden {hidden}, dropout {row['dropout']:g}, learning rate {row['learning_rate']:g}, "
        f"weight decay {row['weight_decay']:g}, label smoothing {row['label_smoothing']:g}: "
        f"{scores}"
    )


def scored(row: Mapping[str, Any], metric: str) -> str:
    """A metric of a row of the table with its spread over folds, such as `0.312 ± 0.010`."""
    value, std = row[metric], row[f"{metric}_std"]
    if value is None:
        return "not a number"
    return f"{value:.4f}" if std is None else f"{value:.4f} ± {std:.4f}"

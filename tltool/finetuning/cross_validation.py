"""A whole recipe cross-validated: as many trainings as folds, each row predicted by a model that
has not seen it.

    tltool finetune RECIPE --folds 5

Each training is a run of its own, `fold-1/1` and so on, whose test rows are its fold. Its
validation rows are drawn from the other folds, as the recipe says, so that a fold chooses nothing
of the model that it measures.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tltool.data.checks.summary import describe
from tltool.data.examples import Examples, Split
from tltool.data.labels import make_task
from tltool.data.preprocessing import TextPreprocessing
from tltool.data.splits import split_examples
from tltool.finetuning.job import finetune_prepared, recording
from tltool.finetuning.resuming import origin
from tltool.finetuning.series import (
    Base,
    SeriesFolder,
    check_enough,
    check_labels,
    held_out_rows,
    refuse_several_workers,
    shared_rows,
)
from tltool.finetuning.teaching import check_teacher, taught
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import runs_of
from tltool.runs.run import Run, load_run
from tltool.support import stopping
from tltool.support.errors import RecipeError
from tltool.support.files import write_json
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.support.stopwatch import Stopwatch
from tltool.support.words import count, duration
from tltool.tasks.table import Task
from tltool.training.preparation import Prepared, check_validation, prepare
from tltool.training.workers import Workers

if TYPE_CHECKING:
    from tltool.evaluation.evaluate import PredictionRows
    from tltool.tasks.reports import Score

KIND = "folds"
FOLDS = 5
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation gave.

    Attributes:
        path: Its folder, with `metrics.json` and `predictions.csv`.
        folds: Number of folds.
        metrics: As in `metrics.json`: `out_of_fold` over all rows, with intervals; `mean` and
            `std` (n - 1) over the folds; `per_fold`; `test` and `baseline` where there are such.
            Empty where it was interrupted.
        score: What sums a model up.
        seconds: Wall time of this process.
    """

    path: Path
    folds: int
    metrics: Mapping[str, Any]
    score: Score
    seconds: float

    @property
    def finished(self) -> bool:
        """Whether all folds are done."""
        return bool(self.metrics)

    def lines(self) -> list[str]:
        """What a person wants to know, short."""
        score, found = self.score, self.metrics
        pooled, key = found["out_of_fold"], score.key
        facts = f"{pooled['n']:,} rows, each by a model without it"
        if interval := pooled.get(f"{key}_interval"):
            low, high = map(score.text, interval)
            facts = f"95 % interval {low} to {high}, {facts}"
        each = ", ".join(score.text(fold[key]) for fold in found["per_fold"])
        lines = [
            f"{self.folds}-fold cross-validation, {duration(self.seconds)}",
            f"  {score.title}, all rows  {score.text(pooled[key])} ({facts})",
            f"  {score.title}, by fold   {_spread_words(score, found)} ({each})",
        ]
        if "baseline" in found:
            name = found["baseline"]["name"]
            lines.append(f"  Baseline  {_spread_words(score, found['baseline'])} ({name})")
        if "test" in found:
            rows = count(found["test"]["n"], "row")
            lines.append(f"  Test data  {_spread_words(score, found['test'])} ({rows}, each model)")
        return lines


def _spread_words(score: Score, found: Mapping[str, Any]) -> str:
    mean, std = (found[name].get(score.key) for name in ("mean", "std"))
    return f"{score.text(mean)}, standard deviation {score.text(std)}"


@dataclass(frozen=True)
class _Plan:
    """What all folds have in common.

    Attributes:
        recipe: That of the folds' runs, but for their names.
        prepared: Of all rows together, those of test data too.
        rows: Those that folds are of, in the order of the data.
        test: Rows that the data itself names so; maybe none.
        held_out: The numbers of each fold's rows in `rows`, ascending.
        parts: Each fold's training, validation and (as test) own rows, with the task on them.
        pool: What frozen features are stored of.
        base: What each fold's training begins with.
    """

    recipe: Recipe
    prepared: Prepared
    rows: Examples
    test: Examples
    held_out: list[Array]
    parts: list[tuple[Examples, Task]]
    pool: Examples
    base: Base


@dataclass(frozen=True)
class _Measured:
    """What a fold gave.

    Attributes:
        task: With what the fold's training settled, such as thresholds.
        outputs: For its own rows.
        metrics: Of its run, by split.
        test: Metrics on test data; None where there is none.
        best: The history's row of the epoch whose weights were measured.
    """

    task: Task
    outputs: Array
    metrics: Mapping[str, Any]
    test: Mapping[str, Any] | None
    best: Mapping[str, Any]


def cross_validate(
    recipe: Recipe | str | Path,
    *,
    folds: int = FOLDS,
    data: Any = None,
    progress: Progress | None = None,
    spread: Spread | None = None,
    resume: bool = False,
    resume_anyway: bool = False,
) -> CrossValidation:
    """Trains a recipe once for each fold of its rows, and measures each row by the others' model.

    Training rows and those that `data.test_fraction` would set aside take part. Validation and
    test data that the recipe names stays what it is: test data is measured by each fold's model.
    No model is kept and nothing is exported.

    Args:
        recipe: A recipe, a recipe file, or the name of one of tltool's own.
        folds: How many, at least 2; stratified, without dividing duplicates or groups.
        data: As for `finetune`.
        progress: Is told what happens; None is silent.
        spread: Where frozen layers run and heads are searched; as for `finetune`.
        resume: Go on with the newest cross-validation of the recipe's name that has not come
            to its end, from the fold and the checkpoint it was at.
        resume_anyway: Do so with another recipe, data or machine too.

    Returns:
        What it gave; not `finished` where a stop was asked for while it trained.

    Raises:
        RecipeError: Fewer than 2 folds, or a recipe that can't be cross-validated.
        DataError: Too few rows of a class, or groups, for so many folds.
        TltoolError: As in `finetune`.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    progress, started = progress or Progress(), time.perf_counter()
    _check_recipe(recipe, folds)
    with stopping.stoppable(pass_on=True):
        plan = _planned(recipe, folds, data, progress)
        facts = {**origin(recipe, plan.prepared), "folds": folds}
        folder = None
        if resume or resume_anyway:
            folder = SeriesFolder.newest(recipe, KIND)
            if folder is None:
                progress.note(f"nothing to resume in {recipe.output_dir}/{recipe.name}-{KIND}")
        if folder is None:
            folder = SeriesFolder.begun(recipe, KIND, plan.prepared, facts)
        else:
            for one in folder.go_on(facts, anyway=resume_anyway, measured=True):
                progress.note(f"warning: {one}")
        score = plan.prepared.task.target.headline()
        with recording(folder, Workers()):
            measured = _measure(plan, folder, progress, spread, resume_anyway)
            metrics = _concluded(plan, folder, measured) if measured else {}
            seconds = time.perf_counter() - started
            if metrics:
                headline = {score.key: metrics["out_of_fold"][score.key]}
                folder.record("finished", metrics=headline, seconds=round(seconds, 1))
                _remove_models(folder, folds)
                folder.record("finished")
            else:
                folder.record("interrupted")
        return CrossValidation(folder.path, folds, metrics, score, seconds)


def _check_recipe(recipe: Recipe, folds: int) -> None:
    """Raises RecipeError where nothing can come of it."""
    if folds < 2:
        raise RecipeError(
            f"folds: a cross-validation needs at least 2, received {folds}.",
            hint=f"{FOLDS} is usual",
        )
    if recipe.spec.target.sized:
        raise RecipeError(
            f"task: {recipe.task} can't be cross-validated: what a row is like depends on the "
            "other rows, and vectors of different models can't be compared.",
            hint="train with several data.split_seed, and look at the spread of the results",
        )
    refuse_several_workers(recipe, "a cross-validation")


def _planned(recipe: Recipe, folds: int, data: Any, progress: Progress) -> _Plan:
    """Reads the data, builds the model once, and divides the rows; trains nothing."""
    undrawn = recipe.data.model_copy(update={"validation_fraction": 0.0, "test_fraction": 0.0})
    export = recipe.export.model_copy(update={"formats": ()})
    whole = recipe.model_copy(update={"data": undrawn, "export": export})
    teacher = check_teacher(whole)
    prepared = prepare(whole, data=data, progress=progress, validated=False, teacher=teacher)
    prepared = taught(whole, prepared, progress=progress)
    if prepared.lessons is not None:
        progress.note(
            "warning: where the teacher was trained on these rows it knows those that a fold holds "
            "out, and its students score higher than they will on new data"
        )
    examples = prepared.examples
    rows = examples.split("train")
    progress.note(f"{len(rows):,} rows take part in {folds} folds")
    check_enough(rows, prepared.task.target, folds)
    seed = recipe.data.split_seed
    held_out = held_out_rows(rows, prepared.task.target, folds, seed)
    parts = []
    for number, held in enumerate(held_out, start=1):
        part = fold_part(recipe, examples, rows, held)
        check_validation(recipe, part, prepared.plans)
        parts.append((part, make_task(recipe.spec, part)))
        check_labels(prepared.task, parts[-1][1], number)
    one = {"export": export, **_length_of(recipe, prepared)}
    own = recipe.model_copy(update=one)
    return _Plan(
        own,
        prepared,
        rows,
        examples.split("test"),
        held_out,
        parts,
        shared_rows(recipe, examples.of_splits("train", "validation")),
        Base(own, prepared, saved=True),
    )


def _length_of(recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    """The length of texts that fits all rows: with one for each fold, features would differ."""
    contract = prepared.backbone.preprocessing
    if not isinstance(contract, TextPreprocessing):
        return {}
    update = {"max_length": contract.max_length}
    return {"backbone": recipe.backbone.model_copy(update=update)}


def fold_part(recipe: Recipe, examples: Examples, rows: Examples, held: Array) -> Examples:
    """A fold's rows as test rows, with the others, of which validation rows are drawn.

    Args:
        recipe: Says how many validation rows are drawn, and by which seed.
        examples: All rows: those of the folds are `train`; given validation rows stay what they
            are.
        rows: Those of the folds, in order.
        held: Numbers of the fold's rows in `rows`.
    """
    others = examples.of_splits("validation")
    own = set(held.tolist())
    splits: list[Split | None] = ["test" if row in own else None for row in range(len(rows))]
    joined = examples.of_splits("train", "validation")
    return split_examples(
        replace(joined, splits=[*splits, *others.splits]),
        validation_fraction=recipe.data.validation_fraction,
        test_fraction=0.0,
        seed=recipe.data.split_seed,
    )


def _measure(
    plan: _Plan, folder: SeriesFolder, progress: Progress, spread: Spread | None, anyway: bool
) -> list[_Measured]:
    """Trains and measures what is not done yet; nothing where a stop was asked for."""
    measured = []
    for number, (part, task) in enumerate(plan.parts, start=1):
        progress.stage(f"Fold {number} of {len(plan.parts)}")
        stopping.check()
        run = _done(folder, number)
        if run is None:
            run = _trained(plan, folder, number, (part, task), progress, spread, anyway)
        else:
            progress.note(f"done before: {run.path}")
        if run.status != "finished":
            return []
        measured.append(_measured(run, part.split("test"), plan.test))
        # A model holds itself in circles, and the next one needs its memory.
        del run
        gc.collect()
    return measured


def _name(number: int) -> str:
    return f"fold-{number}"


def _done(folder: SeriesFolder, number: int) -> Run | None:
    """A fold's finished run, if there is one."""
    parent = folder.path / _name(number)
    for found in runs_of(parent) if parent.is_dir() else ():
        if found.status == "finished" and found.model.is_file():
            return load_run(found.path)
    return None


def _trained(
    plan: _Plan,
    folder: SeriesFolder,
    number: int,
    fold: tuple[Examples, Task],
    progress: Progress,
    spread: Spread | None,
    anyway: bool,
) -> Run:
    own = {"name": _name(number), "output_dir": str(folder.path)}
    recipe, clock = plan.recipe.model_copy(update=own), Stopwatch()
    summary = {**plan.prepared.data_summary, **describe(fold[0], recipe.task), "given_splits": []}
    prepared = replace(plan.base.training(recipe, fold, plan.pool), data_summary=summary)
    return finetune_prepared(
        recipe, prepared, progress=progress, clock=clock, spread=spread, resume=True, anyway=anyway
    )


def _measured(run: Run, own: Examples, test: Examples) -> _Measured:
    from tltool.evaluation.evaluate import evaluate_outputs

    on_test = None
    if len(test):
        on_test = evaluate_outputs(run.outputs(test), test, run.task, mistakes=0).metrics
    best = run.folder.manifest().get("best") or {}
    # How unknown a row is, each fold measures by its own features: only answers are put together.
    target = run.task.target
    outputs = target.answers_in(np.asarray(run.outputs(own)))
    task = replace(run.task, target=target.plain)
    return _Measured(task, outputs, run.metrics, on_test, best)


def _concluded(plan: _Plan, folder: SeriesFolder, measured: Sequence[_Measured]) -> dict[str, Any]:
    """Writes metrics and predictions of all rows; returns the metrics."""
    from tltool.evaluation.evaluate import PredictionRows, evaluate_outputs, write_predictions

    order = np.argsort(np.concatenate(plan.held_out))
    outputs = np.concatenate([one.outputs for one in measured])[order]
    task = plan.prepared.task
    target = task.target.pooled([one.task.target for one in measured])
    pooled = evaluate_outputs(outputs, plan.rows, replace(task, target=target), mistakes=0)
    each = [one.metrics["test"] for one in measured]
    metrics: dict[str, Any] = {
        "folds": len(measured),
        "out_of_fold": pooled.metrics,
        **_spread(each),
        "per_fold": [
            {"fold": number, "epoch": one.best.get("total_epoch"), **one.metrics["test"]}
            for number, one in enumerate(measured, start=1)
        ],
    }
    tested = [one.test for one in measured if one.test is not None]
    if tested:
        metrics["test"] = {"n": len(plan.test), **_spread(tested), "per_fold": tested}
    baselines = [one.metrics["baseline"] for one in measured if "baseline" in one.metrics]
    if len(baselines) == len(measured):
        metrics["baseline"] = {"name": baselines[0]["name"], **_spread(baselines)}
    write_json(folder.metrics, metrics)
    tables = [
        PredictionRows(one.outputs, plan.rows.take(held.tolist()), one.task)
        for one, held in zip(measured, plan.held_out, strict=True)
    ]
    write_predictions(_in_order(tables, order), folder.predictions)
    return metrics


def _in_order(tables: Sequence[PredictionRows], order: Array) -> Any:
    """The rows of all folds in the order of the data, each with its fold."""
    places = [(fold, row) for fold, table in enumerate(tables) for row in range(len(table))]
    for fold, row in (places[place] for place in order.tolist()):
        yield {**tables[fold][row], "fold": fold + 1}


def _spread(each: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (n - 1) of the numbers that all folds have."""
    keys = [key for key in each[0] if key != "n" and all(_is_number(one.get(key)) for one in each)]
    values = {key: [float(one[key]) for one in each] for key in keys}
    return {
        "mean": {key: float(np.mean(found)) for key, found in values.items()},
        "std": {key: float(np.std(found, ddof=1)) for key, found in values.items()},
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _remove_models(folder: SeriesFolder, folds: int) -> None:
    """What a fold learnt is of no use once its rows are measured."""
    for number in range(1, folds + 1):
        for found in runs_of(folder.path / _name(number)):
            found.model.unlink(missing_ok=True)
            for weights in found.kept_weights():
                weights.unlink(missing_ok=True)
            found.record("finished")

"""Training a run's model on with new data, and comparing the two before anything is replaced."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from tltool.data.examples import Examples
from tltool.data.labels import make_task
from tltool.evaluation.paired import Paired
from tltool.finetuning.job import finetune
from tltool.finetuning.keep import DEFAULT_HEAD
from tltool.model.head_weights import check_same_labels
from tltool.recipe.recipe import Recipe
from tltool.report.content import amount
from tltool.runs.pairs import paired, without
from tltool.runs.run import Run, load_run
from tltool.support.errors import DataError, RunError
from tltool.support.files import read_json, write_json
from tltool.support.items import items_of
from tltool.support.progress import Progress
from tltool.support.words import count
from tltool.training.preparation import load_data

if TYPE_CHECKING:
    from tltool.support.spread import Spread
    from tltool.support.stopwatch import Stopwatch

Verdict = Literal["better", "not apart", "worse", "not measured"]
OLD, NEW = "old", "new"
SUFFIX = "-retrained"
COMPARISON = "comparison.json"
"""File in the folder of the new run: what `Retrained.to_json` says of the comparison."""


@dataclass(frozen=True)
class Retrained:
    """A run that goes on from another one's model, and how the two compare.

    Attributes:
        run: The new one.
        before: The one that it began from, which is as it was.
        pairs: What both say of the same test rows: under `old` those of the run before, under
            `new` those of the new data. What has no test rows is not there; nor is anything
            where the training was interrupted.
        warnings: What speaks against trusting the comparison.
    """

    run: Run
    before: Run
    pairs: Mapping[str, Paired]
    warnings: tuple[str, ...] = ()

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Whether the new model is surely better or worse, on the old test rows and the new."""
        return {name: _verdict(self.pairs.get(name)) for name in (OLD, NEW)}

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        rows = {
            name: {"verdict": verdict, **(self.pairs[name].to_json() if name in self.pairs else {})}
            for name, verdict in self.verdicts.items()
        }
        return {"before": str(self.before.path), "warnings": list(self.warnings), "rows": rows}

    def lines(self) -> Iterator[str]:
        """The comparison in lines for people."""
        yield f"{self.run.path} against {self.before.path}, on the same test rows"
        for name, verdict in self.verdicts.items():
            yield f"  {name} test rows: {_told(self.pairs.get(name), verdict)}"
        for warning in self.warnings:
            yield f"warning: {warning}"


def retrain(
    run: str | Path | Run,
    data: str | Path | Sequence[str | Path],
    *overrides: str,
    progress: Progress | None = None,
    keep_failed: bool = False,
    audit: bool = True,
    clock: Stopwatch | None = None,
    spread: Spread | None = None,
    resume: bool = False,
) -> Retrained:
    """Trains a run's model on with its old rows and new ones, and compares the two models.

    The recipe is the run's own with `data.added`, and with the run's `model.keras` as
    `backbone.weights_file` and `head.weights_file`; it is in the new run's folder, where
    `finetune` gives the same model from it. The run itself stays as it is.

    Args:
        run: A run, or its folder.
        data: What `data.train` may be, one or several; read as the run's own data is.
        overrides: Further changes to the recipe, as `key=value`.
        progress, keep_failed, audit, clock, spread, resume: As for `finetune`.

    Raises:
        TltoolError: As in `finetune`; a `RunError` that the run has no model, or that its data
            can't be read again; a `HeadError` that the new data has labels that it does not know.
    """
    before = run if isinstance(run, Run) else load_run(run, progress=progress)
    sources = [data] if isinstance(data, str | Path) else items_of(data, "data", RunError)
    recipe = retraining_recipe(before, list(map(str, sources))).with_overrides(*overrides)
    rows, summary = _old_data(before, recipe)
    examples = load_data(recipe)[0]
    check_same_labels(
        before.task.target.labels,
        make_task(recipe.spec, examples).target.labels,
        str(before.path),
        hint=_for_other_labels(before, recipe),
    )
    warnings = tuple(_warnings(before, summary))
    new = finetune(
        recipe,
        progress=progress,
        keep_failed=keep_failed,
        audit=audit,
        clock=clock,
        spread=spread,
        resume=resume,
    )
    if new.status != "finished":
        return Retrained(new, before, {}, warnings)
    old_rows = rows.split("test")
    test_rows = {OLD: old_rows, NEW: without(examples.split("test"), old_rows)}
    found = Retrained(new, before, dict(_pairs(before, new, test_rows)), warnings)
    write_json(new.path / COMPARISON, found.to_json())
    new.folder.record(new.folder.status)
    return found


def retraining_recipe(run: Run, data: Sequence[str]) -> Recipe:
    """The recipe that trains a run's model on with more data.

    Args:
        run: Of a training that came to its end.
        data: Added to what the run's own recipe has in `data.added`.

    Raises:
        RunError: The run has no model, or its data can't be read again.
    """
    if run.recipe.data.train is None:
        raise RunError(
            f"The run {str(run.path)!r} was trained on data given from Python, which can't be read "
            "again.",
            hint="save that data as a table, and train on it once",
        )
    model = run.folder.model
    if not model.is_file():
        raise RunError(
            f"The run {str(run.path)!r} ({run.status}) has no {model.name} to go on from.",
            hint="take a finished run: `tltool runs list` shows them",
        )
    values = run.recipe.to_values()
    values["name"] = values["name"].removesuffix(SUFFIX) + SUFFIX
    values["data"]["added"] += data
    values["backbone"]["weights_file"] = str(model)
    values["head"]["weights_file"] = str(model) if _has_its_head(run) else None
    return Recipe.of(**values)


def _old_data(run: Run, recipe: Recipe) -> tuple[Examples, Mapping[str, Any]]:
    """What the run was trained on, read from where the new recipe has it.

    Raises:
        DataError: It can't be read.
    """
    data = recipe.data.model_copy(update={"added": run.recipe.data.added})
    try:
        return load_data(run.recipe.model_copy(update={"data": data}))
    except DataError as error:
        raise DataError(
            f"The data that {str(run.path)!r} itself was trained on can't be read: {error.message}",
            hint="where it lies elsewhere, give data.train=PATH"
            + (f"; {error.hint}" if error.hint else ""),
        ) from error


def _has_its_head(run: Run) -> bool:
    """Whether the model has the head of its recipe: not where a linear model took its place."""
    head = run.recipe.head
    plain = head.name == DEFAULT_HEAD and not head.hidden_units
    return plain or not run.folder.manifest().get("kept", {}).get("linear")


def _for_other_labels(run: Run, recipe: Recipe) -> str:
    added = yaml.safe_dump(
        list(recipe.data.added), default_flow_style=True, allow_unicode=True, width=math.inf
    )
    command = [
        "tltool", "finetune", str(run.folder.recipe), f"data.added={added.strip()}",
        f"backbone.weights_file={run.folder.model}",
    ]  # fmt: skip
    return f"a model of all labels has another head: {shlex.join(command)}"


def _warnings(run: Run, summary: Mapping[str, Any]) -> Iterator[str]:
    """What speaks against trusting a comparison on a run's old rows."""
    run.folder.check(run.folder.data_summary)
    then = read_json(run.folder.data_summary).get("rows")
    if then != summary["rows"]:
        yield (
            f"the data of {run.path} has changed since: {_rows(then)} then, "
            f"{_rows(summary['rows'])} now. Some of its test rows may have been trained on."
        )
    if run.recipe.training.refit:
        yield (
            f"{run.path} has learnt from its validation rows (training.refit), so that these are a "
            "worse guide to the best epoch of what goes on from it."
        )


def _rows(counts: Mapping[str, int] | None) -> str:
    return ", ".join(f"{number:,} {split}" for split, number in (counts or {}).items())


def _pairs(before: Run, new: Run, rows: Mapping[str, Examples]) -> Iterator[tuple[str, Paired]]:
    for name, examples in rows.items():
        if len(examples):
            yield name, paired(before, new, examples)


def _verdict(pair: Paired | None) -> Verdict:
    if pair is None or pair.comparison is None:
        return "not measured"
    if pair.comparison.is_better:
        return "better"
    return "worse" if pair.comparison.is_worse else "not apart"


def _told(pair: Paired | None, verdict: Verdict) -> str:
    if pair is None:
        return "there are none"
    comparison = pair.comparison
    if comparison is None:
        return f"{verdict}: the score of {count(len(pair.examples), 'row')} is undefined"
    score = pair.target.headline()
    return (
        f"{verdict}. {score.title} {score.text(comparison.value)} against "
        f"{score.text(comparison.other)} of {count(comparison.rows, 'row')}; gain "
        f"{amount(comparison, score)}"
    )

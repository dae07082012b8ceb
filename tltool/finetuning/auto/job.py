"""From a folder or a table and some minutes to the best model that they allow.

    tltool auto DATA --minutes 10

What is tried is ranked by cross-validation of the training rows; the winner is a recipe, which the
main job trains, measures once on the test rows, exports and checks.
"""

from __future__ import annotations

import gc
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tltool.backbones.load import check_backbone
from tltool.data.checks.inspection import inspect_data, refuse_problems
from tltool.finetuning.auto.at_hand import backbones_at_hand
from tltool.finetuning.auto.bounds import Bounds, extremes
from tltool.finetuning.auto.budget import Budget
from tltool.finetuning.auto.candidates import Candidate
from tltool.finetuning.auto.page import Account
from tltool.finetuning.auto.planner import Found, Planner, Tried
from tltool.finetuning.auto.workshop import Workshop
from tltool.finetuning.job import finetune, recording
from tltool.finetuning.linear_model import has_linear_model
from tltool.finetuning.series import refuse_several_workers
from tltool.recipe.reading import override, refuse_two
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import RunFolder, environment
from tltool.runs.run import Run
from tltool.support import stopping
from tltool.support.errors import BackboneError, ExportError, RecipeError
from tltool.support.files import write_json, write_text
from tltool.support.items import items_of
from tltool.support.progress import Progress
from tltool.tasks.table import TASKS, known_task
from tltool.training.workers import Workers

KIND = "auto"
# With less time only the file for phones is made; `tltool export` makes the others later.
_MINUTES_FOR_ALL_EXPORTS = 5.0
_QUICK_EXPORT = {"formats": ["litert"], "precisions": ["float32"]}
_WHOLE_EXPORT = {"formats": ["saved_model", "litert"], "precisions": ["float32", "dynamic_int8"]}
# Fields that are chosen here.
_CHOSEN = ("backbone.name", "head", "schedule", "tune", "training.keep")


@dataclass(frozen=True)
class AutoResult:
    """What came of it.

    Attributes:
        path: The folder with `recipe.yaml`, `auto.md` and `auto.json`.
        run: The winner, trained, measured and exported; without `summary` where a stop was asked
            for while it trained.
        recipe: That trains the winner.
        trail: All that was tried, in order.
        seconds: Wall time of the whole.
        account: What the page tells.
    """

    path: Path
    run: Run
    recipe: Recipe
    trail: tuple[Tried, ...]
    seconds: float
    account: Account

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"folder": str(self.path), **self.account.to_json()}


def auto(
    data: Any,
    *,
    minutes: float,
    overrides: Sequence[str] = (),
    task: str | None = None,
    how: Mapping[str, Any] | None = None,
    backbones: Sequence[str] = (),
    download: bool = False,
    size_mb: float | None = None,
    latency_ms: float | None = None,
    threads: int = 1,
    seed: int | None = None,
    output: str | Path | None = None,
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> AutoResult:
    """Makes the best model of some data that a time allows.

    The backbones at hand are ranked by the best linear head on their frozen features; then a head
    search and known ways of fine-tuning are tried as long as there is time. Each is kept only if
    it is better than the best before on rows that folds of the training rows hold out. The winner
    is trained by `finetune`, which measures it on the test rows, exports and checks it. However
    short the time, that much is always done.

    Args:
        data: A folder or a table, as `data.train` names it; or Python objects as for `finetune`.
        minutes: For all, above 0.
        overrides: Changes to the recipe, as `key=value`; not of what is chosen here.
        task: As a recipe names it; None guesses it from the data, which Python objects don't allow.
        how: How a table is read, as arguments of `tltool.data.reading.sources.reading`.
        backbones: To choose from; none takes those at hand.
        download: Fetch those that the package registry has, too.
        size_mb: Most megabytes (10^6 bytes) of an exported LiteRT file.
        latency_ms: Longest median time that such a file takes for one example on this machine.
        threads: Of LiteRT, while it is timed.
        seed: Of folds and trainings; None takes 0, or `training.seed` of the overrides.
        output: Folder of the runs; None takes `runs`, or `output_dir` of the overrides.
        progress: Is told what happens; None is silent.
        budget: In place of one of `minutes` that begins now.

    Raises:
        RecipeError: A value or an override can't be used, or the task has no linear head.
        DataError: The data can't be used.
        BackboneError: No backbone can be used.
        ExportError: No backbone is within the bounds.
        TltoolError: As in `finetune`.
        KeyboardInterrupt: A stop was asked for before the final training; the folder has the best
            recipe so far.
    """
    _check(minutes)
    bounds = Bounds(size_mb, latency_ms, threads)
    budget, progress = budget or Budget(60 * minutes), progress or Progress()
    with stopping.stoppable(pass_on=True):
        recipe = _base(data, minutes, overrides, task, how, seed, output, bounds, progress)
        named = items_of(backbones, "backbones", BackboneError)
        modality = recipe.spec.backbone_modality
        for name in named:
            check_backbone(name, modality)
        names = tuple(dict.fromkeys(named)) or backbones_at_hand(modality, download=download)
        _prepare(recipe)
        workshop = Workshop(recipe, None if _is_path(data) else data, budget, bounds, progress)
        folder = RunFolder.create(recipe.output_dir, f"{recipe.name}-{KIND}")
        write_json(folder.environment, environment())
        teller = _Teller(folder, recipe, data, minutes, budget, progress)
        with recording(folder, Workers()), teller.telling_of_a_stop():
            found = _searched(workshop, names, teller, bounds)
            del workshop  # with its models, which hold themselves in circles
            gc.collect()
            run = teller.concluded(found, None if _is_path(data) else data, bounds)
    return AutoResult(folder.path, run, found.candidate.recipe, found.trail, budget.spent,
                      teller.account)  # fmt: skip


def _check(minutes: float) -> None:
    if not (minutes > 0 and math.isfinite(minutes)):
        raise RecipeError(
            f"minutes: a number above 0 is needed, received {minutes}.", hint="10 is usual"
        )


def _is_path(data: Any) -> bool:
    return isinstance(data, str | Path)


def _base(
    data: Any,
    minutes: float,
    overrides: Sequence[str],
    task: str | None,
    how: Mapping[str, Any] | None,
    seed: int | None,
    output: str | Path | None,
    bounds: Bounds,
    progress: Progress,
) -> Recipe:
    """The recipe of data and export that all candidates begin with.

    Raises:
        RecipeError, DataError: Nothing can come of it.
    """
    _check_overrides(overrides)
    fields: dict[str, Any] = {}
    if _is_path(data):
        progress.stage(f"Data: {data}")
        found = inspect_data(str(data), task=task, how=how, overrides=overrides)
        refuse_problems(found, overrides)
        task, fields = found["recipe"]["task"], dict(found["recipe"]["data"])
    if task is None:
        raise RecipeError(
            "task: data from Python does not say what it is for.",
            hint=f"give one of {', '.join(TASKS)}",
        )
    _check_task(task)
    export = _WHOLE_EXPORT if minutes >= _MINUTES_FOR_ALL_EXPORTS else _QUICK_EXPORT
    if bounds.size_mb is not None:
        export = {**export, "precisions": ["float32", "dynamic_int8"]}
    values = {
        "task": task,
        "name": _name_of(data),
        "data": fields,
        "backbone": "chosen-by-auto",
        "schedule": [{"train": "head", "solver": "exact"}],
        "training": {"seed": seed or 0},
        "export": export,
        "output_dir": str(output or "runs"),
    }
    # Read once, so that the recipe's sections know which of their fields were given.
    recipe = Recipe.of(**override(values, overrides))
    refuse_two(
        ("data.train", fields.get("train"), "data.train", recipe.data.train),
        ("task", task, "task", recipe.task),
        ("seed", seed, "training.seed", recipe.training.seed),
        ("output", None if output is None else str(output), "output_dir", recipe.output_dir),
    )
    _check_recipe(recipe, bounds)
    return recipe


def _check_overrides(overrides: Sequence[str]) -> None:
    for text in items_of(overrides, "overrides", RecipeError):
        values = override({}, [text])
        for field in (one for one in _CHOSEN if _has(values, one.split("."))):
            raise RecipeError(
                f"{field}: is what is chosen here. Received: {text}.",
                hint="leave it out; --backbone names the backbones to choose from, and "
                "`tltool finetune` and `tltool tune` take a recipe with a head and a schedule",
            )


def _has(values: Any, keys: Sequence[str]) -> bool:
    """Whether the values of a recipe have a field; a plain value stands for a whole section."""
    if not keys or not isinstance(values, Mapping):
        return True
    return keys[0] in values and _has(values[keys[0]], keys[1:])


def _check_task(task: str) -> None:
    known_task(task)
    fit = [name for name, spec in TASKS.items() if has_linear_model(spec.target)]
    if task not in fit:
        raise RecipeError(
            f"task: {task} has no linear head on pooled features to begin with.",
            hint=f"it is for {', '.join(fit)}; train others with `tltool finetune`",
        )


def _check_recipe(recipe: Recipe, bounds: Bounds) -> None:
    refuse_several_workers(recipe, "a choice of models")
    if bounds.are_any and "litert" not in recipe.export.formats:
        raise RecipeError(
            f"export.formats: the limits ({bounds}) are of a LiteRT file, and none is made. "
            f"Received: {', '.join(recipe.export.formats) or 'none'}.",
            hint="add litert to export.formats, or leave the limits out",
        )


def _name_of(data: Any) -> str:
    """The name of runs: that of the data."""
    stem = Path(str(data)).stem.rpartition(":")[2] if _is_path(data) else "model"
    return re.sub(r"[^\w.-]+", "-", stem).strip(".-") or "model"


def _prepare(recipe: Recipe) -> None:
    """What a training checks before it reads data."""
    from tltool.export.formats.table import check_export_installed
    from tltool.recipe.layer_faults import check_installed
    from tltool.training.distribution import claim_devices

    if recipe.augment is not None:
        check_installed(recipe.augment.layers)
    check_export_installed(recipe.export.formats)
    claim_devices(recipe.training)


def _searched(workshop: Workshop, names: Sequence[str], teller: _Teller, bounds: Bounds) -> Found:
    """What the planner finds.

    Raises:
        ExportError: No backbone is within the bounds.
        BackboneError: None can be used.
    """
    try:
        return Planner(workshop, teller.budget, teller.changed).run(names)
    except BackboneError as error:
        if not bounds.are_any or not workshop.files:
            raise
        raise ExportError(
            f"No backbone is within {bounds}: {extremes(workshop.files)}.",
            hint="allow more, or name others with --backbone (tltool models list --max-params 5M)",
        ) from error


class _Teller:
    """Keeps the folder up to date: the page, the same as JSON, and the best recipe so far."""

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        data: Any,
        minutes: float,
        budget: Budget,
        progress: Progress,
    ) -> None:
        shown = str(data) if _is_path(data) else "data given from Python"
        self.budget = budget
        self._folder, self._recipe, self._progress = folder, recipe, progress
        score = recipe.spec.target.headline()
        self.account = Account(shown, recipe.task, minutes, score, ())
        folder.record("running", task=recipe.task)

    def changed(self, line: Tried, best: Candidate | None) -> None:
        """One more was tried."""
        self.account = replace(
            self.account,
            trail=(*self.account.trail, line),
            winner=None if best is None else best.name,
        )
        if best is not None:
            write_text(self._folder.recipe, best.kept_as_trained().recipe.to_yaml())
        self._write()
        score = self.account.score
        reached = "" if line.score is None else f", {score.title} {score.text(line.score)}"
        self._progress.note(f"{line.verdict}: {line.name}{reached}: {line.why}")

    def _write(self) -> None:
        write_json(self._folder.path / "auto.json", self.account.to_json())
        write_text(self._folder.path / "auto.md", self.account.to_markdown())

    @contextmanager
    def telling_of_a_stop(self) -> Iterator[None]:
        """While open, a stop is told of, with the recipe that it leaves."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or stopping.exit_code() is not None:
                self._stopped()
            raise

    def _stopped(self) -> None:
        left = "before anything was kept"
        if self._folder.recipe.is_file():
            left = f"the best so far: tltool finetune {shlex.quote(str(self._folder.recipe))}"
        self.account = replace(self.account, ended=None, notes=(f"it was interrupted; {left}",))
        with suppress(OSError):
            self._write()
        self._progress.note(f"The search {self._folder.path} was interrupted; {left}")

    def concluded(self, found: Found, data: Any, bounds: Bounds) -> Run:
        """Trains the winner, and tells of it."""
        recipe = found.candidate.recipe
        write_text(self._folder.recipe, recipe.to_yaml())
        self.account = replace(
            self.account, winner=found.candidate.name, ended=found.ended, short=found.short
        )
        self._write()
        self._progress.stage(f"The winner: {found.candidate.name}")
        self._progress.note(
            f"{max(0.0, self.budget.left):.0f} s are left to train, export and check it"
        )
        run = finetune(recipe, data=data, progress=self._progress, audit=False)
        done = run.summary is not None
        self.account = replace(
            self.account,
            run=str(run.path),
            seconds=round(self.budget.spent, 1),
            test=_test_score(run),
            notes=tuple(_notes(run, bounds)) if done else ("its training was interrupted",),
        )
        self._write()
        self._folder.record(
            "finished" if done else "interrupted",
            backbone=recipe.backbone.name,
            seconds=round(self.budget.spent, 1),
        )
        return run


def _test_score(run: Run) -> tuple[float, tuple[float, float] | None] | None:
    found, key = run.metrics.get("test", {}), run.task.target.headline().key
    if key not in found:
        return None
    interval = found.get(f"{key}_interval")
    return found[key], None if interval is None else (interval[0], interval[1])


def _notes(run: Run, bounds: Bounds) -> list[str]:
    """What is to be told of the files that were made."""
    if bounds.size_mb is None:
        return []
    return [
        f"{file.relative_to(run.path)} has {size:.1f} MB, more than {bounds.size_mb:g}"
        for file in sorted(run.folder.exports.glob("*/*.tflite"))
        if (size := file.stat().st_size / 1e6) > bounds.size_mb
    ]

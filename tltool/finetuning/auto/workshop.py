"""What the planner plans, done for real: features, folds, trainings, exports, each timed."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tltool.data.examples import Examples
from tltool.evaluation.comparison import Comparison, compare
from tltool.finetuning.auto.bounds import Bounds, FileFacts, Files
from tltool.finetuning.auto.budget import Budget
from tltool.finetuning.auto.candidates import Candidate, exact_head, fine_tunings, searched_head
from tltool.finetuning.auto.planner import Measured
from tltool.finetuning.auto.watch import PacedError, TooSlowError, Watch
from tltool.finetuning.cross_validation import fold_part
from tltool.finetuning.keep import FEW_ROWS
from tltool.finetuning.linear_model import usual_folds
from tltool.finetuning.series import Base, shared_rows
from tltool.recipe.export_section import LiteRTPrecision
from tltool.recipe.recipe import Recipe
from tltool.support import stopping
from tltool.support.errors import BackboneError, DataError, ExportError, TrainingError
from tltool.support.files import scratch_folder
from tltool.support.progress import Progress
from tltool.support.stopwatch import Stopwatch
from tltool.support.words import count
from tltool.tasks.table import Task
from tltool.training.preparation import Prepared, assemble, load_data

if TYPE_CHECKING:
    from tltool.export.formats.base import ExportTarget

# Steps by which the pace of a training is known, after the first one, which compiles.
_PACED = 8
# What reading and decoding add to a forward pass, before it has been measured.
_READING = 1.3
# A training step takes as long as so many forward passes, before it has been measured.
_STEP_PASSES = 3.0
# An export with its check takes so many times what loading the backbone took, before it has been
# measured: both grow with the network, and with how busy the machine is.
_EXPORT_LOADS = 6.0
# Saving, plots, the card and simple baselines: seconds, and rows of texts a second of TF-IDF.
_REST, _TFIDF_ROWS = 5.0, 2000.0
# Of a head that is searched: seconds of a step beside its arithmetic, and products a second.
_HEAD_STEP, _PRODUCTS = 3e-4, 1e9
_HEAD_TRIALS = (40, 20, 10)
# Rows of each class that are left at least where there is no time for all.
_FEWEST_ROWS = 20
# Fewer validation rows cost more in training than they give by what they choose (docs/images.md).
_FEW_VALIDATED = 100


@dataclass
class _Opened:
    """What is known of a backbone that was loaded.

    Attributes:
        exact: Its candidate that solves the head.
        rows: All but those of tests, as it reads them.
        groups: Layer groups below the head.
        weights: Of the backbone.
        channels: Of its pooled features.
        seconds: That loading it took.
        speed: Examples a second, forward.
        solving: Seconds that solving the head took, without its features.
        exporting: Seconds of one artifact with its check; None before one was made.
    """

    exact: Candidate
    rows: Examples
    groups: int
    weights: int
    channels: int
    seconds: float
    speed: float
    solving: float = 1.0
    exporting: float | None = None


@dataclass(frozen=True)
class _Pace:
    """How fast a candidate trains.

    Attributes:
        startup: Seconds until the first step is done.
        step: Seconds of a step, what lies between epochs counted.
    """

    startup: float
    step: float

    def seconds(self, steps: float) -> float:
        """Of a training of so many steps."""
        return self.startup + steps * self.step


class Workshop:
    """Does what `tltool.finetuning.auto.planner.Work` says.

    Args:
        recipe: Data, training and export; what is tried changes backbone, head and schedule.
        data: As for `finetune`.
        budget: Its clock times all.
        bounds: Of exported files.
        progress: Is told of stages.

    Raises:
        DataError: There are too few rows to cross-validate.
    """

    def __init__(
        self, recipe: Recipe, data: Any, budget: Budget, bounds: Bounds, progress: Progress
    ) -> None:
        self._recipe, self._data = recipe, data
        self._budget, self._bounds, self._progress = budget, bounds, progress
        self._opened: dict[str, _Opened] = {}
        self._paces: dict[tuple[str, str], _Pace] = {}
        self._pacing = 0.0
        self._base: Base | None = None
        self.files: dict[str, Files] = {}
        self._read()

    def _read(self) -> None:
        """Reads the data and divides it into folds."""
        with self._timed() as reading:
            examples, self.summary = load_data(
                self._recipe, data=self._data, progress=self._progress
            )
        drawn = self._drawn(examples)
        if 0 < drawn < _FEW_VALIDATED and "test" in examples.splits and self._needs_none:
            self._progress.note(
                f"{count(drawn, 'validation row')} would be too few to choose an epoch by: all are "
                "trained on (data.validation_fraction=0)"
            )
            data = self._recipe.data.model_copy(update={"validation_fraction": 0.0})
            self._recipe = self._recipe.model_copy(update={"data": data})
            self._read()
            return
        self._examples, self._reading = examples, reading.seconds
        self._tested = sum(split == "test" for split in examples.splits)
        rows = self._undrawn(examples).split("train")
        from tltool.data.labels import make_task

        self._task: Task = make_task(self._recipe.spec, examples)
        target = self._task.target
        self._truth = target.truth(rows.targets, rows.origins)
        self._rows = len(rows)
        self._parts = usual_folds(target, rows, self._truth, self._recipe.training.seed)
        self.folds = len(self._parts)
        if self.folds < 2:
            raise DataError(
                f"{len(rows)} training rows are too few to cross-validate: each {target.noun} "
                "needs two different rows.",
                hint="add rows, or train with a recipe: tltool finetune few_texts",
            )

    @property
    def _has_given_validation(self) -> bool:
        """Whether validation rows are given, and not drawn from the training rows."""
        return "validation" in self.summary["given_splits"]

    def _drawn(self, examples: Examples) -> int:
        """How many validation rows are not given, but drawn from the training rows."""
        if self._has_given_validation:
            return 0
        return sum(split == "validation" for split in examples.splits)

    @property
    def _needs_none(self) -> bool:
        """Whether validation rows would choose but epoch and model, and nobody asked for them."""
        recipe = self._recipe
        has_thresholds = "evaluation.thresholds" not in recipe.spec.target.refused
        return not (
            "validation_fraction" in recipe.data.model_fields_set
            or (has_thresholds and recipe.evaluation.thresholds == "auto")
            or recipe.evaluation.sets is not None
            or recipe.unknown is not None
            or recipe.training.early_stopping is not None
            or recipe.training.refit
            or recipe.training.calibrate is True
        )

    def _undrawn(self, examples: Examples) -> Examples:
        """All rows but those of tests; validation rows that were drawn are training rows.

        In the order of the data, as trainings store features of them.
        """
        rows = examples.where(lambda row: examples.splits[row] != "test")
        if self._has_given_validation:
            return rows
        return replace(rows, splits=["train"] * len(rows))

    @property
    def guards(self) -> bool:
        """As `Work` has it."""
        return sum(split == "validation" for split in self._examples.splits) >= FEW_ROWS

    # ---- backbones ---------------------------------------------------------------------------

    def opening(self, backbone: str) -> float:
        """As `Work` has it: what the slowest so far took, and its rehearsal where there is one."""
        known = self._opened.values()
        rehearsals = [one.exporting or 0.0 for one in known] if self._bounds.are_any else [0.0]
        return max(one.seconds for one in known) + self._artifacts * max(rehearsals)

    @property
    def _artifacts(self) -> int:
        return len(self._wanted(self._recipe))

    def open(self, backbone: str) -> str | None:
        """As `Work` has it."""
        self._load(backbone)
        return self._bounded(backbone) if self._bounds.are_any else None

    def _load(self, backbone: str) -> None:
        """Loads a backbone and measures its speed."""
        from tltool.search.ranking import forward_speed

        candidate = exact_head(self._recipe, backbone)
        with self._timed() as taken:
            if self._base is None:
                prepared = assemble(
                    candidate.recipe, self._examples, self.summary, progress=self._progress
                )
                self._base = Base(candidate.recipe, prepared, saved=False)
            else:
                prepared = self._base.training(candidate.recipe)
        speed = forward_speed(prepared)
        groups = prepared.backbone.groups
        self._opened[backbone] = _Opened(
            candidate,
            self._undrawn(prepared.examples),
            len(groups),
            sum(group.num_parameters for group in groups),
            int(prepared.backbone.features.pooled.shape[-1]),
            taken.seconds,
            speed,
        )

    def _bounded(self, backbone: str) -> str | None:
        """Measures the files of a backbone; why none of them can be taken, if so."""
        self.rehearse(backbone)
        files, known = self.files[backbone], self._opened[backbone]
        within = tuple(name for name, facts in files.items() if self._bounds.within(facts))
        if not within:
            each = ", ".join(f"{name} {facts.size_mb:.1f} MB, {facts.latency_ms:.1f} ms"
                             for name, facts in files.items())  # fmt: skip
            return f"no LiteRT file of it is within {self._bounds}: {each}"
        export = known.exact.recipe.export.model_copy(update={"precisions": within})
        recipe = known.exact.recipe.model_copy(update={"export": export})
        known.exact = replace(known.exact, recipe=recipe)
        return None

    def solving(self, backbone: str) -> float:
        """As `Work` has it."""
        return _READING * self._rows / self._opened[backbone].speed

    def limit(self, seconds: float) -> None:
        """As `Work` has it; with some rows of each class at least."""
        backbone, known = next(reversed(self._opened.items()))
        rows = int(seconds * known.speed / _READING)
        rows = max(rows, _FEWEST_ROWS * max(1, len(self._task.target.labels)), 2 * FEW_ROWS)
        if rows >= self._rows:
            return
        drawn = 0 if "test" in self.summary["given_splits"] else self._tested
        share = self._rows / (self._rows + drawn)
        data = self._recipe.data.model_copy(update={"max_examples": ceil(rows / share)})
        self._recipe = self._recipe.model_copy(update={"data": data})
        self._progress.note(
            f"there is time for {rows:,} of {self._rows:,} rows (data.max_examples)"
        )
        self._base = None
        self._read()
        self._load(backbone)
        again, export = self._opened[backbone], known.exact.recipe.export
        again.exporting = known.exporting
        again.exact = replace(
            again.exact, recipe=again.exact.recipe.model_copy(update={"export": export})
        )

    def solve(self, backbone: str) -> Measured:
        """As `Work` has it."""
        from tltool.evaluation.baseline import check_size
        from tltool.training.frozen_features import frozen_features
        from tltool.training.linear_solver import (
            LinearRows,
            choose_strength,
            fit_linear,
            held_out_parts,
        )

        known = self._opened[backbone]
        recipe, prepared = known.exact.recipe, self._prepared(known.exact)
        self._progress.stage(f"Features of {backbone}, and the best linear head on them")
        whole = replace(prepared, examples=known.rows)
        with self._timed() as taken:
            found = frozen_features(recipe, whole, self._progress, surely=True)
        if not np.isfinite(found.train).all():
            raise BackboneError(f"{backbone} gives features that are not finite numbers.")
        # Of features that were stored before, reading them says nothing of the backbone.
        known.speed = min(known.speed, self._rows / taken.seconds)
        target, train = self._task.target, whole.examples.split("train")
        check_size(found.train, target)
        with self._timed() as taken:
            weights = target.weights(train.targets, recipe.training.class_weights)
            rows = LinearRows(found.train, target.encode(self._truth), weights)
            choice = choose_strength(held_out_parts(rows, None, self._parts), target.row_loss)
            folds = {}
            for number, (fitted, held) in enumerate(self._parts):
                stopping.check()
                raw: Any
                if number < len(choice.outputs):
                    raw = choice.outputs[number]
                else:
                    layer = fit_linear(rows.take(fitted), target.row_loss, choice.l2)
                    raw = layer.outputs(found.train[held])
                folds[number] = np.asarray(target.outputs(raw))
        known.solving = taken.seconds
        return Measured(known.exact, folds)

    # ---- the export --------------------------------------------------------------------------

    def rehearsing(self, backbone: str) -> float:
        """As `Work` has it."""
        known = self._opened[backbone]
        return 0.0 if known.exporting is not None else _EXPORT_LOADS * known.seconds

    def rehearse(self, backbone: str) -> None:
        """As `Work` has it: one LiteRT file, or, where there are bounds, each that may be made.

        Raises:
            BackboneError: It can't be exported.
        """
        from tltool.export.package import export_outcomes
        from tltool.model.joining import to_float32

        known = self._opened[backbone]
        wanted = self._wanted(known.exact.recipe)
        if known.exporting is not None or not wanted:
            return
        if not self._bounds.are_any:
            wanted = wanted[:1]
        self._progress.stage(f"Rehearsal of the export of {backbone}")
        prepared = self._prepared(known.exact)
        section = known.exact.recipe.export.model_copy(
            update={"formats": ("litert",), "precisions": wanted}
        )
        rows = known.rows.split("train")
        with self._timed() as taken, scratch_folder("auto") as folder:
            outcomes = export_outcomes(
                to_float32(prepared.transfer.model),
                self._task,
                prepared.backbone.preprocessing,
                rows.take(range(min(len(rows), section.gate.examples))),
                folder,
                section=section,
                keep_failed=True,
                calibration=rows,
            )
            for found in outcomes.values():
                if isinstance(found, ExportError):
                    raise BackboneError(f"{backbone} can't be exported: {found.message}")
            self.files[backbone] = self._measured(list(outcomes), folder, rows)
        known.exporting = taken.seconds / len(wanted)

    def _wanted(self, recipe: Recipe) -> tuple[LiteRTPrecision, ...]:
        return recipe.export.precisions if "litert" in recipe.export.formats else ()

    def _measured(self, made: Sequence[ExportTarget], folder: Path, rows: Examples) -> Files:
        """Size and latency of the files, by precision."""
        from tltool.export.contract import Contract
        from tltool.export.feeding import single_inputs
        from tltool.export.sweep.latency import latencies

        contract = Contract.read(folder / made[0].folder)
        inputs_of = single_inputs(contract.preprocessing, contract.length, contract.takes)
        inputs = next(iter(inputs_of(rows.inputs[:1])))
        files = [folder / target.folder / target.file for target in made]
        times = latencies(files, inputs, threads=self._bounds.threads)
        return {
            target.precision: FileFacts(file.stat().st_size / 1e6, taken)
            for target, file, taken in zip(made, files, times, strict=True)
        }

    # ---- candidates --------------------------------------------------------------------------

    def search_head(self, backbone: str, seconds: float) -> Candidate | None:
        """As `Work` has it."""
        from tltool.search.head_tuning import search_head

        known = self._opened[backbone]
        if "head.search" in self._task.target.refused:
            return None
        recipe = known.exact.recipe.with_overrides(
            "schedule=feature_extraction", "head.search=true"
        )
        trials = self._trials(known, recipe, seconds)
        if trials is None:
            return None
        found = search_head(
            recipe, self._prepared(Candidate(backbone, "", recipe)), self._progress,
            trials=trials, folds=self.folds,
        )  # fmt: skip
        return searched_head(known.exact, found.recipe)

    def _trials(self, known: _Opened, recipe: Recipe, seconds: float) -> int | None:
        """As many heads as can be tried in so long; None where that is too few."""
        epochs = 10  # of the schedule `feature_extraction`
        steps = epochs * self._rows / recipe.training.rows_per_update
        cells = known.channels * self._task.target.num_outputs * recipe.training.rows_per_update
        # Three products a step, of hidden layers more.
        fit = 2 * steps * (_HEAD_STEP + 3 * cells / _PRODUCTS)
        for trials in _HEAD_TRIALS:
            fits = trials + (self.folds - 1) * (1 + max(3, ceil(trials / 5)))
            if fit * fits <= seconds:
                return trials
        return None

    def settings(self, backbone: str) -> Sequence[Candidate]:
        """As `Work` has it."""
        known, target = self._opened[backbone], self._task.target
        return fine_tunings(
            known.exact,
            groups=known.groups,
            weights=known.weights,
            rows=round(self._fold_rows),
            classes=len(target.labels),
        )

    # ---- folds -------------------------------------------------------------------------------

    @property
    def _validated(self) -> float:
        """Share of the training rows that is drawn for validation."""
        return 0.0 if self._has_given_validation else self._recipe.data.validation_fraction

    @property
    def _fold_rows(self) -> float:
        """Rows that a fold's training learns from."""
        return self._rows * (1 - 1 / self.folds) * (1 - self._validated)

    def pacing(self, candidate: Candidate) -> float:
        """As `Work` has it: what the slowest so far took, and before that a guess."""
        if candidate.key in self._paces:
            return 0.0
        if self._pacing:
            return self._pacing
        known = self._opened[candidate.backbone]
        steps = _STEP_PASSES * _PACED * candidate.recipe.training.batch_size
        frozen = 0.0 if candidate.phases[-1].train == "all" else self._rows
        return known.seconds + (steps + frozen) / known.speed

    def pace(self, candidate: Candidate) -> None:
        """As `Work` has it."""
        if candidate.key in self._paces:
            return
        self._progress.stage(f"{candidate.name}: a few steps, to see how long they take")
        watch, clock = Watch(self._budget.now, enough=_PACED), Stopwatch()
        started = self._budget.now()
        with suppress(PacedError):
            self._train(candidate, 0, watch, clock)
        self._free()
        ended = self._budget.now()
        first = ended if watch.first is None else watch.first
        # What frozen layers give is computed once for all trainings of this candidate.
        startup = first - started - clock.seconds.get("frozen layers", 0.0)
        self._paces[candidate.key] = _Pace(max(0.0, startup), watch.step_seconds)
        self._pacing = max(self._pacing, ended - started)

    def folding(self, candidate: Candidate) -> float:
        """As `Work` has it."""
        held = self._rows / self.folds / self._opened[candidate.backbone].speed
        return self._training(candidate, self._fold_rows) + held

    def _training(self, candidate: Candidate, rows: float) -> float:
        """Seconds of a training on so many rows."""
        known = self._opened[candidate.backbone]
        if not candidate.usual:
            return known.solving
        steps = ceil(rows / candidate.recipe.training.rows_per_update)
        validated = self._validated * self._rows
        epochs = sum(phase.epochs for phase in candidate.phases if phase.solver == "gradient")
        pace = self._paces[candidate.key]
        return pace.seconds(epochs * steps) + epochs * validated / known.speed

    def finishing(self, candidate: Candidate) -> float:
        """As `Work` has it.

        The data is read again and the backbone loaded again; the linear model reads features of
        test rows, and the trained one runs on them and on validation rows.
        """
        known, recipe = self._opened[candidate.backbone], candidate.recipe
        rows = self._rows * (1 - self._validated)
        training = (1 + recipe.training.refit) * self._training(candidate, rows)
        passes = _READING * (2 * self._tested + self._validated * self._rows) / known.speed
        baselines = known.solving if recipe.evaluation.baseline else 0.0
        if recipe.evaluation.baseline and recipe.spec.modality != "image":
            baselines += rows / _TFIDF_ROWS
        return (
            self._reading + known.seconds + baselines + training + passes
            + self._exporting(known, recipe) + _REST
        )  # fmt: skip

    def _exporting(self, known: _Opened, recipe: Recipe) -> float:
        from tltool.export.formats.table import export_targets

        each = known.exporting
        if each is None:
            measured = [
                one.exporting * known.seconds / one.seconds
                for one in self._opened.values() if one.exporting is not None
            ]  # fmt: skip
            each = max(measured) if measured else _EXPORT_LOADS * known.seconds
        return each * len(export_targets(recipe.export))

    def measure(self, candidate: Candidate, fold: int, until: float) -> Any | None:
        """As `Work` has it."""
        self._progress.stage(f"{candidate.name}: fold {fold + 1} of {self.folds}")
        expected, started = self.folding(candidate), self._budget.now()
        try:
            outputs = self._train(candidate, fold, Watch(self._budget.now, until), Stopwatch())
        except TooSlowError:
            outputs = None
        self._free()
        if outputs is not None and candidate.usual:
            factor = (self._budget.now() - started) / max(expected, 1e-9)
            pace = self._paces[candidate.key]
            self._paces[candidate.key] = _Pace(pace.startup * factor, pace.step * factor)
        return outputs

    def _train(self, candidate: Candidate, fold: int, watch: Watch, clock: Stopwatch) -> Any:
        """Trains on the rows of all folds but one; what that says of the fold's rows."""
        from tltool.evaluation.inference import raw_outputs
        from tltool.training.inputs import example_data, make_feature_cache
        from tltool.training.trainer import train

        recipe = candidate.recipe
        all_rows = self._opened[candidate.backbone].rows
        rows = all_rows.split("train")
        try:
            part = fold_part(recipe, all_rows, rows, self._parts[fold][1])
        except DataError as error:
            raise TrainingError(f"A fold can't be divided: {error.message}") from error
        prepared = self._prepared(candidate, part, shared_rows(recipe, all_rows))
        data = example_data(recipe, prepared, "train")
        validation = example_data(recipe, prepared, "validation")
        with stopping.in_steps():
            result = train(
                prepared.transfer,
                prepared.plans,
                prepared.task,
                recipe.training,
                data,
                validation if validation.num_examples else None,
                strategy=prepared.strategy,
                checkpoint=None,
                progress=watch,
                cache=make_feature_cache(recipe, prepared, data, Progress()),
                clock=clock,
            )
        if result.interrupted:
            raise stopping.Stopped
        held = rows.take(self._parts[fold][1].tolist())
        raw = raw_outputs(prepared.transfer.model, held, prepared.backbone.preprocessing)
        return np.asarray(self._task.outputs(raw))

    def _prepared(
        self, candidate: Candidate, part: Examples | None = None, pool: Examples | None = None
    ) -> Prepared:
        """The pretrained model of a candidate, with all rows or with those of a fold."""
        if self._base is None:
            raise BackboneError("No backbone has been opened.")
        fold = None if part is None else (part, self._task)
        return self._base.training(candidate.recipe, fold, pool)

    def _free(self) -> None:
        gc.collect()  # a model holds itself in circles, and the next one needs its memory

    # ---- scores ------------------------------------------------------------------------------

    def _held(self, folds: Sequence[int]) -> np.ndarray[Any, Any]:
        return np.concatenate([self._parts[fold][1] for fold in folds])

    def compare(self, one: Measured, other: Measured) -> Comparison | None:
        """As `Work` has it."""
        shared = sorted(one.folds.keys() & other.folds.keys())
        if not shared:
            return None
        outputs, others = (np.concatenate([each.folds[fold] for fold in shared])
                           for each in (one, other))  # fmt: skip
        return compare(outputs, others, self._truth[self._held(shared)], self._task.target)

    def scored(self, measured: Measured) -> dict[str, Any]:
        """As `Work` has it."""
        target, folds = self._task.target, sorted(measured.folds)
        truth = self._truth[self._held(folds)]
        metrics = target.metrics(np.concatenate([measured.folds[one] for one in folds]), truth)
        key = target.headline().key
        interval = metrics.get(f"{key}_interval")
        return {
            "score": metrics.get(key),
            "interval": None if interval is None else tuple(interval),
            "rows": len(truth),
        }

    @contextmanager
    def _timed(self) -> Iterator[_Taken]:
        taken, started = _Taken(), self._budget.now()
        yield taken
        taken.seconds = max(1e-9, self._budget.now() - started)


@dataclass
class _Taken:
    """What a block took."""

    seconds: float = 0.0

"""What an audit looks at: the rows, their frozen features, and facts that are no part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tltool.data.examples import SPLITS, Examples
from tltool.data.facts import name_facts, number_facts
from tltool.data.images.looks import Looks, looks
from tltool.evaluation.baseline import check_size
from tltool.finetuning.linear_model import has_linear_model, usual_folds
from tltool.recipe.recipe import HeadSection, Recipe
from tltool.support.errors import DataError, EvaluationError
from tltool.support.progress import Progress
from tltool.tasks.table import TASKS, Task
from tltool.training.frozen_features import frozen_features
from tltool.training.linear_solver import LinearRows, choose_strength, fit_linear, held_out_parts
from tltool.training.preparation import assemble, load_data

Array = np.ndarray[Any, Any]
Plan = Sequence[tuple[Array, Array]]
"""Numbers of the rows to fit on and of those that are then judged, part by part."""


@dataclass(frozen=True)
class Evidence:
    """The rows of all splits, training rows first, and what is known of them.

    Attributes:
        recipe: That reads them, with its backbone.
        examples: The rows.
        given_splits: Splits that the data itself names.
        task: With its target.
        features: Of the frozen backbone, float32 (n, channels).
        truth: As the target gives it.
        l2: Strength of the linear probe's penalty.
        folds: That divide neither exact duplicates nor groups.
        seen: How pictures look; None for texts.
        numbers, names: Facts of the rows, by name.
        notes: What the reading of the data told.
    """

    recipe: Recipe
    examples: Examples
    given_splits: tuple[str, ...]
    task: Task
    features: Array
    truth: Array
    l2: float
    folds: Plan
    seen: Looks | None
    numbers: Mapping[str, Array]
    names: Mapping[str, Sequence[str]]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        examples: Examples,
        task: Task,
        features: Array,
        *,
        given_splits: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> Self:
        """Evidence of rows whose features are known, float32 (n, channels).

        Raises:
            DataError: There are too few rows, or labels that do not fit the task.
            EvaluationError: The features are not all finite, or too many for the memory.
        """
        if not np.isfinite(features).all():
            raise EvaluationError("The frozen features are not all finite numbers.")
        target = task.target
        check_size(features, target)
        truth = target.truth(examples.targets, examples.origins)
        folds = usual_folds(target, examples, truth, recipe.training.seed)
        if not folds:
            raise DataError(
                f"There are too few rows to audit: {len(examples)}.",
                hint="each row is judged by models of others; label some more first",
            )
        probe = LinearRows(features, target.encode(truth), np.ones(len(examples), np.float32))
        parts = held_out_parts(probe, None, folds)
        seen = looks(examples.inputs) if examples.modality == "image" else None
        return cls(
            recipe=recipe,
            examples=examples,
            given_splits=given_splits,
            task=task,
            features=features,
            truth=truth,
            l2=choose_strength(parts, target.row_loss).l2,
            folds=folds,
            seen=seen,
            numbers=number_facts(examples, seen),
            names=name_facts(examples, target.labels),
            notes=notes,
        )

    def __len__(self) -> int:
        return len(self.examples)

    def rows(self, truth: Array | None = None) -> LinearRows:
        """What a linear probe is fitted on; by other labels than those given, if there are any."""
        encoded = self.task.target.encode(self.truth if truth is None else truth)
        return LinearRows(self.features, encoded, np.ones(len(self), np.float32))

    def judged(self, plan: Plan, truth: Array | None = None) -> tuple[Array, Array]:
        """Raw outputs of rows by probes that have not seen them.

        Args:
            plan: Which rows are fitted on, and which are judged.
            truth: Labels to fit, in place of those given.

        Returns:
            The numbers of the judged rows, and their raw outputs (m, outputs).
        """
        rows, loss = self.rows(truth), self.task.target.row_loss
        found = [
            fit_linear(rows.take(fitted), loss, self.l2, rough=True).outputs(self.features[held])
            for fitted, held in plan
        ]
        return np.concatenate([held for _, held in plan]), np.concatenate(found)

    def outputs(self, raw: Array) -> Array:
        """What a user reads, of raw outputs."""
        return np.asarray(self.task.target.outputs(raw))

    def out_of_fold(self) -> Array:
        """Raw outputs of every row, by probes that have not seen it, (n, outputs)."""
        held, raw = self.judged(self.folds)
        ordered = np.empty_like(raw)
        ordered[held] = raw
        return ordered


def gathered(recipe: Recipe, *, data: Any = None, progress: Progress | None = None) -> Evidence:
    """Reads the data of a recipe and computes its frozen features, or reads those that are stored.

    Args:
        recipe: Its data, backbone and `cache` count, not what it trains.
        data: As for `finetune`.
        progress: Is told what happens.

    Raises:
        DataError: The data can't be used, has too few rows, or the task has no linear probe.
        TltoolError: The backbone can't be used.
    """
    progress = progress or Progress()
    check_task(recipe.task)
    plain = recipe.model_copy(update={"head": HeadSection(), "schedule": "feature_extraction",
                                      "teacher": None})  # fmt: skip
    examples, summary = load_data(plain, data=data, progress=progress)
    prepared = assemble(plain, examples, summary, progress=progress)
    progress.stage("Features of the frozen backbone")
    found = frozen_features(plain, prepared, progress, test=True, surely=True)
    features = np.concatenate([found.train, found.validation, found.test])
    rows = prepared.examples.of_splits(*SPLITS)
    given, notes = tuple(summary["given_splits"]), tuple(summary["warnings"])
    return Evidence.of(plain, rows, prepared.task, features, given_splits=given, notes=notes)


def check_task(task: str) -> None:
    """Raises DataError where a task has no linear probe on pooled features."""
    if not has_linear_model(TASKS[task].target):
        known = [name for name, spec in TASKS.items() if has_linear_model(spec.target)]
        raise DataError(
            f"{task}: its labels are not of whole rows, or are none, and a linear probe on frozen "
            "features can't judge them.",
            hint=f"an audit is for {', '.join(known)}; `tltool data inspect` looks at any data",
        )

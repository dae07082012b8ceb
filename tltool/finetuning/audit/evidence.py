"""What an audit looks at: the rows, their frozen features, and facts that are no part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tltool.data.examples import Examples
from tltool.data.facts import name_facts, number_facts
from tltool.data.images.looks import Looks, looks
from tltool.evaluation.baseline import check_size
from tltool.finetuning.linear_model import usual_folds
from tltool.recipe.recipe import Recipe
from tltool.support.errors import DataError, EvaluationError
from tltool.tasks.table import Task
from tltool.training.linear_solver import LinearRows, choose_strength, fit_linear, held_out_parts

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

"""What an audit looks at where each word of a text has a tag: features of words, by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import keras
import numpy as np

from tltool.data.examples import Examples
from tltool.data.facts import name_facts, number_facts
from tltool.data.splits import tied_rows
from tltool.evaluation.inference import Forward
from tltool.finetuning.audit.evidence import Evidence, Plan
from tltool.model.heads import SHAPES
from tltool.recipe.recipe import Recipe
from tltool.support.errors import DataError, EvaluationError
from tltool.tasks.losses.in_numpy import Softmax
from tltool.tasks.table import Task
from tltool.tasks.tags.tagged import WordScores
from tltool.training.linear_solver import (
    LinearRows,
    choose_strength,
    fit_linear,
    undivided_folds,
)
from tltool.training.preparation import Prepared

Array = np.ndarray[Any, Any]

MOST_WORDS = 30_000
"""Words that a probe is fitted on at most, drawn by the seed: what a fit takes grows with them."""
_LEAST_ROWS = 10


@dataclass(frozen=True)
class WordEvidence(Evidence):
    """Rows whose words have tags: probes judge words, and fit on whole rows or leave them out.

    Near duplicates and outliers are told by the mean of a row's words.

    Attributes:
        words: What the frozen backbone says of each row's words: `WordScores` (n,), whose values
            are features, float32 (words, channels).
    """

    words: Sequence[WordScores] = ()

    @classmethod
    def of_words(
        cls,
        recipe: Recipe,
        examples: Examples,
        task: Task,
        words: Sequence[WordScores],
        *,
        given_splits: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> Self:
        """Evidence of rows whose words' features are known.

        Raises:
            DataError: There are too few rows, or tags that do not fit the task.
            EvaluationError: The features are not all finite.
        """
        if not all(np.isfinite(row.values).all() for row in words):
            raise EvaluationError("The frozen features are not all finite numbers.")
        seed = recipe.training.seed
        folds = [*undivided_folds(tied_rows(examples), seed)]
        if len(examples) < _LEAST_ROWS or not folds:
            raise DataError(
                f"There are too few rows to audit: {len(examples)}.",
                hint="each row is judged by models of others; label some more first",
            )
        width = words[0].values.shape[1]
        none = np.zeros(width, np.float32)
        means = [row.values.mean(axis=0) if len(row.values) else none for row in words]
        found = cls(
            recipe=recipe,
            examples=examples,
            given_splits=given_splits,
            task=task,
            features=np.stack(means),
            truth=task.target.truth(examples.targets, examples.origins),
            l2=0.0,
            folds=folds,
            seen=None,
            numbers=number_facts(examples, None),
            names=name_facts(examples, task.target.labels),
            notes=notes,
            words=words,
        )
        fitted, held = folds[0]
        part = (found._words_of(fitted), found._words_of(held))
        return replace(found, l2=choose_strength([part], Softmax()).l2)

    def judged(self, plan: Plan, truth: Array | None = None) -> tuple[Array, Array]:
        """Raw outputs of the words of rows, `WordScores` (m,); see `Evidence.judged`."""
        found = []
        for fitted, held in plan:
            layer = fit_linear(self._words_of(fitted, truth), Softmax(), self.l2, rough=True)
            for row in held:
                words = self.words[row]
                found.append(words.with_values(layer.outputs(words.values)))
        raw = np.empty(len(found), object)
        raw[:] = found
        return np.concatenate([held for _, held in plan]), raw

    def _words_of(self, rows: Array, truth: Array | None = None) -> LinearRows:
        """The words of some rows to fit on, at most `MOST_WORDS`."""
        target = self.task.target
        labelled = (self.truth if truth is None else truth)[rows]
        found = target.at_words([self.words[row] for row in rows], labelled)
        order = np.random.default_rng(self.recipe.training.seed).permutation(len(found.numbers))
        kept = np.sort(order[:MOST_WORDS])
        encoded = np.eye(target.num_outputs, dtype=np.float32)[found.numbers[kept]]
        return LinearRows(found.values[kept], encoded, np.ones(len(kept), np.float32))


def features_of_words(prepared: Prepared, rows: Examples) -> list[WordScores]:
    """What the frozen backbone says of each word, and its shape; computed anew each time."""
    backbone, model = prepared.backbone, prepared.transfer.model
    shapes = [layer.output for layer in model.layers if layer.name == SHAPES]
    features = keras.layers.Concatenate(dtype="float32")([backbone.features.sequence, *shapes])
    return [*Forward(keras.Model(model.input, features), backbone.preprocessing)(rows)]

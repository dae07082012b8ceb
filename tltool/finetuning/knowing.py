"""Gives a trained model the means to say that it does not know an input, before it is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.evaluation.calibration import FEW_ROWS
from tltool.evaluation.inference import raw_outputs
from tltool.model.unknown import features_of, with_score
from tltool.recipe.recipe import Recipe
from tltool.runs.run import Run
from tltool.support.errors import TrainingError
from tltool.support.progress import Progress
from tltool.tasks.unknown.kind import groups_in, knowing
from tltool.tasks.unknown.layers import UnknownScore
from tltool.tasks.unknown.scores import fit_score, threshold_of
from tltool.tasks.unknown.settings import ON_FEATURES, Method, Unknown
from tltool.training.preparation import Prepared

if TYPE_CHECKING:
    from tltool.finetuning.conclusion import Trained

Array = np.ndarray[Any, Any]

MOST_ROWS = 10_000
"""Training rows that a score is fitted on: means and covariances are no better for more."""
_FOLDS = 5


def check_features(recipe: Recipe, prepared: Prepared) -> None:
    """Sees before training that the model has the features that a score reads.

    Raises:
        TrainingError: Its head does not end in a dense layer on one vector for each row.
    """
    method = None if recipe.unknown is None else recipe.unknown.method
    if method in ON_FEATURES and features_of(prepared.transfer.model) is None:
        raise TrainingError(
            f"unknown.method: {method} reads what the last dense layer of a head reads, and the "
            f"head {recipe.head.name!r} does not end in one on a vector for each row.",
            hint="use unknown.method=energy or max_probability, or another head",
        )


def able_to_refuse(
    recipe: Recipe, prepared: Prepared, trained: Trained, progress: Progress
) -> Trained:
    """The trained model with a score of how unknown an input is, and its threshold.

    The score is fitted on training rows. The threshold is chosen on validation rows, or where these
    are few on training rows, each with a score that was fitted without it; of a network that has
    learnt from these rows that is too strict by as much as it knows them better than others.

    Args:
        recipe: Without `unknown` the model stays as it is.
        prepared: The data.
        trained: The run.
        progress: Is told of it.
    """
    if recipe.unknown is None:
        return trained
    run, method, coverage = trained.run, recipe.unknown.method, recipe.unknown.coverage
    features = features_of(run.model)
    read = Reading(run.model, features, run.preprocessing)
    train = prepared.examples.split("train")
    train = train.take(_some(len(train), recipe.training.seed))
    validation = prepared.examples.split("validation")
    fitted, held_out = read(train), read(validation)
    groups = groups_in(run.task.target.truth(train.targets, train.origins))
    layer = fit_score(method, fitted.features, groups, recipe.training.seed)
    scores, source = fitted.scores(layer), "training rows"
    if len(validation) >= FEW_ROWS:
        scores, source = held_out.scores(layer), "validation rows"
    elif method in ON_FEATURES:
        scores = _out_of_fold(method, fitted, groups, recipe.training.seed)
        source = "training rows, each held out from its fold"
    threshold = threshold_of(scores, coverage)
    known = Unknown(method, coverage, threshold, len(scores), source)
    progress.note(
        f"unknown inputs: {method} above {threshold:.4g}, chosen on {len(scores):,} {source}"
    )
    return _refusing(trained, known, with_score(run.model, read.tensor, layer), validation)


@dataclass(frozen=True)
class Read:
    """What a model computes for some rows: features (n, channels), logits (n, outputs)."""

    features: Array
    logits: Array

    def scores(self, layer: UnknownScore) -> Array:
        """The score of each row, (n,)."""
        return np.asarray(layer([self.logits, self.features]))[:, 0]

    def take(self, rows: Array) -> Read:
        """Some of the rows."""
        return Read(self.features[rows], self.logits[rows])


class Reading:
    """Runs a model for the features and logits of rows, both in one pass.

    Args:
        model: To logits.
        features: A tensor in it; None takes the logits for them.
        preprocessing: Of the model.

    Attributes:
        tensor: The features.
    """

    def __init__(
        self,
        model: keras.Model,
        features: Any | None,
        preprocessing: ImagePreprocessing | TextPreprocessing,
    ) -> None:
        self.tensor = model.output if features is None else features
        both = keras.layers.Concatenate(dtype="float32")([self.tensor, model.output])
        self._model, self._contract = keras.Model(model.input, both), preprocessing
        self._width = int(self.tensor.shape[-1])

    def __call__(self, examples: Examples) -> Read:
        """What the model computes for these rows."""
        if not len(examples):
            width = int(self._model.output_shape[-1])
            found = np.zeros((0, width), np.float32)
        else:
            found = raw_outputs(self._model, examples, self._contract)
        return Read(found[:, : self._width], found[:, self._width :])


def _some(count: int, seed: int) -> list[int]:
    if count <= MOST_ROWS:
        return list(range(count))
    drawn: list[int] = np.sort(np.random.default_rng(seed).permutation(count)[:MOST_ROWS]).tolist()
    return drawn


def _out_of_fold(method: Method, rows: Read, groups: Array, seed: int) -> Array:
    """The score of each row by what was fitted on the other folds; of one row 0."""
    from sklearn.model_selection import KFold

    count = len(groups)
    scores = np.zeros(count, np.float32)
    if count < 2:
        return scores
    folds = KFold(min(_FOLDS, count), shuffle=True, random_state=seed)
    for fit, held_out in folds.split(groups):
        layer = fit_score(method, rows.features[fit], groups[fit], seed)
        scores[held_out] = rows.take(held_out).scores(layer)
    return scores


def _refusing(
    trained: Trained, known: Unknown, model: keras.Model, validation: Examples
) -> Trained:
    before = trained.run
    task = replace(before.task, target=knowing(before.task.target, known))
    run = Run(before.folder, before.recipe, task, before.preprocessing, model)
    return replace(trained, run=run, first=run, validation=cache(lambda: run.outputs(validation)))

"""The linear model on the frozen pretrained features: what fine-tuning has to beat.

It is fitted before anything trains, on the features that a phase `train: head` reads too, so that
it costs next to nothing where the run stores them. As one layer on the pretrained backbone it can
take the place of a network that is no better.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tltool.data.batches.sampling import ClassSampling
from tltool.data.examples import Examples
from tltool.data.splits import fold_rows, tied_rows
from tltool.evaluation.baseline import BaselineResult, check_size, measured
from tltool.recipe.recipe import Recipe
from tltool.support.errors import EvaluationError
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.tasks.table import Task
from tltool.tasks.target import Target
from tltool.training.frozen_features import frozen_features
from tltool.training.linear_solver import (
    FOLDS,
    LinearLayer,
    LinearRows,
    choose_strength,
    fit_linear,
    held_out_parts,
)
from tltool.training.preparation import Prepared, backbone_of, rebuild
from tltool.training.workers import Workers

if TYPE_CHECKING:
    import keras

Array = np.ndarray[Any, Any]

# Of more rows, folds are alike without being stratified, which takes long then.
_MANY = 20_000


@dataclass(frozen=True)
class LinearModel:
    """A linear model on what the pretrained backbone gives.

    Attributes:
        layer: For features as they come.
        score: The headline score on the training rows by cross-validation; None where there were
            too few of them.
        setting: Its penalty and how that was chosen, in words.
        features: What it reads of the rows of each split, float32 (n, channels).
        seconds: Time taken, features included.
        held_out: Raw outputs (m, outputs) of training rows by layers that were fitted without
            them, and the numbers of these rows; None where there were too few of them.
    """

    layer: LinearLayer
    score: float | None
    setting: str
    features: Mapping[str, Array]
    seconds: float
    held_out: tuple[Array, Array] | None = None

    def outputs(self, split: str, target: Target) -> Array:
        """What it says of the rows of a split, as a user reads it."""
        return np.asarray(target.outputs(self.layer.outputs(self.features[split])))

    def result(self, examples: Examples, split: str, task: Task) -> BaselineResult:
        """Its score on the rows of a split."""
        started = time.perf_counter() - self.seconds
        name = f"{task.target.linear_model} on the frozen features"
        outputs = self.outputs(split, task.target)
        return measured("Linear model", name, outputs, examples, task, self.setting, started)

    def network(self, recipe: Recipe, prepared: Prepared) -> keras.Model:
        """The pretrained backbone with the layer as its head, from preprocessed inputs on."""
        from tltool.model.joining import to_float32
        from tltool.model.lora import merge_adapters
        from tltool.recipe.schema import HeadSection

        plain = recipe.model_copy(update={"head": HeadSection()})
        transfer = rebuild(plain, prepared.task, prepared.backbone.preprocessing)
        head = transfer.model.get_layer("head_output")
        head.kernel.assign(self.layer.kernel)
        head.bias.assign(self.layer.bias)
        merge_adapters(transfer.model)
        return to_float32(transfer.model)


def has_linear_model(target: Target | type[Target]) -> bool:
    """Whether a kind of target is answered by one linear layer on pooled features."""
    return target.solvable and target.reads == "pooled"


def fit_linear_model(
    recipe: Recipe,
    prepared: Prepared,
    progress: Progress,
    *,
    spread: Spread | None = None,
    workers: Workers | None = None,
) -> LinearModel | None:
    """Fits the linear model on the training rows; call it before anything has trained.

    Rows are weighted as in training, and the strength of the penalty is the one with the lowest
    loss over folds of the training rows, which divide neither duplicates nor groups. The random
    generators that training draws from stay as they are.

    Args:
        recipe: Its `cache`, `training.class_weights` and `training.sampling` count.
        prepared: Data, task and the backbone with its pretrained weights.
        progress: Is told what was fitted, or why nothing was.
        spread: Where features are computed; None takes this process.
        workers: That train together; of several the chief alone calls this.

    Returns:
        The model; None for a kind of target without one, and where there are too few rows or it
        would not fit into the memory.
    """
    if not has_linear_model(prepared.task.target):
        return None
    progress.stage("Linear model on the frozen features")
    try:
        found = _fitted(recipe, prepared, progress, spread, workers)
    except EvaluationError as error:
        progress.note(f"warning: there is no linear model: {error.message}")
        return None
    score = prepared.task.target.headline()
    reached = "" if found.score is None else f"; {score.title} {score.text(found.score)} of these"
    progress.note(f"{prepared.task.target.linear_model}: {found.setting}{reached}")
    return found


def _fitted(
    recipe: Recipe,
    prepared: Prepared,
    progress: Progress,
    spread: Spread | None,
    workers: Workers | None,
) -> LinearModel:
    started = time.perf_counter()
    if workers is not None and workers.are_several:
        prepared = _of_one_worker(recipe, prepared)
    found = frozen_features(recipe, prepared, progress, spread=spread, test=True, surely=True)
    train, target = prepared.examples.split("train"), prepared.task.target
    if not all(np.isfinite(part).all() for part in (found.train, found.validation, found.test)):
        raise EvaluationError("The frozen features are not all finite numbers.")
    check_size(found.train, target)
    truth = target.truth(train.targets, train.origins)
    rows = LinearRows(found.train, target.encode(truth), row_weights(recipe, target, train, truth))
    folds = usual_folds(target, train, truth, recipe.training.seed)
    choice = choose_strength(held_out_parts(rows, None, folds), target.row_loss)
    held_out = folds[: len(choice.outputs)]
    score, how, said = None, "too few rows to cross-validate", None
    if held_out:
        raw, numbers = (
            np.concatenate(choice.outputs),
            np.concatenate([rows for _, rows in held_out]),
        )
        score, said = target.score(np.asarray(target.outputs(raw)), truth[numbers]), (raw, numbers)
        how = f"chosen by cross-validation, {len(numbers):,} of {len(train):,} rows held out"
    return LinearModel(
        layer=fit_linear(rows, target.row_loss, choice.l2),
        score=score,
        setting=f"L2 strength {choice.l2:g}, {how}",
        features={"train": found.train, "validation": found.validation, "test": found.test},
        seconds=time.perf_counter() - started,
        held_out=said,
    )


def _of_one_worker(recipe: Recipe, prepared: Prepared) -> Prepared:
    """With a backbone of this worker's own: what several share, none of them may run alone."""
    import tensorflow as tf

    own = backbone_of(recipe)
    backbone = replace(own, preprocessing=prepared.backbone.preprocessing)
    return replace(prepared, backbone=backbone, strategy=tf.distribute.get_strategy())


def row_weights(recipe: Recipe, target: Target, train: Examples, truth: Array) -> Array:
    """What each row counts in training: by its weight, or by how often it is drawn.

    Args:
        recipe: Its `training.class_weights` and `training.sampling` count.
        target: Knows the labels.
        train: The rows.
        truth: Of these rows.
    """
    if recipe.training.sampling != "natural":  # which does not go with weights
        return ClassSampling(truth, recipe.training.sampling).weights
    return target.weights(train.targets, recipe.training.class_weights)


def usual_folds(
    target: Target, train: Examples, truth: Array, seed: int
) -> list[tuple[Array, Array]]:
    """Rows to fit and rows held out of each fold; none where there are too few rows.

    Args:
        target: Knows the labels.
        train: The rows that are divided.
        truth: Of these rows.
        seed: Of the draw.
    """
    ties = tied_rows(train)
    different = len(np.unique(ties))
    folds = min(FOLDS, target.most_folds(truth), different)
    if folds < 2:
        return []
    if len(train) > _MANY:
        fold = np.random.default_rng(seed).permutation(different)[ties] % folds
        return [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(folds)]
    return fold_rows(train, target, folds, seed)

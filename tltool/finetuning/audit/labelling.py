"""`tltool data next`: which inputs without labels would help most, were they labelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tltool.data.examples import SPLITS
from tltool.finetuning.audit.gathering import check_task
from tltool.finetuning.teaching import inputs_without_labels
from tltool.recipe.recipe import HeadSection, Recipe
from tltool.support.errors import EvaluationError
from tltool.support.progress import Progress
from tltool.support.words import excerpt
from tltool.tasks.target import Target
from tltool.training.frozen_features import frozen_features
from tltool.training.linear_solver import (
    LinearRows,
    choose_strength,
    drawn_folds,
    fit_linear,
    held_out_parts,
)
from tltool.training.preparation import Prepared, assemble, load_data

Array = np.ndarray[Any, Any]

COUNT = 100
"""Inputs that are ranked where no number is asked for."""


@dataclass(frozen=True)
class Wanted:
    """An input that should be labelled.

    Attributes:
        rank: From 1.
        origin: Where it is: a file, or a file and line.
        input: The text, or the path, shortened.
        prediction: What a linear probe says of it: a class, a list of labels, a number.
        words: The same in words.
        uncertainty: How far that is from sure: the length of the gradient of the loss with respect
            to the raw outputs, were the prediction the label; None of numbers, which say nothing of
            it.
    """

    rank: int
    origin: str
    input: str
    prediction: Any
    words: str
    uncertainty: float | None

    def to_json(self) -> Mapping[str, Any]:
        """As JSON values."""
        return {name: value for name, value in vars(self).items() if name != "words"}

    def cells(self) -> Mapping[str, Any]:
        """As a row of a table."""
        known = {} if self.uncertainty is None else {"uncertainty": f"{self.uncertainty:.3f}"}
        return {"rank": self.rank, "origin": self.origin, "input": self.input,
                "prediction": self.words, **known}  # fmt: skip


def next_to_label(
    recipe: Recipe,
    source: str,
    *,
    count: int = COUNT,
    data: Any = None,
    progress: Progress | None = None,
) -> list[Wanted]:
    """Ranks inputs without labels: those first that a probe is unsure of, and that differ.

    A linear probe on frozen features is fitted on all labelled rows. Inputs are chosen as BADGE
    does (Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds",
    arXiv:1906.03671), by the gradient of the loss with respect to the probe's kernel, were its
    prediction the label. That is long where the probe is unsure, and of another direction for other
    inputs. Each next one is the farthest from those chosen before (in place of BADGE's draw), the
    first the one with the longest gradient. For numbers, whose gradient is 0, the features
    themselves are taken, and the labelled rows count as chosen.

    Args:
        recipe: Its data, backbone and `cache` count.
        source: As `tltool predict` takes one. What is labelled already is left out.
        count: How many to rank.
        data: As for `finetune`.
        progress: Is told what happens.

    Raises:
        DataError: The data or the inputs can't be used, or the task has no linear probe.
    """
    progress = progress or Progress()
    check_task(recipe.task, words=False)
    plain = recipe.model_copy(update={"head": HeadSection(), "schedule": "feature_extraction",
                                      "teacher": None})  # fmt: skip
    examples, summary = load_data(plain, data=data, progress=progress)
    prepared = assemble(plain, examples, summary, progress=progress)
    others = inputs_without_labels(source, "UNLABELLED", plain, prepared, progress)
    progress.stage("Features of the frozen backbone")
    known = frozen_features(plain, prepared, progress, test=True, surely=True)
    features = np.concatenate([known.train, known.validation, known.test])
    unlabelled = replace(prepared, examples=others)
    new = frozen_features(plain, unlabelled, progress, surely=True).train
    if not (np.isfinite(features).all() and np.isfinite(new).all()):
        raise EvaluationError("The frozen features are not all finite numbers.")
    with threadpool_limits(1, user_api="blas"):
        raw = _probed(prepared, features, new, plain.training.seed)
        target = prepared.task.target
        chosen, lengths = ranked(raw, new, features, target, count)
    outputs = np.asarray(target.outputs(raw[chosen]))
    inputs = [others.inputs[row] for row in chosen]
    said = [one.value for one in target.predictions(outputs, inputs)]
    unsure = [float(lengths[row]) for row in chosen] if lengths.any() else [None] * len(chosen)
    return [
        Wanted(rank, others.origins[row], excerpt(others.inputs[row]), value, target.words(value),
               length)
        for rank, (row, value, length) in enumerate(zip(chosen, said, unsure, strict=True), start=1)
    ]  # fmt: skip


def _probed(prepared: Prepared, features: Array, new: Array, seed: int) -> Array:
    """Raw outputs of the new rows, by a probe of all labelled ones."""
    target, rows = prepared.task.target, prepared.examples.of_splits(*SPLITS)
    encoded = target.encode(target.truth(rows.targets, rows.origins))
    probe = LinearRows(features, encoded, np.ones(len(rows), np.float32))
    parts = held_out_parts(probe, None, drawn_folds(len(rows), seed))
    l2 = choose_strength(parts, target.row_loss).l2
    layer = fit_linear(probe, target.row_loss, l2)
    return layer.outputs(new)


def ranked(
    raw: Array, features: Array, known: Array, target: Target, count: int
) -> tuple[list[int], Array]:
    """The rows to label, the first first, and how unsure the probe is of each row.

    Args:
        raw: Raw outputs of the rows, (n, outputs).
        features: Of these rows, (n, channels).
        known: Of labelled rows.
        target: With the loss.
        count: How many to rank, at most n.
    """
    mean, scale = known.mean(axis=0), known.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x, labelled = (features - mean) / scale, (known - mean) / scale
    gradient = _gradient(raw, target)
    lengths = np.linalg.norm(gradient, axis=1)
    if lengths.max() > 0:
        distance = lengths**2 * (x**2).sum(axis=1)
    else:
        gradient = np.ones((len(x), 1))
        distance = np.array([((labelled - row) ** 2).sum(axis=1).min() for row in x])
    chosen: list[int] = []
    while len(chosen) < min(count, len(x)):
        row = int(distance.argmax())
        chosen.append(row)
        distance = np.minimum(distance, _apart(gradient, x, row))
        distance[chosen] = -1.0
    return chosen, lengths


def _gradient(raw: Array, target: Target) -> Array:
    """Of the loss by the raw outputs, were what they say the label, (n, outputs)."""
    outputs = np.asarray(target.outputs(raw))
    said = [target.prediction(output).value for output in outputs]
    values = [tuple(one.values()) if isinstance(one, Mapping) else one for one in said]
    encoded = target.encode(target.truth(values))
    found: Array = target.row_loss.gradient(raw, encoded).astype(np.float64)
    found[np.abs(found) < 1e-6] = 0.0  # what rounding leaves of numbers
    return found


def _apart(gradient: Array, x: Array, row: int) -> Array:
    """Squared distance of each row's outer product of gradient and features from that of one."""
    squares = (gradient**2).sum(axis=1) * (x**2).sum(axis=1)
    products = (gradient @ gradient[row]) * (x @ x[row])
    found: Array = np.maximum(squares + squares[row] - 2 * products, 0.0)
    return found

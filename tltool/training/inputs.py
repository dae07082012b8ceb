"""What a recipe's training reads: the batches of each split, and the store of frozen features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.batches.ordering import make_ordering
from tltool.data.batches.sampling import ClassSampling
from tltool.data.examples import Examples, Split
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.evaluation.inference import by_length
from tltool.features.cache import FeatureCache
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import TeacherSection
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.training.data import ExampleData, at_first_tokens
from tltool.training.lessons import Lessons, teaching
from tltool.training.preparation import Prepared
from tltool.training.static_shapes import has_static_shapes
from tltool.training.worker_steps import sharing_of
from tltool.training.workers import current


def example_data(recipe: Recipe, prepared: Prepared, split: Split) -> ExampleData:
    """What the trainer reads of a split; only the training split is weighted and augmented."""
    training = split == "train"
    contract = prepared.backbone.preprocessing
    if training and prepared.lessons is not None and recipe.teacher is not None:
        return _taught(recipe, prepared, prepared.lessons, recipe.teacher)
    examples = _read(prepared.examples.split(split), contract)
    target = prepared.task.target
    truth = target.truth(examples.targets, examples.origins)
    if not training and len(examples):
        order = _validation_order(examples, target.together(truth), target.compares_rows)
        examples, truth = examples.take(order), truth[order]
    setting = recipe.training.class_weights if training else None
    sampling = recipe.training.sampling
    targets: Any
    targets, encode = target.packed(truth)
    weights: Any = target.weights(examples.targets, setting)
    if isinstance(contract, TextPreprocessing) and contract.by_words and len(examples):
        targets, weights = at_first_tokens(examples, contract, targets, weights)
    return ExampleData(
        examples,
        contract,
        targets=targets,
        encode=encode,
        weights=weights,
        batch_size=recipe.training.rows_per_update if training else recipe.training.batch_size,
        training=training,
        seed=recipe.training.seed,
        augment=recipe.augment if training else None,
        tokens_per_batch=recipe.training.tokens_per_batch if training else None,
        together=target.together(truth),
        static=has_static_shapes(recipe.training, prepared.strategy),
        sharing=sharing_of(current()),
        sampling=ClassSampling(truth, sampling) if training and sampling != "natural" else None,
    )


def _taught(
    recipe: Recipe, prepared: Prepared, lessons: Lessons, section: TeacherSection
) -> ExampleData:
    """The training rows with what a teacher says of them, and those without labels after them."""
    plain = example_data(recipe, replace(prepared, lessons=None), "train")
    target, examples = prepared.task.target, plain.examples
    truth = target.truth(examples.targets, examples.origins)
    rows = lessons.with_unlabelled(examples, plain.contract)
    weights = np.asarray(plain.weights)
    more = np.ones((len(rows) - len(examples), *weights.shape[1:]), weights.dtype)
    return replace(
        plain,
        examples=rows,
        targets=np.arange(len(rows)),
        encode=lessons.encoding(section, target, truth, rows),
        weights=np.concatenate([weights, more]),
        together=None,
        taught=teaching(section, target),
    )


def _read(examples: Examples, contract: ImagePreprocessing | TextPreprocessing) -> Examples:
    """What a model reads of examples: windows of texts that are read word by word."""
    if not (isinstance(contract, TextPreprocessing) and contract.by_words and len(examples)):
        return examples
    from tltool.data.texts.tokenizing import tokenized
    from tltool.data.texts.windows import windowed_examples

    return tokenized(windowed_examples(examples, contract), contract)


def _validation_order(
    examples: Examples, together: tuple[np.ndarray, int] | None, compares_rows: bool
) -> list[int]:
    """Row numbers of neighbours in length, or in which each batch has several rows of a class."""
    if together is None or not compares_rows:
        return by_length(examples)
    ordering = make_ordering(len(examples), batch_size=together[1], together=together)
    rows: list[int] = ordering.shuffled(tf.constant([0, 0], tf.int64))[0].numpy().tolist()
    return rows


def make_feature_cache(
    recipe: Recipe,
    prepared: Prepared,
    data: ExampleData,
    progress: Progress,
    spread: Spread | None = None,
) -> FeatureCache:
    """The store of frozen features for a recipe's training and validation examples, or the pool."""
    rows = prepared.pool
    if rows is None:
        rows = prepared.examples.where(lambda row: prepared.examples.splits[row] != "test")
    if prepared.lessons is not None:
        rows = prepared.lessons.with_unlabelled(rows, data.contract)
    return FeatureCache(
        recipe.cache,
        _read(rows, data.contract),
        data.contract,
        augment=data.augment,
        seed=recipe.training.seed,
        about={"backbone": recipe.backbone.name, "data": recipe.data.train},
        progress=progress,
        spread=spread,
    )

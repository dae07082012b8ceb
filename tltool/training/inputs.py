"""What a recipe's training reads: the batches of each split, and the store of frozen features."""

from __future__ import annotations

from tltool.data.examples import Split
from tltool.evaluation.inference import by_length
from tltool.features.cache import FeatureCache
from tltool.recipe.recipe import Recipe
from tltool.support.progress import Progress
from tltool.training.data import ExampleData
from tltool.training.preparation import Prepared


def example_data(recipe: Recipe, prepared: Prepared, split: Split) -> ExampleData:
    """What the trainer reads of a split; only the training split is weighted and augmented."""
    training = split == "train"
    examples = prepared.examples.split(split)
    if not training:
        examples = examples.take(by_length(examples))
    setting = recipe.training.class_weights if training else None
    target = prepared.task.target
    targets, encode = target.packed(target.truth(examples.targets, examples.origins))
    return ExampleData(
        examples,
        prepared.backbone.preprocessing,
        targets=targets,
        encode=encode,
        weights=target.weights(examples.targets, setting),
        batch_size=recipe.training.batch_size,
        training=training,
        seed=recipe.training.seed,
        augment=recipe.augment if training else None,
        tokens_per_batch=recipe.training.tokens_per_batch if training else None,
    )


def make_feature_cache(
    recipe: Recipe,
    prepared: Prepared,
    data: ExampleData,
    progress: Progress,
) -> FeatureCache:
    """The store of frozen features for a recipe's training and validation examples."""
    return FeatureCache(
        recipe.cache,
        prepared.examples.where(lambda row: prepared.examples.splits[row] != "test"),
        data.contract,
        augment=data.augment,
        seed=recipe.training.seed,
        about={"backbone": recipe.backbone.name, "data": recipe.data.train},
        progress=progress,
    )

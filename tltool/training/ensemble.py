"""Models that differ in the seed alone, and what they make together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import keras

from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.graph.arithmetic import forward_flops
from tltool.model.averaging import averaging
from tltool.model.joining import to_float32
from tltool.model.lora import merge_adapters
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import EnsembleSection
from tltool.tasks.table import Task
from tltool.training.best_weights import load_best
from tltool.training.preparation import rebuild

# Length of texts for which computing is compared.
_TOKENS = 64


def member_recipe(recipe: Recipe, number: int) -> Recipe:
    """The recipe of a member, counted from 1: of one model, with a seed of its own."""
    training = recipe.training
    seeded = training.model_copy(update={"seed": training.seed + number - 1})
    return recipe.model_copy(update={"training": seeded, "ensemble": EnsembleSection()})


def mean_graph(model: keras.Model, recipe: Recipe, task: Task) -> keras.Model:
    """A model as a recipe averages it, with itself in the place of every member.

    It answers as the model does over the recipe's views, and has every operation of the ensemble.
    """
    members = [model] * min(2, recipe.ensemble.seeds)
    return averaging(members, type(task.target), recipe.ensemble.test_time_augmentation)


def rebuilt(
    recipe: Recipe,
    task: Task,
    contract: ImagePreprocessing | TextPreprocessing,
    files: Sequence[Path],
) -> keras.Model:
    """The model of a run, built anew from the weights that its training kept, in float32.

    Args:
        recipe: The run's resolved recipe.
        task: With its labels or target scale.
        contract: The run's preprocessing.
        files: Of the best weights of each member, in their order.

    Raises:
        RunError: A file is damaged.
    """

    several = recipe.ensemble.seeds > 1

    def members() -> Iterator[keras.Model]:
        for number, file in enumerate(files, start=1):
            model = rebuild(member_recipe(recipe, number), task, contract, seed=several).model
            load_best(file, model)
            merge_adapters(model)
            yield to_float32(model)

    return averaging(members(), type(task.target), recipe.ensemble.test_time_augmentation)


def cost_note(model: keras.Model, one: keras.Model, members: int, views: Sequence[str]) -> str:
    """What a model answers with the mean of, and what that costs, in sentences.

    Args:
        model: Of `members` members and over `views`.
        one: A model of the same layers, one member on the input as it is.
        members, views: What `model` was made of.
    """
    of = [f"{members} models, trained from different seeds"] if members > 1 else []
    if views:
        names = [view.replace("_", " ") for view in views]
        of.append(f"{1 + len(views)} views of each picture (as it is, {', '.join(names)})")
    size = model.count_params() / one.count_params()
    work = forward_flops(model, _TOKENS) / max(forward_flops(one, _TOKENS), 1.0)
    return (
        f"Its answers are the mean over {' and '.join(of)}. That takes {size:.3g} times the "
        f"weights and {work:.3g} times the computing of one model on one view."
    )

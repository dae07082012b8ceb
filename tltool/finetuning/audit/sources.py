"""From what a user names, a recipe or data alone, to the recipe that reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tltool.data.checks.inspection import inspect_data, refuse_problems
from tltool.finetuning.audit.gathering import check_task
from tltool.recipe.reading import refuse_two
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import MANIFEST, RunFolder, runs_of
from tltool.support.errors import DataError
from tltool.support.shipped import find_shipped
from tltool.tasks.table import TASKS, Modality

USUAL: Mapping[Modality, str] = {
    "image": "efficientnet-lite0",
    "text": "all-minilm-l6-v2",
    "text_pair": "all-minilm-l6-v2",
}
"""The backbone whose features are looked at where none is named."""


def recipe_of(
    source: str,
    overrides: Sequence[str] = (),
    *,
    task: str | None = None,
    how: Mapping[str, Any] | None = None,
    backbone: str | None = None,
) -> Recipe:
    """The recipe that a user means.

    Args:
        source: A recipe (a YAML file, or the name of one of tltool's own), a run, or data as
            `data.train` names it.
        overrides: Changes to the recipe, as `key=value`.
        task: Of data alone; None guesses it from the labels.
        how: Of data alone, how it is read, as arguments of `tltool.data.reading.sources.reading`.
        backbone: In place of the recipe's; of data alone, None takes the usual one.

    Raises:
        RecipeError: The recipe or an override has faults.
        DataError: The data can't be used, or something is said of how a recipe's data is read.
    """
    if is_recipe(source) or is_run(source):
        if task is not None or how:
            raise DataError(
                f"{source} says itself what its data is for and how it is read.",
                hint="change that by KEY=VALUE, such as data.label_column=stars",
            )
        path = RunFolder.open(source).recipe if is_run(source) else source
        changes = [*overrides, *([f"backbone.name={backbone}"] if backbone else [])]
        return Recipe.load(path, changes)
    found = inspect_data(source, task=task, how=how, overrides=overrides)
    task = str(found["recipe"]["task"])
    check_task(task)
    refuse_problems(found, overrides)
    name = re.sub(r"[^\w.-]+", "-", Path(source).stem).strip(".-") or "data"
    recipe = Recipe.of(
        task=task,
        name=name,
        data=found["recipe"]["data"],
        backbone=backbone or USUAL[TASKS[task].backbone_modality],
        schedule="feature_extraction",
    )
    recipe = recipe.with_overrides(*overrides)
    refuse_two(
        ("data.train", source, "data.train", recipe.data.train), ("task", task, "task", recipe.task)
    )
    return recipe


def is_recipe(source: str) -> bool:
    """Whether that names a recipe, and not data."""
    return Path(source).suffix.lower() in {".yaml", ".yml"} or (
        not Path(source).exists() and find_shipped("recipes", source) is not None
    )


def is_run(source: str) -> bool:
    """Whether that is the folder of a run, or of the runs of a name."""
    path = Path(source)
    return path.is_dir() and ((path / MANIFEST).is_file() or bool(runs_of(path)))

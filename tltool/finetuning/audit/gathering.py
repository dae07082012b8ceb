"""From a recipe to what an audit looks at: its rows, and their frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np

from tltool.data.examples import SPLITS
from tltool.finetuning.audit.evidence import Evidence
from tltool.finetuning.audit.words import WordEvidence, features_of_words
from tltool.finetuning.linear_model import has_linear_model
from tltool.recipe.recipe import HeadSection, Recipe
from tltool.support.errors import DataError
from tltool.support.progress import Progress
from tltool.tasks.table import TASKS
from tltool.training.frozen_features import frozen_features
from tltool.training.preparation import assemble, load_data


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
    given, notes = tuple(summary["given_splits"]), tuple(summary["warnings"])
    rows = prepared.examples.of_splits(*SPLITS)
    if prepared.task.target.by_words:
        words = features_of_words(prepared, rows)
        return WordEvidence.of_words(
            plain, rows, prepared.task, words, given_splits=given, notes=notes
        )
    found = frozen_features(plain, prepared, progress, test=True, surely=True)
    features = np.concatenate([found.train, found.validation, found.test])
    return Evidence.of(plain, rows, prepared.task, features, given_splits=given, notes=notes)


def check_task(task: str, *, words: bool = True) -> None:
    """Raises DataError where a task has no linear probe on frozen features.

    Args:
        task: Its name.
        words: Whether one on each word of a text will do, where its label is of that.
    """
    known = [name for name, spec in TASKS.items()
             if has_linear_model(spec.target) or (words and spec.target.by_words)]  # fmt: skip
    if task not in known:
        raise DataError(
            f"{task}: its labels are not of whole rows, or are none, and a linear probe on frozen "
            "features can't judge them.",
            hint=f"this is for {', '.join(known)}; `tltool data inspect` looks at any data",
        )

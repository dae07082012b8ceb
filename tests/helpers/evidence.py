"""What an audit looks at, made up: features of classes with a distance, and texts of any words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tltool.data.examples import Examples
from tltool.data.labels import make_task
from tltool.finetuning.audit.evidence import Evidence
from tltool.recipe.recipe import Recipe
from tltool.tasks.table import TASKS

WORDS = [
    "amber",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "jetty",
    "knoll",
    "ledge",
    "marsh",
]


def sentences(count: int, seed: int = 0, words: int = 8) -> list[str]:
    """Texts that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words)) for _ in range(count)]


def clouds(labels: Sequence[int], distance: float, channels: int = 8, seed: int = 0) -> Any:
    """Features (n, channels) whose classes lie apart by some standard deviations."""
    rng = np.random.default_rng(seed)
    centres = distance * np.eye(max(labels) + 1, channels)
    return (centres[list(labels)] + rng.standard_normal((len(labels), channels))).astype(np.float32)


def evidence_of(
    features: Any,
    targets: Sequence[Any],
    inputs: Sequence[Any] | None = None,
    *,
    task: str = "text-classification",
    splits: Sequence[Any] | None = None,
    **more: Any,
) -> Evidence:
    """Evidence of texts, or of pictures whose paths are given."""
    spec, count = TASKS[task], len(targets)
    examples = Examples(
        spec.modality,
        sentences(count) if inputs is None else inputs,
        targets,
        ["train"] * count if splits is None else splits,
        [f"data.csv:{row + 2}" for row in range(count)] if inputs is None else list(inputs),
        kind=spec.target,
        **more,
    )
    recipe = Recipe.of(task=task, backbone="made-up", data={"train": "data.csv"})
    given = tuple(dict.fromkeys(examples.splits)) if splits is not None else ()
    return Evidence.of(recipe, examples, make_task(spec, examples), features, given_splits=given)

"""Chooses how to train on a few examples of each class: by cross-validation on just these rows.

With 8 to 64 rows of a class it is open whether fine-tuning does more good than
harm, so each way is tried on the same folds, from the same pretrained weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from tltool.data.examples import Examples
from tltool.data.splits import fold_rows, tied_rows
from tltool.evaluation.inference import raw_outputs
from tltool.model.freezing import expand_schedule
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import PhaseSection
from tltool.support.errors import DataError
from tltool.support.files import write_json
from tltool.support.progress import Progress
from tltool.tasks.table import Modality
from tltool.tasks.target import Target
from tltool.training.inputs import example_data
from tltool.training.preparation import Prepared, steps_per_epoch, with_head
from tltool.training.pretrained import Pretrained
from tltool.training.trainer import train

SCHEDULE = "few_examples"
FOLDS = 3
# Fine-tuning has so many epochs, of many rows fewer: as many as make so many steps.
FINE_TUNING_EPOCHS = 20
FINE_TUNING_STEPS = 600

Phases = tuple[PhaseSection, ...]
Array = np.ndarray[Any, Any]


def candidates(modality: Modality, steps_per_epoch: int) -> dict[str, Phases]:
    """The schedules to choose from by name, the cheapest first.

    Args:
        modality: What the backbone reads.
        steps_per_epoch: Batches of the training rows.
    """
    (everything,) = (
        phase for phase in expand_schedule("fine_tune", 1, modality) if phase.train == "all"
    )
    epochs = min(FINE_TUNING_EPOCHS, ceil(FINE_TUNING_STEPS / steps_per_epoch))
    return {
        "frozen features": (PhaseSection(train="head", solver="exact"),),
        "fine-tuning": (everything.model_copy(update={"epochs": epochs}),),
        "contrastive": expand_schedule("contrastive", 1, modality, steps_per_epoch),
    }


@dataclass(frozen=True)
class Choice:
    """What cross-validation gave.

    Attributes:
        chosen: The name of the best candidate; of equal ones the cheapest.
        metric: Key of the score.
        scores: By candidate, of each fold.
        recipe: The recipe with the chosen candidate's phases.
    """

    chosen: str
    metric: str
    scores: Mapping[str, tuple[float, ...]]
    recipe: Recipe

    def write(self, path: Path) -> None:
        """Writes what was found as JSON."""
        found = {name: {"mean": float(np.mean(values)), "folds": list(values)}
                 for name, values in self.scores.items()}  # fmt: skip
        write_json(path, {"chosen": self.chosen, "metric": self.metric, "candidates": found})


def choose_schedule(recipe: Recipe, prepared: Prepared, progress: Progress) -> Choice:
    """Tries each candidate on folds of the training rows; validation and test rows are not used.

    The backbone has its pretrained weights again in the end.

    Args:
        recipe: Its schedule is `few_examples`.
        prepared: Of that recipe.
        progress: Is told each candidate's score.

    Raises:
        DataError: A class has no different rows for two folds, or there is one group.
    """
    progress.stage("Choosing how to train, by cross-validation")
    task, examples = prepared.task, prepared.examples.split("train")
    truth = task.target.truth(examples.targets, examples.origins)
    parts = _folds(task.target, examples, truth, recipe.training.seed)
    pretrained = Pretrained(prepared.backbone.model)
    scores: dict[str, tuple[float, ...]] = {}
    ways = candidates(recipe.spec.backbone_modality, steps_per_epoch(recipe, prepared.examples))
    for name, phases in ways.items():
        own = recipe.model_copy(update={"schedule": phases})
        found = []
        for rows, held_out in parts:
            found.append(_score(own, prepared, examples, rows, held_out, truth))
            pretrained.put_back()
        scores[name] = tuple(found)
        progress.note(f"{name}: {task.spec.metric} {np.mean(found):.4f} over {len(parts)} folds")
    sign = 1 if task.target.headline().higher_is_better else -1
    chosen = max(scores, key=lambda name: sign * float(np.mean(scores[name])))
    progress.note(f"chosen: {chosen}")
    return Choice(chosen, task.spec.metric, scores,
                  recipe.model_copy(update={"schedule": ways[chosen]}))  # fmt: skip


def _folds(
    target: Target, examples: Examples, truth: Array, seed: int
) -> list[tuple[Array, Array]]:
    """The rows to train on and to score of each fold; duplicates and groups are not divided."""
    ties = tied_rows(examples)
    first = np.unique(ties, return_index=True)[1]
    folds = min(FOLDS, len(first), target.rows_of_rarest(truth[first]))
    if folds < 2:
        raise DataError(
            f"schedule: {SCHEDULE} needs two different training rows of each {target.noun}"
            f"{', and two groups,' if examples.groups else ''} to cross-validate.",
            hint="give more rows, or choose a schedule: contrastive",
        )
    return fold_rows(examples, target, folds, seed)


def _score(
    recipe: Recipe,
    prepared: Prepared,
    examples: Examples,
    rows: Array,
    held_out: Array,
    truth: Array,
) -> float:
    """The headline score on a fold of a model trained on the others."""
    fold = replace(prepared, examples=examples.take(rows.tolist()))
    fold = with_head(recipe, fold)
    with tempfile.TemporaryDirectory() as folder:
        train(
            fold.transfer,
            fold.plans,
            fold.task,
            recipe.training,
            example_data(recipe, fold, "train"),
            None,
            strategy=fold.strategy,
            checkpoint=Path(folder) / "best.safetensors",
            progress=Progress(),
        )
    raw = raw_outputs(
        fold.transfer.model, examples.take(held_out.tolist()), fold.backbone.preprocessing
    )
    outputs = np.asarray(fold.task.outputs(raw))
    return float(fold.task.target.score(outputs, truth[held_out]))

"""The model card as the README of a repository of the Hugging Face hub, with its metadata.

The fields are those of https://huggingface.co/docs/hub/model-cards and of `model-index`
(https://github.com/huggingface/hub-docs, modelcard.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tltool.backbones.catalog import LocatedSource, find_card
from tltool.data.examples import SPLITS
from tltool.data.reading.hub_data import PREFIX as DATASETS
from tltool.recipe.recipe import Recipe
from tltool.report.model_card import published
from tltool.support.hub import PREFIX
from tltool.tasks.table import Task

LIBRARY = "tltool"
# SPDX names that https://huggingface.co/docs/hub/repositories-licenses has in lower case.
_LICENCES = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0",
             "cc-by-nc-4.0", "cc0-1.0")  # fmt: skip


def hub_metadata(
    recipe: Recipe,
    task: Task,
    metrics: Mapping[str, Any],
    *,
    formats: Sequence[str] = (),
    licence: str | None = None,
) -> dict[str, Any]:
    """The metadata of a run's card, as plain values.

    Args:
        recipe: The run's.
        task: With its target.
        metrics: By split, as in `metrics.json`; those of the test rows count, else of the
            validation rows, else of the training rows.
        formats: Those of the exports.
        licence: As the hub calls it; None takes that of the pretrained weights, where it is known
            and they are those of a card.

    Returns:
        Without the fields that nothing is known of.
    """
    from huggingface_hub import ModelCardData

    card = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=task.spec.hub_task or None,
        tags=[LIBRARY, task.spec.name, *dict.fromkeys(formats)],
        license=licence or _licence(recipe),
        base_model=_base_model(recipe),
        datasets=_datasets(recipe) or None,
        model_name=recipe.name,
        eval_results=_results(recipe, task, metrics) or None,
    )
    values: dict[str, Any] = card.to_dict()
    return values


def hub_readme(card: str, metadata: Mapping[str, Any]) -> str:
    """The README: metadata as YAML, and a run's card without what stays where the run is."""
    from huggingface_hub.utils import yaml_dump

    front = yaml_dump(dict(metadata), sort_keys=False).strip()
    return f"---\n{front}\n---\n\n{published(card)}"


def _licence(recipe: Recipe) -> str | None:
    """Of the card's weights, where the hub has a name for it."""
    card = find_card(recipe.backbone.name)
    found = card.licence.lower() if card and recipe.backbone.weights_file is None else None
    return found if found in _LICENCES else None


def _base_model(recipe: Recipe) -> str | None:
    """The hub's name of the backbone, where it came from there."""
    name = recipe.backbone.name
    card = find_card(name)
    if card is not None and isinstance(card.source, LocatedSource):
        name = card.source.source
    found = re.match(rf"{PREFIX}([\w.-]+/[\w.-]+)", name)
    return found[1] if found else None


def _datasets(recipe: Recipe) -> list[str]:
    """The hub's names of the data, where it came from there."""
    data = recipe.data
    sources = filter(None, (data.train, data.validation, data.test, *data.added))
    found = (re.match(rf"{DATASETS}([\w.-]+/[\w.-]+)", source) for source in sources)
    return list(dict.fromkeys(one[1] for one in found if one))


def _results(recipe: Recipe, task: Task, metrics: Mapping[str, Any]) -> list[Any]:
    """The scores that have a value, for `model-index`."""
    from huggingface_hub import EvalResult

    split = next((name for name in reversed(SPLITS) if name in metrics), None)
    if split is None:
        return []
    datasets = _datasets(recipe)
    return [
        EvalResult(
            task_type=task.spec.hub_task or task.spec.name,
            task_name=task.spec.name,
            dataset_type=datasets[0] if datasets else "own",
            dataset_name=datasets[0] if datasets else f"{recipe.name}, {split} rows",
            dataset_split=split,
            metric_type=score.key,
            metric_name=score.title,
            metric_value=metrics[split][score.key],
        )
        for score in task.target.scores
        if isinstance(metrics[split].get(score.key), int | float)
    ]

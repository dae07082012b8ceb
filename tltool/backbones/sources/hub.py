"""Models of the Hugging Face hub as checked local folders: `hf://org/model[@revision]`.

The files come through `download`, because the hub's own client begins a file
anew after a killed process, takes other bytes of the same size for the file,
and asks a server that is away for half a minute even where all is cached. The
client's login, and HF_ENDPOINT, count here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from tltool.backbones.sources.download import download, recorded_sha256
from tltool.support.errors import BackboneError
from tltool.support.files import cache_dir, write_json, write_text
from tltool.support.wheels import offline

PREFIX = "hf://"

# What loading a model may need; never code.
_DATA_FILES = (
    "*.json",
    "*.txt",
    "*.model",
    "assets/*",
    "1_Pooling/config.json",
)
# The first of these that a repository has is taken.
_WEIGHTS = ("model.safetensors", "model.weights.h5", "pytorch_model.bin")
_SHARDED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_FILES_RECORD = "files.json"
_COMMIT = r"[0-9a-f]{40}"
_TIMEOUT_SECONDS = 20
_LOGIN_HINT = "accept its conditions on the hub's page of the model, then run `hf auth login`"
# By the code that the hub sends with a refusal: why, and what to do.
_REFUSALS: dict[str, tuple[str, str | None]] = {
    "GatedRepo": ("it is gated, and the hub refuses access to it", _LOGIN_HINT),
    "RevisionNotFound": ("there is no revision {revision!r}", None),
    "RepoNotFound": (
        "there is no such model on the hub, or it is private",
        "check the spelling; for a private one run `hf auth login`",
    ),
}


@dataclass(frozen=True)
class HubModel:
    """A repository of the hub at a revision: a branch, a tag or a commit."""

    repo: str
    revision: str

    @classmethod
    def parse(cls, name: str) -> HubModel:
        """`hf://org/model` or `hf://org/model@revision`; the revision is `main` by default.

        Raises:
            BackboneError: It is not written like this.
        """
        match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
        if match is None or ".." in name:
            raise BackboneError(
                f"{name!r} names no model of the Hugging Face hub.",
                hint="write hf://org/model or hf://org/model@revision",
            )
        return cls(match[1], match[2] or "main")

    @property
    def folder(self) -> Path:
        """Where the cache has it: a folder for each commit, a note for each revision."""
        return cache_dir() / "hub" / self.repo.replace("/", "--")

    @property
    def note(self) -> Path:
        """The file that says which commit the revision was when it was first used."""
        return self.folder / "revisions" / self.revision.replace("/", "--")

    def commit(self) -> str | None:
        """The commit that is cached for the revision, or None."""
        if re.fullmatch(_COMMIT, self.revision):
            return self.revision
        try:
            return self.note.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None


@dataclass(frozen=True)
class _HubFile:
    path: str
    checksum: str


def fetch_hub_model(name: str, *, refresh: bool = False) -> Path:
    """The local folder of a model of the hub, downloaded where it is not cached.

    A branch or tag stays the commit that it was when it was first used, so
    that a recipe gives the same model tomorrow; its files are compared with
    the hub's checksums when they come and with their own sha256 afterwards.

    Args:
        name: `hf://org/model[@revision]`.
        refresh: Ask the hub which commit the revision is now.

    Raises:
        BackboneError: There is no such model, access is refused, a file is
            damaged, the hub is away, or TLTOOL_OFFLINE is set and it is not
            cached.
    """
    model = HubModel.parse(name)
    commit = None if refresh else model.commit()
    if commit is not None and (folder := model.folder / commit).joinpath(_FILES_RECORD).is_file():
        files = _recorded(folder)
    elif offline():
        raise BackboneError(
            f"{name} is not in the cache {model.folder}, and TLTOOL_OFFLINE forbids "
            "downloading it.",
            hint="unset TLTOOL_OFFLINE once, with a network, to fill the cache",
        )
    else:
        commit, files = _listed(model, name)
        folder = model.folder / commit
    for file in files:
        url = f"{_endpoint()}/{model.repo}/resolve/{commit}/{file.path}"
        try:
            download(url, folder / file.path, checksum=file.checksum, headers=_login())
        except BackboneError as error:
            raise BackboneError(f"{name}: {error.message}", hint=_hint(error)) from error
    if not (folder / _FILES_RECORD).is_file():
        write_json(folder / _FILES_RECORD, [vars(file) for file in files])
    if model.commit() != commit:
        write_text(model.note, commit + "\n")
    return folder


def sums_of_model(folder: Path) -> dict[str, str]:
    """The sha256 of a model's files, by their path in the folder that `fetch_hub_model` returned.

    They were compared with the files there; nothing is read again.
    """
    return {file.path: recorded_sha256(folder / file.path) for file in _recorded(folder)}


def is_cached(name: str) -> bool:
    """Whether a model of the hub has been downloaded in full."""
    model = HubModel.parse(name)
    commit = model.commit()
    return commit is not None and (model.folder / commit / _FILES_RECORD).is_file()


def _recorded(folder: Path) -> list[_HubFile]:
    record = json.loads((folder / _FILES_RECORD).read_text(encoding="utf-8"))
    return [_HubFile(**file) for file in record]


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT).rstrip("/")


def _login() -> dict[str, str]:
    from huggingface_hub import get_token

    token = get_token()
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _hint(error: BackboneError) -> str | None:
    if "access is refused" in error.message or "wants a login" in error.message:
        return _LOGIN_HINT
    return error.hint


def _listed(model: HubModel, name: str) -> tuple[str, list[_HubFile]]:
    """The commit that the revision is now, and the files of it that are needed."""
    info = _ask(model, name)
    try:
        siblings = {sibling["rfilename"]: sibling for sibling in info["siblings"]}
        wanted = _wanted(sorted(siblings), name)
        files = [_HubFile(path, _checksum(siblings[path])) for path in wanted]
        commit = str(info["sha"])
    except (KeyError, TypeError) as error:
        raise BackboneError(f"{name}: {_endpoint()} does not answer as the hub does.") from error
    if not re.fullmatch(_COMMIT, commit):
        # It becomes the name of a folder.
        raise BackboneError(f"{name}: {_endpoint()} calls the revision {commit!r}.")
    return commit, files


def _ask(model: HubModel, name: str) -> Any:
    """What the hub says of a revision (https://huggingface.co/docs/hub/api)."""
    import requests

    revision = quote(model.revision, safe="")
    url = f"{_endpoint()}/api/models/{model.repo}/revision/{revision}"
    try:
        answer = requests.get(
            url, params={"blobs": "true"}, headers=_login(), timeout=_TIMEOUT_SECONDS
        )
    except requests.RequestException as error:
        raise BackboneError(
            f"{name} cannot be looked up on {_endpoint()}: {type(error).__name__}.",
            hint="check the network; HF_ENDPOINT names a mirror",
        ) from error
    if answer.ok:
        try:
            return answer.json()
        except ValueError:
            return None
    code = answer.headers.get("X-Error-Code", "")
    reason, hint = _REFUSALS.get(
        code, (f"{_endpoint()} answered {answer.status_code} {answer.reason}", None)
    )
    raise BackboneError(f"{name}: {reason.format(revision=model.revision)}.", hint=hint)


def _wanted(paths: Sequence[str], name: str) -> list[str]:
    """The files that loading may need: configuration, vocabulary and one file of weights."""
    if sharded := [path for path in _SHARDED if path in paths]:
        raise BackboneError(
            f"{name} has its weights in several files ({sharded[0]}), which tltool does not read.",
            hint="models that large are not for fine-tuning here; take a smaller one",
        )
    weights = next((path for path in _WEIGHTS if path in paths), None)
    if weights is None:
        raise BackboneError(f"{name} has none of {', '.join(_WEIGHTS)}.")
    data = [path for path in paths if any(_matches(path, pattern) for pattern in _DATA_FILES)]
    for path in data:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in path or ":" in path:
            raise BackboneError(f"{name} has a file with the unsafe name {path!r}.")
    return [*data, weights]


def _matches(path: str, pattern: str) -> bool:
    """Whether a file is meant; a pattern without folder means the top one."""
    return fnmatchcase(path, pattern) and ("/" in pattern or "/" not in path)


def _checksum(sibling: Mapping[str, Any]) -> str:
    """What the hub says of a file: sha256 of large ones, git's own sum of the others."""
    large = sibling.get("lfs")
    return f"sha256:{large['sha256']}" if large else f"git:{sibling['blobId']}"

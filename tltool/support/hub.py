"""Repositories of the Hugging Face hub as checked local folders.

The files come through `download`, because the hub's own client begins a file
anew after a killed process, takes other bytes of the same size for the file,
and asks a server that is away for half a minute even where all is cached. The
client's login, and HF_ENDPOINT, count here too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

from tltool.support.download import download, recorded_sha256
from tltool.support.errors import BackboneError, TltoolError
from tltool.support.files import cache_dir, write_json, write_text
from tltool.support.wheels import offline

PREFIX = "hf://"

_COMMIT = r"[0-9a-f]{40}"
_TIMEOUT_SECONDS = 20
_LOGIN_HINT = "accept its conditions on the hub's page of the {noun}, then run `hf auth login`"
# By the code that the hub sends with a refusal: why, and what to do.
_REFUSALS: dict[str, tuple[str, str | None]] = {
    "GatedRepo": ("it is gated, and the hub refuses access to it", _LOGIN_HINT),
    "RevisionNotFound": ("there is no revision {revision!r}", None),
    "RepoNotFound": (
        "there is no such {noun} on the hub, or it is private",
        "check the spelling; for a private one run `hf auth login`",
    ),
}


@dataclass(frozen=True)
class HubRepo:
    """A repository of the hub at a revision: a branch, a tag or a commit.

    Attributes:
        repo: `org/name`.
        revision: `main`, for example.
        kind: What the hub has it among.
    """

    repo: str
    revision: str
    kind: Literal["models", "datasets"] = "models"

    @property
    def noun(self) -> str:
        """What messages call it."""
        return "model" if self.kind == "models" else "data set"

    @property
    def folder(self) -> Path:
        """Where the cache has it: a folder for each commit, a note for each revision."""
        name = self.repo.replace("/", "--")
        return cache_dir() / ("hub" if self.kind == "models" else "hub-datasets") / name

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


def fetch_repo(
    source: HubRepo,
    name: str,
    wanted: Callable[[Sequence[str]], Sequence[str]],
    failure: type[TltoolError],
    *,
    part: str = "",
    refresh: bool = False,
) -> Path:
    """The local folder of a repository's files, downloaded where they are not cached.

    A branch or tag stays the commit that it was when it was first used, so
    that a recipe gives the same model tomorrow; its files are compared with
    the hub's checksums when they come and with their own sha256 afterwards.

    Args:
        source: The repository.
        name: What the user calls it, for messages.
        wanted: Chooses from the paths of all files those that are needed.
        failure: The kind of error to raise.
        part: What tells this choice of files from others of the repository.
        refresh: Ask the hub which commit the revision is now.

    Raises:
        TltoolError: `failure`: there is no such repository, access is refused,
            a file is damaged, the hub is away, or TLTOOL_OFFLINE is set and it
            is not cached.
    """
    commit = None if refresh else source.commit()
    if commit is not None and _record(source.folder / commit, part).is_file():
        files = _recorded(source.folder / commit, part)
    elif offline():
        raise failure(
            f"{name} is not in the cache {source.folder}, and TLTOOL_OFFLINE forbids "
            "downloading it.",
            hint="unset TLTOOL_OFFLINE once, with a network, to fill the cache",
        )
    else:
        commit, files = _listed(source, name, wanted, failure)
    folder = source.folder / commit
    prefix = "" if source.kind == "models" else f"{source.kind}/"
    for file in files:
        url = f"{endpoint()}/{prefix}{source.repo}/resolve/{commit}/{quote(file.path)}"
        try:
            download(url, folder / file.path, checksum=file.checksum, headers=_login())
        except BackboneError as error:
            raise failure(f"{name}: {error.message}", hint=_hint(error, source)) from error
    if not _record(folder, part).is_file():
        write_json(_record(folder, part), [vars(file) for file in files])
    if source.commit() != commit:
        write_text(source.note, commit + "\n")
    return folder


def sums_of_repo(folder: Path) -> dict[str, str]:
    """The sha256 of a repository's files, by their path in the folder `fetch_repo` returned.

    They were compared with the files there; nothing is read again.
    """
    return {file.path: recorded_sha256(folder / file.path) for file in _recorded(folder, "")}


def is_repo_cached(source: HubRepo) -> bool:
    """Whether a repository has been downloaded in full."""
    commit = source.commit()
    return commit is not None and _record(source.folder / commit, "").is_file()


def _record(folder: Path, part: str) -> Path:
    # A hidden name is none of the files that data is read from.
    mark = hashlib.sha256(part.encode()).hexdigest()[:12]
    return folder / (f".files-{mark}.json" if part else "files.json")


def _recorded(folder: Path, part: str) -> list[_HubFile]:
    record = json.loads(_record(folder, part).read_text(encoding="utf-8"))
    return [_HubFile(**file) for file in record]


def endpoint() -> str:
    """Where the hub is, without a slash at the end."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT).rstrip("/")


def _login() -> dict[str, str]:
    from huggingface_hub import get_token

    token = get_token()
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _hint(error: BackboneError, source: HubRepo) -> str | None:
    if "access is refused" in error.message or "wants a login" in error.message:
        return _LOGIN_HINT.format(noun=source.noun)
    return error.hint


def _listed(
    source: HubRepo,
    name: str,
    wanted: Callable[[Sequence[str]], Sequence[str]],
    failure: type[TltoolError],
) -> tuple[str, list[_HubFile]]:
    """The commit that the revision is now, and the files of it that are needed."""
    info = _ask(source, name, failure)
    try:
        siblings = {sibling["rfilename"]: sibling for sibling in info["siblings"]}
        paths = wanted(sorted(siblings))
        files = [_HubFile(path, _checksum(siblings[path])) for path in paths]
        commit = str(info["sha"])
    except (KeyError, TypeError) as error:
        raise failure(f"{name}: {endpoint()} does not answer as the hub does.") from error
    for path in paths:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in path or ":" in path:
            raise failure(f"{name} has a file with the unsafe name {path!r}.")
    if not re.fullmatch(_COMMIT, commit):
        # It becomes the name of a folder.
        raise failure(f"{name}: {endpoint()} calls the revision {commit!r}.")
    return commit, files


def _ask(source: HubRepo, name: str, failure: type[TltoolError]) -> Any:
    """What the hub says of a revision (https://huggingface.co/docs/hub/api)."""
    import requests

    revision = quote(source.revision, safe="")
    url = f"{endpoint()}/api/{source.kind}/{source.repo}/revision/{revision}"
    try:
        answer = requests.get(
            url, params={"blobs": "true"}, headers=_login(), timeout=_TIMEOUT_SECONDS
        )
    except requests.RequestException as error:
        raise failure(
            f"{name} cannot be looked up on {endpoint()}: {type(error).__name__}.",
            hint="check the network; HF_ENDPOINT names a mirror",
        ) from error
    if answer.ok:
        try:
            return answer.json()
        except ValueError:
            return None
    code = answer.headers.get("X-Error-Code", "")
    reason, hint = _REFUSALS.get(
        code, (f"{endpoint()} answered {answer.status_code} {answer.reason}", None)
    )
    words = {"revision": source.revision, "noun": source.noun}
    raise failure(f"{name}: {reason.format(**words)}.", hint=hint and hint.format(**words))


def _checksum(sibling: Mapping[str, Any]) -> str:
    """What the hub says of a file: sha256 of large ones, git's own sum of the others."""
    large = sibling.get("lfs")
    return f"sha256:{large['sha256']}" if large else f"git:{sibling['blobId']}"

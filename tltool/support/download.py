"""One file from the web into the cache: resumed where it was cut, checked, whole or not at all."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from tltool.support.errors import BackboneError
from tltool.support.files import write_text
from tltool.support.sums import sum_of
from tltool.support.wheels import offline

ATTEMPTS = 4
"""How often a download is begun or continued before it is given up."""

_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_CHUNK_BYTES = 1 << 16
_WAIT_SECONDS = 1.0  # Doubled after each attempt.
_REFUSED = {401: "it wants a login", 403: "access is refused", 404: "it is not there"}


def download(
    url: str,
    target: Path,
    *,
    checksum: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Path:
    """The file at `url` as `target`, fetched where it is not there yet.

    What a broken connection or a killed process left is continued. A file
    without a known checksum is trusted when it comes, and its sha256 is kept
    beside it: a file that changes afterwards is refused like any other.
    Processes that want the same file wait for each other.

    Args:
        url: http or https.
        target: Where the file belongs; `<target>.part` holds what has come,
            `<target>.sha256` the sum.
        checksum: `md5:HEX`, `sha256:HEX` or `git:HEX` (git's sum of a blob)
            that the bytes must have, or with which its own begins; or None.
        headers: Sent with each request, such as a login.

    Raises:
        BackboneError: It is not cached and TLTOOL_OFFLINE is set; the server
            refuses, is away, or sends other bytes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):
        if target.is_file() and _is_as_recorded(target):
            return target
        if offline():
            raise BackboneError(
                f"{target.name} is not in the cache {target.parent}, and TLTOOL_OFFLINE forbids "
                "downloading it.",
                hint="unset TLTOOL_OFFLINE once, with a network, to fill the cache",
            )
        part = target.with_name(target.name + ".part")
        continued = part.is_file()
        found = _receive_and_sum(url, part, headers or {}, checksum)
        if continued and not _fits(found, checksum):
            # What was left of an older file does not fit what came now.
            part.unlink()
            found = _receive_and_sum(url, part, headers or {}, checksum)
        if not _fits(found, checksum):
            part.unlink()
            raise BackboneError(
                f"{url} sent a file with the sum {found}, expected {checksum}; it was not kept.",
                hint="try again later; if the sum differs again, the server or mirror has "
                "another file",
            )
        own = found if found.startswith("sha256:") else _sum(part, "sha256:")
        write_text(_record(target), own + "\n")
        part.replace(target)
    return target


def is_downloaded(target: Path) -> bool:
    """Whether a download has been finished; the bytes are not looked at."""
    return target.is_file() and _record(target).is_file()


def _fits(found: str, checksum: str | None) -> bool:
    """Whether a sum is the expected one, of which only the first digits may be known."""
    return checksum is None or found.startswith(checksum)


def recorded_sha256(target: Path) -> str:
    """The sha256 in hex that `download` found, or compared, of a file it has returned."""
    return _record(target).read_text(encoding="ascii").strip().removeprefix("sha256:")


def _record(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _is_as_recorded(target: Path) -> bool:
    """Whether a cached file still has the sum it came with; one that has not is removed."""
    try:
        recorded = _record(target).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        recorded = ""
    if recorded == f"sha256:{sum_of(target)}":
        return True
    target.unlink()
    return False


def _sum(path: Path, kind: str) -> str:
    """The checksum of a file, of the kind that another one names, as `kind:hex`."""
    name = kind.partition(":")[0]
    if name == "git":
        return f"git:{_git_sum(path)}"
    with path.open("rb") as file:
        return f"{name}:{hashlib.file_digest(file, name).hexdigest()}"


def _git_sum(path: Path) -> str:
    """What git calls the content of a file: sha1 of its length and bytes."""
    total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()


def _receive_and_sum(url: str, part: Path, headers: Mapping[str, str], checksum: str | None) -> str:
    """Fetches the rest of a file; the checksum of all of it, of the kind that is known."""
    _receive(url, part, headers)
    return _sum(part, checksum or "sha256:")


def _receive(url: str, part: Path, headers: Mapping[str, str]) -> None:
    """Fetches the rest of a file, in as many attempts as are allowed."""
    import requests

    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(_WAIT_SECONDS * 2 ** (attempt - 1))
        try:
            if _continue(url, part, headers):
                return
            reason = "the connection was cut"
        except requests.HTTPError as error:
            status = error.response.status_code
            reason = f"it answered {status} {error.response.reason}".rstrip()
            if status in _REFUSED:
                raise BackboneError(
                    f"{url} cannot be downloaded: {_REFUSED[status]} ({reason})."
                ) from error
        except requests.RequestException as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    raise BackboneError(
        f"{url} could not be downloaded in {ATTEMPTS} attempts: {reason}.",
        hint="check the network; what has come is kept and continued the next time",
    )


def _continue(url: str, part: Path, headers: Mapping[str, str]) -> bool:
    """Appends what the server sends to what is there; whether that is all of it."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    asked = {**headers, "Accept-Encoding": "identity"}
    if have:
        asked["Range"] = f"bytes={have}-"
    with requests.get(
        url, headers=asked, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS)
    ) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            # Nothing is left to send, or the file is shorter than what is there.
            whole = response.headers.get("Content-Range", "").rpartition("/")[2]
            if whole == str(have):
                return True
            part.unlink()
            return False
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        with part.open("ab" if resumed else "wb") as file, _bar(part, start, total) as advance:
            try:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
                    advance(len(chunk))
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return False
    return total is None or part.stat().st_size == total


@contextmanager
def _bar(part: Path, start: int, total: int | None) -> Iterator[Any]:
    """A progress bar on a terminal, and nothing where output is piped."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(file=sys.stderr)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task(part.name.removesuffix(".part"), total=total, completed=start)
        yield lambda count: bars.advance(task, count)

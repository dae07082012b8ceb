"""Whether files are still those that were written: lists of sha256 sums, and comparing with them.

A sum finds damage and mistakes. It is no signature: who changes a file on
purpose can change the list beside it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from tltool.support.files import is_of_system, sha256, write_text

SUMS_FILE = "SHA256SUMS"
"""The list in a folder, as coreutils' `sha256sum` writes it; `sha256sum -c` checks it too."""

# A smaller file is read each time: it may change twice within one tick of a file system's clock.
_REMEMBERED_BYTES = 1_000_000


def sum_of(path: Path) -> str:
    """sha256 of a file's bytes, in hex; a large file is read once in a process unless it changes.

    That it changed is seen by the time of change that the system keeps, which
    no program sets as it likes.
    """
    info = path.stat()
    if info.st_size < _REMEMBERED_BYTES:
        return sha256(path)
    state = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    return _remembered(path, state)


@lru_cache(maxsize=4096)
def _remembered(path: Path, state: tuple[int, ...]) -> str:
    return sha256(path)


def files_in(folder: Path) -> list[str]:
    """The paths of files below a folder in the order of their names, but for those of systems."""
    relative = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in relative if not any(map(is_of_system, path.parts)))


def sums_in(folder: Path) -> dict[str, str]:
    """The sums of `files_in`, by their paths."""
    return {name: sum_of(folder / name) for name in files_in(folder)}


def differences(folder: Path, listed: Mapping[str, str], present: Iterable[str]) -> list[str]:
    """How files differ from the list of their sums: one line for each that does.

    Args:
        folder: What the paths are relative to.
        listed: The sums by path.
        present: The paths of files that count; one that is not listed was added.
    """
    lines = []
    for name in sorted({*listed, *present}):
        path = folder / name
        try:
            if not path.is_file():
                lines.append(f"{name} is {'no file' if path.exists() else 'missing'}")
            elif name not in listed:
                lines.append(f"{name} was added")
            elif sum_of(path) != listed[name]:
                lines.append(f"{name} has changed")
        except OSError as error:
            lines.append(f"{name} cannot be read: {error.strerror}")
    return lines


def write_sums(folder: Path) -> None:
    """Writes `SHA256SUMS`, which lists every file of a folder but itself."""
    sums = {name: value for name, value in sums_in(folder).items() if name != SUMS_FILE}
    write_text(folder / SUMS_FILE, sums_text(sums))


def sums_text(sums: Mapping[str, str]) -> str:
    """The list as it stands in the file, from the sums by path."""
    return "".join(f"{value}  {name}\n" for name, value in sorted(sums.items()))


def changes_in(folder: Path) -> list[str]:
    """How the files of a folder differ from its `SHA256SUMS`, as `differences` says it."""
    file = folder / SUMS_FILE
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return [f"{SUMS_FILE} is missing"]
    except (OSError, UnicodeDecodeError):
        return [f"{SUMS_FILE} cannot be read"]
    found = [re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in lines]
    listed = {match[2]: match[1] for match in found if match}
    if len(listed) < len(lines):
        return [f"{SUMS_FILE} is damaged"]
    return differences(folder, listed, set(files_in(folder)) - {SUMS_FILE})

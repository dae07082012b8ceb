"""Walks through folders: links are followed, what systems leave behind is left out and told."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from tltool.data.reading.rows import Broken
from tltool.support.errors import DataError
from tltool.support.files import is_of_system
from tltool.support.words import count, natural_key

_LOG = logging.getLogger(__name__)

_APPLE_DOUBLE = "._"  # beside each file on a foreign disk; never the file itself
_SHOWN = 5
_NO_NAME = {errno.ENAMETOOLONG, errno.EINVAL}


def entries(folder: Path, omitted: list[Path]) -> list[Path]:
    """What a folder holds, in natural order, but for hidden names and those of systems.

    Args:
        folder: An existing folder.
        omitted: Gets what is left out, for `tell_omitted`.

    Raises:
        DataError: The folder cannot be read.
    """
    return [folder / name for name in _names(folder, omitted)]


def _names(folder: Path, omitted: list[Path]) -> list[str]:
    """The names of `entries`, since a path takes several times the memory."""
    try:
        names = sorted(os.listdir(folder), key=natural_key)  # noqa: PTH208
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}.") from error
    omitted += [folder / name for name in names if is_of_system(name)]
    return [name for name in names if not is_of_system(name)]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, and links to folders, but for those that are left out."""
    return [path for path in entries(folder, []) if is_folder(path)]


def files_below(folder: Path, omitted: list[Path]) -> Iterator[Path | Broken]:
    """Every file of a folder and of those below it, each folder's own files first.

    Links to folders are followed, after all that is there without them. A folder
    that is reached twice is read once, so links in a circle end; one that holds
    `folder` itself is not entered.

    Args:
        folder: An existing folder.
        omitted: Gets what is left out, for `tell_omitted`.

    Yields:
        Paths, or a folder that cannot be read.
    """
    above = {_identity(parent) for parent in folder.resolve().parents}
    entered: set[tuple[int, int]] = set()
    waiting, links = [folder], list[Path]()
    while waiting or links:
        current = waiting.pop() if waiting else links.pop(0)
        try:
            identity = _identity(current)
            found = [] if identity in entered or identity in above else _names(current, omitted)
        except OSError as error:
            yield Broken(str(current), f"cannot be read ({error.strerror})")
            continue
        except DataError as error:
            yield Broken(str(current), error.message.removeprefix(f"{current} "))
            continue
        if identity in above:
            _LOG.warning("%s is a link to a folder above it; it is not followed", current)
        entered.add(identity)
        folders = []
        for name in found:
            path = current / name
            if not is_folder(path):
                yield path
            elif os.path.islink(path):  # noqa: PTH114  Path.is_symlink may raise
                links.append(path)
            else:
                folders.append(path)
        waiting += reversed(folders)


def tell_omitted(omitted: Collection[Path], suffixes: tuple[str, ...]) -> None:
    """Warns of what was left out for its name and holds files that could have been read."""
    usable = {path: _usable_files(path, suffixes) for path in omitted}
    told = [
        f"{path} ({count(files, 'file')})" if is_folder(path) else str(path)
        for path, files in usable.items()
        if files
    ]
    if told:
        more = [f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
        _LOG.warning(
            "left out, since hidden names and those that systems give are not read: %s; "
            "rename what should be used",
            ", ".join([*told[:_SHOWN], *more]),
        )


def is_folder(path: Path) -> bool:
    """Whether a path is a folder or a link to one, or it cannot be found out: reading it tells."""
    try:
        return path.is_dir()
    except OSError:
        return True


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; nothing has a name that is too long for one.

    Raises:
        DataError: It cannot be found out, as in a folder that cannot be read.
    """
    try:
        return path.exists()
    except ValueError:
        return False
    except OSError as error:
        if error.errno in _NO_NAME:
            return False
        raise DataError(f"{path} cannot be looked at: {error.strerror}.") from error


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino


def _usable_files(path: Path, suffixes: tuple[str, ...]) -> int:
    names = (name for _, _, names in os.walk(path) for name in names)
    return sum(
        name.lower().endswith(suffixes) and not name.startswith(_APPLE_DOUBLE)
        for name in (names if is_folder(path) else [path.name])
    )

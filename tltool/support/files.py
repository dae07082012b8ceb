"""Files written whole or not at all, checksums, and the cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import reprlib
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tltool.support.errors import TltoolError
from tltool.support.processes import is_gone, is_marked, mark
from tltool.support.words import half_character

# What another machine left is taken for abandoned after so long without a change.
_OLD_SECONDS = 7 * 24 * 3600.0
# What macOS, Windows, Linux, Synology and QNAP leave in folders, in lower case.
_SYSTEM = {
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "desktop.ini",
}
# Of a file's name, in that of the folder it is written in: both must be allowed.
_SHOWN = 40
FREE_BYTES = 2**24
"""What any file may unpack to, however small it is."""
# Text takes a tenth of its size packed; zeros, a thousandth.
_DENSEST = 50
_PROBE_SECONDS = 5.0
_PROBE_BYTES = 2**24


def cache_dir() -> Path:
    """The folder for downloads and caches: `TLTOOL_CACHE`, else the user's cache folder.

    Raises:
        TltoolError: `TLTOOL_CACHE` begins with a home folder that there is not.
    """
    if override := folder_variable("TLTOOL_CACHE"):
        return override
    import platformdirs

    return Path(platformdirs.user_cache_dir("tltool", appauthor=False))


def folder_variable(name: str) -> Path | None:
    """The folder that an environment variable names, or None.

    Raises:
        TltoolError: It begins with a home folder that there is not.
    """
    value = os.environ.get(name)
    try:
        return Path(value).expanduser() if value else None
    except RuntimeError as error:
        raise TltoolError(f"{name}={value}: {error}", hint="name the whole path") from error


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target` and renames it to `target` on success.

    Works for files and folders. On any exception the temporary path is
    removed and `target` stays as it was; what a killed process leaves of it,
    `sweep` removes. An existing folder is replaced. A file is on the disk
    before it gets its name, so that a power cut leaves the old or the new one.

    Raises:
        OSError: Named by `target`, not by the temporary path.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        prefix = f".{target.name[:_SHOWN]}.{mark()}."
        holder = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    except OSError as error:
        error.filename = str(target)
        raise
    temporary = holder / target.name
    try:
        yield temporary
        if temporary.is_file():
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        if target.is_dir() and temporary.is_dir():
            target.rename(holder / f"{target.name}.old")
        temporary.replace(target)
    except OSError as error:
        if isinstance(error.filename, str):
            error.filename = error.filename.replace(str(holder), str(target.parent), 1)
        raise
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@contextmanager
def scratch_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder, removed at the end; what a killed process leaves, `sweep` removes.

    Args:
        purpose: Part of its name.
        parent: Where it is made; None takes the system's folder for temporary files.
    """
    prefix = f"{'.' if parent else 'tltool-'}{purpose}.{mark()}."
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextmanager
def own_temporary_files() -> Iterator[None]:
    """Gives all temporary files of this process and its children a folder, removed at the end.

    Those of TensorFlow among them, which leaves them behind when it is killed.
    First removes such folders of processes that have ended. Where no folder
    can be made, nothing changes.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            system = tempfile.gettempdir()
            sweep(Path(system).glob("tltool-*"))
            folder = str(stack.enter_context(scratch_folder("process")))
            stack.callback(_use_for_temporary_files, system)
            _use_for_temporary_files(folder)
        yield


def probe_room(folder: Path, sizes: Iterable[int]) -> None:
    """Raises OSError where files of these sizes, in bytes, can't be written into a folder together.

    Asks for the room itself, so that limits of the user and of the process count, for a few
    seconds: a system that can't promise it writes to every block. Of the rest, the free space
    decides.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = list(sizes)
    rest, end = sum(sizes), time.monotonic() + _PROBE_SECONDS
    with scratch_folder("room", folder) as scratch:
        for number, size in enumerate(sizes):
            with (scratch / str(number)).open("wb") as file:
                for start in range(0, size, _PROBE_BYTES):
                    if not hasattr(os, "posix_fallocate") or time.monotonic() >= end:
                        break
                    taken = min(size - start, _PROBE_BYTES)
                    os.posix_fallocate(file.fileno(), start, taken)
                    rest -= taken
        if rest and shutil.disk_usage(folder).free < rest:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _use_for_temporary_files(folder: str) -> None:
    tempfile.tempdir = os.environ["TMPDIR"] = folder


def sweep(paths: Iterable[Path]) -> None:
    """Removes those temporary files and folders of this module whose process has ended.

    Of what a process of another machine made, only what is a week old.
    """
    for path in list(paths):
        with suppress(OSError):
            old = time.time() - path.stat().st_mtime > _OLD_SECONDS
            gone = is_gone(path.name)
            if gone or (gone is None and old and is_marked(path.name)):
                shutil.rmtree(path)


def require_text(path: Path) -> None:
    """Refuses a path with bytes that are no text: TensorFlow and LiteRT cannot open it.

    Raises:
        TltoolError: Names it.
    """
    if half := half_character(str(path)):
        raise TltoolError(
            f"{str(path)!r} holds {half}, and no model can be kept there.",
            hint="rename the file or the folder",
        )


def is_of_system(name: str) -> bool:
    """Whether a file or folder in a folder of the user's is hidden, or has a name systems give."""
    return name.startswith(".") or name.lower() in _SYSTEM


def read_packed(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file in an archive.

    Raises:
        KeyError: There is none of this name.
        zipfile.BadZipFile: It is damaged, or is packed so that a small archive fills the memory.
    """
    entry = archive.getinfo(name)
    if entry.file_size > _DENSEST * entry.compress_size + FREE_BYTES:
        raise zipfile.BadZipFile(
            f"{name} unpacks to {size_text(entry.file_size)}, of {size_text(entry.compress_size)}"
        )
    return archive.read(entry)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def size_text(number_of_bytes: int) -> str:
    """Decimal units, as file managers show them."""
    if number_of_bytes < 1000:
        return f"{number_of_bytes} B"
    unit, factor = "kB", 1e3
    for larger, larger_factor in (("MB", 1e6), ("GB", 1e9)):
        if number_of_bytes >= 0.9995 * larger_factor:
            unit, factor = larger, larger_factor
    return f"{number_of_bytes / factor:.3g} {unit}"


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: See `parse_json`.
    """
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ValueError: It is no JSON (RFC 8259, which has neither NaN nor infinity), is nested too
            deep, or an object has a key twice, of which every reader takes another.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return json.loads(text, object_pairs_hook=distinct, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON from its keys and values, for `json.loads`' `object_pairs_hook`.

    Raises:
        ValueError: A key is given twice.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {reprlib.repr(key)} is given twice")
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def write_text(target: Path, text: str) -> None:
    """Writes UTF-8 text atomically.

    Bytes in file names that are no text are escaped, as JSON escapes them.
    """
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(target: Path, value: Any, *, default: Callable[[Any], Any] | None = None) -> None:
    """Writes indented JSON atomically; refuses NaN and infinity, which are not JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=default)
    write_text(target, text + "\n")

"""Files written whole or not at all, checksums, and the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def cache_dir() -> Path:
    """The folder for downloads and caches: `TLTOOL_CACHE`, else the user's cache folder."""
    if override := os.environ.get("TLTOOL_CACHE"):
        return Path(override).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("tltool", appauthor=False))


def sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target` and renames it to `target` on success.

    Works for files and folders. On any exception the temporary path is
    removed and `target` stays as it was. An existing folder is replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    temporary = holder / target.name
    try:
        yield temporary
        if target.is_dir() and temporary.is_dir():
            target.rename(holder / f"{target.name}.old")
        temporary.replace(target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


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


def write_text(target: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any, *, default: Callable[[Any], Any] | None = None) -> None:
    """Writes indented JSON atomically; refuses NaN and infinity, which are not JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=default)
    write_text(target, text + "\n")

"""Remembers which image contents were decoded without a fault, so that no run checks them again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tltool._version import __version__
from tltool.support.files import cache_dir


def checked_contents() -> frozenset[str]:
    """sha256 (hex) of the files that this version has decoded in full before."""
    try:
        return frozenset(_file().read_text(encoding="ascii").split())
    except (OSError, UnicodeDecodeError):
        return frozenset()


def remember(contents: Iterable[str]) -> None:
    """Adds the sha256 of files that were decoded in full; does nothing where it can't write.

    All lines are added at once, so that processes may share the file; a line
    cut short equals no sha256.
    """
    lines = "".join(f"{content}\n" for content in sorted(contents)).encode()
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(_file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, lines)
        finally:
            os.close(descriptor)
    except OSError:
        return


def _file() -> Path:
    return cache_dir() / "checked_images" / f"{__version__}.txt"

"""Remembers which image contents were decoded without a fault, so that no run checks them again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tltool._version import __version__
from tltool.data.checks.fingerprints import Digests
from tltool.support.files import cache_dir

_LINE = 2 * 32 + 1


def checked_contents() -> Digests:
    """sha256 of the files that this version has decoded in full before, uint8 (n, 32)."""
    found = bytearray()
    try:
        with _file().open("rb") as file:
            for line in file:
                if len(line) == _LINE:
                    found += bytes.fromhex(line.decode("ascii"))
    except (OSError, ValueError):
        found.clear()
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, 32)


def remember(contents: Digests) -> None:
    """Adds the sha256 of files that were decoded in full; does nothing where it can't write.

    All lines are added at once, so that processes may share the file; a line
    cut short is left out when they are read.
    """
    lines = bytearray()
    for content in contents:
        lines += content.tobytes().hex().encode() + b"\n"
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

"""What makes two inputs the same: their content, not their name or place."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tltool.data.examples import Examples
from tltool.support.errors import DataError
from tltool.support.files import sha256
from tltool.tasks.table import Modality


def content_keys(examples: Examples) -> list[str]:
    """A sha256 (hex) for each input; equal keys mean equal inputs.

    Texts are compared without the white space around them, image files by
    their bytes, arrays by shape and bytes.

    Raises:
        DataError: An image file cannot be read.
    """
    return [_key(value, examples.modality) for value in examples.inputs]


def duplicate_keys(examples: Examples) -> list[str]:
    """Keys that tell duplicates: those of `content_keys`, but of pairs in either order."""
    return list(each_duplicate_key(examples))


def each_duplicate_key(examples: Examples) -> Iterator[str]:
    """The same one by one."""
    for value in examples.inputs:
        one = tuple(sorted(value, key=_text_key)) if isinstance(value, tuple) else value
        yield _key(one, examples.modality)


def groups_of(keys: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each distinct key, in order of appearance."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        groups[key].append(row)
    return dict(groups)


def _key(value: Any, modality: Modality) -> str:
    if modality == "text":
        return _text_key(value)
    if isinstance(value, tuple):
        return hashlib.sha256("".join(map(_text_key, value)).encode()).hexdigest()
    if not isinstance(value, str | os.PathLike):
        return hashlib.sha256(repr(value.shape).encode() + value.tobytes()).hexdigest()
    try:
        state = os.stat(value)  # noqa: PTH116  a Path for each row takes more memory than the row
        return _file_key(os.fspath(value), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{value} cannot be read: {error.strerror}.") from error


def _text_key(text: str) -> str:
    return hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1 << 20)
def _file_key(path: str, size: int, mtime_ns: int) -> str:
    """Limiting, splitting and reporting all ask; an unchanged file is read once."""
    return sha256(Path(path))

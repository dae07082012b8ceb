"""What makes two inputs the same: their content, not their name or place."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tltool.data.examples import Examples
from tltool.data.packed import taken
from tltool.data.sharing import ALONE, Sharing
from tltool.support.errors import DataError
from tltool.support.files import sha256
from tltool.tasks.table import Modality

Digests = npt.NDArray[np.uint8]

UNREADABLE = bytes(32)
"""In place of the digest of a file that cannot be read."""
_AT_A_TIME = 1 << 10


def content_digests(examples: Examples) -> Digests:
    """The sha256 of each input, uint8 (n, 32); equal ones mean equal inputs.

    Texts are compared without the white space around them, image files by
    their bytes, arrays by shape and bytes. What `with_contents` read is not
    read again.

    Raises:
        DataError: An image file cannot be read.
    """
    if examples.contents is not None:
        return examples.contents
    return _digests(examples.inputs, _digest_of(examples.modality))


def with_contents(
    examples: Examples,
    done: Callable[[int], None] | None = None,
    sharing: Sharing = ALONE,
) -> Examples:
    """The examples with `content_digests`, to be handed on; zeros where a file cannot be read.

    Args:
        examples: Any.
        done: Is told how many more inputs are read, now and then.
        sharing: Of the reading.
    """

    of_one = _digest_of(examples.modality)

    def digest(value: Any) -> bytes:
        try:
            return of_one(value)
        except DataError:
            return UNREADABLE

    own = sharing.own(examples.inputs)
    contents = np.zeros((len(examples), 32), np.uint8)
    contents[own] = _digests(taken(examples.inputs, own), digest, done)
    sharing.summed("the inputs' contents", contents)
    return replace(examples, contents=contents)


def each_duplicate_digest(examples: Examples) -> Iterator[bytes]:
    """What tells duplicates, one by one: as `content_digests`, but of pairs in either order."""
    if examples.contents is not None and examples.modality == "image":
        yield from map(np.ndarray.tobytes, examples.contents)
        return
    digest = _digest_of(examples.modality)
    for value in examples.inputs:
        yield digest(sorted(value, key=_text_digest) if isinstance(value, tuple) else value)


def number_of(digest: bytes) -> int:
    """The first 64 bits of a digest: as good as unique, and in the same order."""
    return int.from_bytes(digest[:8], "big")


def duplicate_numbers(examples: Examples) -> npt.NDArray[np.uint64]:
    """What tells duplicates as numbers, (n,); see `each_duplicate_digest`."""
    return np.array(array("Q", map(number_of, each_duplicate_digest(examples))))


def duplicates(examples: Examples) -> list[list[int]]:
    """The rows of every content that several have, in order of appearance."""
    numbers = duplicate_numbers(examples)
    contents, counts = np.unique(numbers, return_counts=True)
    shared = np.flatnonzero(np.isin(numbers, contents[counts > 1]))
    ordered = shared[np.argsort(numbers[shared], kind="stable")]
    ends = np.cumsum(counts[counts > 1])
    return sorted(rows.tolist() for rows in np.split(ordered, ends[:-1]) if len(rows))


def as_items(digests: Digests) -> npt.NDArray[np.bytes_]:
    """Digests (n, 32) as items that can be sorted and compared, (n,)."""
    return np.ascontiguousarray(digests).view("S32").reshape(-1)


def _digests(
    inputs: Sequence[Any],
    digest: Callable[[Any], bytes],
    done: Callable[[int], None] | None = None,
) -> Digests:
    found = np.empty((len(inputs), 32), np.uint8)
    for start in range(0, len(inputs), _AT_A_TIME):
        some = [digest(value) for value in inputs[start : start + _AT_A_TIME]]
        found[start : start + len(some)] = np.frombuffer(b"".join(some), np.uint8).reshape(-1, 32)
        if done is not None:
            done(len(some))
    return found


def _digest_of(modality: Modality) -> Callable[[Any], bytes]:
    """What makes the digest of one input."""
    if modality == "text":
        return _text_digest
    return _image_digest if modality == "image" else _texts_digest


def _text_digest(text: str) -> bytes:
    return hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).digest()


def _texts_digest(texts: Sequence[str]) -> bytes:
    return hashlib.sha256("".join(_text_digest(text).hex() for text in texts).encode()).digest()


def _image_digest(image: Any) -> bytes:
    if not isinstance(image, str | os.PathLike):
        return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    try:
        state = os.stat(image)  # noqa: PTH116  a Path for each row takes more memory than the row
        return _file_digest(os.fspath(image), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{image} cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=1 << 14)
def _file_digest(path: str, size: int, mtime_ns: int) -> bytes:
    """Examples that are read again have the same files: an unchanged one is read once."""
    return bytes.fromhex(sha256(Path(path)))

"""Images that one job decodes once, however often it reads them.

A run reads its pictures for frozen features, training, validation, evaluation and the export gate.
While `keeping_decoded` is open, what `ImageStore.load_all` made of a file is taken again from
memory, as long as the file is as it was and is wanted at the same size.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

MOST_BYTES = 1 << 28
"""Bytes of decoded images that are kept: 1,783 images of 224 x 224."""
_AFTER_RESIZING = {"mean", "std", "channel_order"}


class Decoded:
    """Decoded and resized images by file.

    Args:
        most_bytes: That are kept; images that come later are decoded each time.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._room = most_bytes
        self._images: dict[Hashable, Pixels] = {}

    def find(self, key: Hashable) -> Pixels | None:
        """The image of a key, uint8 (height, width, 3)."""
        return self._images.get(key)

    def has_room(self, num_bytes: int) -> bool:
        """Whether so many bytes more can be kept."""
        return num_bytes <= self._room

    def keep(self, rows: Mapping[Hashable, int], loaded: Pixels) -> None:
        """Keeps rows of an array (n, height, width, 3), without copying, if there is room for all.

        Args:
            rows: Row numbers by key.
            loaded: Must not change any more.
        """
        if rows and self.has_room(loaded.nbytes):
            self._room -= loaded.nbytes
            self._images.update({key: loaded[row] for key, row in rows.items()})


def resizing_of(contract: ImagePreprocessing) -> str:
    """What of a contract decides how a decoded image is resized."""
    return contract.model_dump_json(exclude=_AFTER_RESIZING)


def key_of(image: Any, resizing: str) -> Hashable:
    """What tells a file and what becomes of it from others; None for what is no file.

    Args:
        image: As `ImageStore` takes them.
        resizing: From `resizing_of`.
    """
    if not isinstance(image, str | os.PathLike):
        return None
    try:
        found = Path(image).stat()
    except OSError:  # told when it is read
        return None
    return os.fspath(image), found.st_ino, found.st_mtime_ns, found.st_size, resizing


_OPEN: list[Decoded] = []


@contextmanager
def keeping_decoded() -> Iterator[None]:
    """While open, images that are decoded in this process are kept; an outer one goes on."""
    if _OPEN:
        yield
        return
    _OPEN.append(Decoded())
    try:
        yield
    finally:
        _OPEN.clear()


def decoded_now() -> Decoded | None:
    """Where decoded images are kept, or None."""
    return _OPEN[0] if _OPEN else None

"""Masks at the size of the model's input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tltool.data.packed import new_array
from tltool.data.preprocessing import ImagePreprocessing
from tltool.data.sharing import ALONE, Sharing
from tltool.support.threads import map_in_threads
from tltool.tasks.masks.files import Mask
from tltool.tasks.masks.pictures import resized_numbers

Array = np.ndarray[Any, Any]


class MaskStore:
    """The masks of some examples by row number, resized as their pictures are.

    Args:
        masks: One for each row.
        contract: Of the pictures, which are stretched.
    """

    def __init__(self, masks: Sequence[Mask], contract: ImagePreprocessing) -> None:
        self._masks, self._size = masks, contract.size_px

    @property
    def num_bytes(self) -> int:
        """Bytes of what `load_all` gives."""
        return len(self._masks) * int(np.prod(self._size))

    def load(self, row: int) -> Array:
        """Class numbers, uint8 (*size_px): each pixel is the nearest one of the mask.

        Raises:
            DataError: The mask cannot be read.
        """
        return resized_numbers(self._masks[row].numbers(), self._size)

    def load_all(self, sharing: Sharing = ALONE) -> Array:
        """All masks, uint8 (n, *size_px), decoded in as many threads as there are cores.

        Args:
            sharing: Of the decoding.
        """
        loaded = new_array((len(self._masks), *self._size), np.uint8)

        def load(row: int) -> None:
            loaded[row] = self.load(row)

        for _ in map_in_threads(load, sharing.own(self._masks), os.cpu_count() or 1):
            pass
        sharing.summed("the masks", loaded)
        return loaded

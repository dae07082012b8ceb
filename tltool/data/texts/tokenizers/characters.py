"""A number for each of Unicode's characters, looked up in graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

NUM_CODES = 0x110000
# Planes 4 to 13 hold no characters, 15 and 16 are for private use.
ASSIGNED = (*range(0x40000), *range(0xE0000, 0xE1000))
_PAGE = 256


class CharacterTable(tf.Module):
    """A table of two levels: few of the pages of 256 characters differ.

    Args:
        values: Of every code point, int32 (`NUM_CODES`,).
    """

    def __init__(self, values: npt.NDArray[np.int32]) -> None:
        super().__init__()
        lines: dict[bytes, int] = {}
        pages = [lines.setdefault(line.tobytes(), len(lines)) for line in values.reshape(-1, _PAGE)]
        table = np.frombuffer(b"".join(lines), np.int32).reshape(-1, _PAGE)
        self._pages, self._lines = tf.constant(pages, tf.int32), tf.constant(table)

    def __call__(self, codes: Any) -> Any:
        """The values of code points, int32 of any shape."""
        line = tf.gather(self._pages, codes // _PAGE)
        return tf.gather_nd(self._lines, tf.stack([line, codes % _PAGE], axis=-1))

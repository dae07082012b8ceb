"""Characters that become others, on ragged rows of character codes, in graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.texts.tokenizers.characters import CharacterTable


class Replace(tf.Module):
    """Each character may become others, or none.

    Args:
        numbers: Of every code point, int32; 0 where it stays, else one more
            than an index of `rows`.
        rows: What characters become.
    """

    def __init__(self, numbers: np.ndarray, rows: tuple[str, ...]) -> None:
        super().__init__()
        self._numbers = CharacterTable(numbers)
        lengths = np.array([0, *map(len, rows)])
        self._starts = tf.constant(np.cumsum(lengths)[:-1], tf.int64)
        self._lengths = tf.constant(lengths[1:], tf.int64)
        self._pool = tf.constant([ord(character) for character in "".join(rows)], tf.int32)

    def __call__(self, codes: Any) -> Any:
        """Replaces in each row."""
        return self.put(codes, self._numbers(codes.flat_values))

    def numbers(self, codes: Any) -> Any:
        """The number of what each character becomes, 0 if it stays; int32 like `codes`."""
        return self._numbers(codes)

    def put(self, codes: Any, numbers: Any) -> Any:
        """The rows with the replacement of this number for each character."""
        values = codes.flat_values
        stays, rows = tf.equal(numbers, 0), tf.maximum(numbers - 1, 0)
        places = tf.range(tf.size(values, tf.int64), dtype=tf.int64) + tf.size(self._pool, tf.int64)
        starts = tf.where(stays, places, tf.gather(self._starts, rows))
        lengths = tf.where(stays, tf.constant(1, tf.int64), tf.gather(self._lengths, rows))
        found = tf.ragged.range(starts, starts + lengths)
        return tf.RaggedTensor.from_row_splits(
            tf.gather(tf.concat([self._pool, values], 0), found.flat_values),
            tf.gather(found.row_splits, codes.row_splits),
            validate=False,
        )

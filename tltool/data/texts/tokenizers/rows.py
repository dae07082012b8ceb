"""Texts as rows of character codes in one flat tensor, and what is done to such rows in graphs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def row_starts(codes: Any) -> Any:
    """Whether each character is the first of its row, bool (characters,)."""
    count = tf.size(codes.flat_values, tf.int64)
    starts = codes.row_splits[:-1, None]
    marks = tf.scatter_nd(starts, tf.ones_like(starts[:, 0], tf.int32), (count + 1)[None])
    return marks[:-1] > 0


def row_numbers(codes: Any) -> Any:
    """The number of each character's row, int32 (characters,).

    `value_rowids`, like `tf.repeat`, takes memory for all rows as if each were the longest.
    """
    count = tf.size(codes.flat_values, tf.int64)
    ends = codes.row_splits[1:, None]
    marks = tf.scatter_nd(ends, tf.ones_like(ends[:, 0], tf.int32), (count + 1)[None])
    return tf.cumsum(marks[:-1])


def before(values: Any, first: Any) -> Any:
    """The value before each of the flat ones, `first` before the first."""
    return tf.concat([tf.cast(first, values.dtype)[None], values], 0)[:-1]


def last_place(mask: Any) -> Any:
    """Index of the last True up to each place, -1 where there is none; int64."""
    places = tf.concat([[tf.constant(-1, tf.int64)], tf.where(mask)[:, 0]], 0)
    return tf.gather(places, tf.cumsum(tf.cast(mask, tf.int32)))


def keep(codes: Any, mask: Any) -> Any:
    """The rows without the characters where the mask, bool (characters,), is False."""
    counts = tf.concat([[0], tf.cumsum(tf.cast(mask, tf.int64))], 0)
    return tf.RaggedTensor.from_row_splits(
        tf.boolean_mask(codes.flat_values, mask),
        tf.gather(counts, codes.row_splits),
        validate=False,
    )


def parts(codes: Any, starts: Any, limits: Any) -> Any:
    """The characters from `starts` to before `limits` of each row, both int64 (n,) flat places."""
    places = tf.ragged.range(starts, limits)
    return tf.RaggedTensor.from_row_splits(
        tf.gather(codes.flat_values, places.flat_values), places.row_splits, validate=False
    )

"""The few widths to which batches of texts are padded.

Each different width is a shape that TensorFlow may trace and XLA must compile
once, so there are few of them: at most three in each doubling of the length, or one
where compiling is what costs (`training.static_shapes`).
"""

from __future__ import annotations

from typing import Any

SMALLEST = 8
FEWEST_FROM = 16


def bucket_sizes(max_length: int, *, few: bool = False) -> tuple[int, ...]:
    """The widths in tokens, ascending: 8, 12, 16, 20, 24, 32, 40, 48, 64 … `max_length`.

    They are the powers of two from 8 on, each with 1.25 and 1.5 times itself,
    as far as those are multiples of 4. Measured on texts cut at 64 tokens,
    1.11 tokens are computed for each real one of banking77's questions and of
    the airline tweets; 1.23 and 1.11 with multiples of 8, 1.16 and 1.19
    without 1.25.

    Args:
        max_length: No text is longer, and no batch wider.
        few: The powers of two from 16 on instead, and `max_length`: a third as many
            widths, for 1.4 to 1.5 tokens for each real one (benchmarks/widths.py).
    """
    if few:
        powers = (2**power for power in range(max_length.bit_length()))
        return (*(size for size in powers if FEWEST_FROM <= size < max_length), max_length)
    sizes = []
    power = SMALLEST
    while power < max_length:
        sizes += [power, power * 5 // 4, power * 3 // 2]
        power *= 2
    return (*(size for size in sizes if size < max_length and size % 4 == 0), max_length)


def round_up(length: int) -> int:
    """The smallest bucket size, without an upper limit, that holds `length` tokens."""
    return next(size for size in bucket_sizes(2 * max(length, SMALLEST)) if size >= length)


def widths_of(lengths: Any, max_length: int, *, few: bool = False) -> Any:
    """The width each text needs by itself.

    Args:
        lengths: Tokens of each text, at most `max_length`; an integer array or tensor (n,).
        max_length, few: As for `bucket_sizes`.

    Returns:
        int64 tensor (n,).
    """
    import tensorflow as tf

    sizes = tf.constant(bucket_sizes(max_length, few=few), tf.int64)
    return tf.gather(sizes, tf.searchsorted(sizes, tf.cast(lengths, tf.int64)))

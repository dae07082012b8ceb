from __future__ import annotations

from itertools import pairwise

import pytest

from tltool.data.batches.buckets import bucket_sizes, round_up, widths_of


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [
        (4, (4,)),
        (8, (8,)),
        (13, (8, 12, 13)),
        (64, (8, 12, 16, 20, 24, 32, 40, 48, 64)),
        (100, (8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 100)),
    ],
)
def test_the_widths_end_at_the_limit(limit, sizes):
    assert bucket_sizes(limit) == sizes


def test_there_are_few_widths_and_none_wastes_much():
    sizes = bucket_sizes(8192)
    for octave in range(3, 13):
        assert sum(2**octave <= size < 2 ** (octave + 1) for size in sizes) <= 3
    assert all(high <= 1.5 * low for low, high in pairwise(sizes))


def test_a_text_gets_the_smallest_width_that_holds_it():
    lengths = list(range(1, 101))
    widths = widths_of(lengths, 100).numpy().tolist()
    for length, width in zip(lengths, widths, strict=True):
        assert width == min(size for size in bucket_sizes(100) if size >= length)


def test_rounding_up_knows_no_limit():
    assert [round_up(n) for n in (1, 8, 9, 17, 33, 65, 513)] == [8, 8, 12, 20, 40, 80, 640]
    assert all(round_up(n) in bucket_sizes(8192) for n in range(1, 6000, 7))

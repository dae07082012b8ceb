"""Epochs drawn by class: how many of each, which, and that the seed decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tltool.data.batches.ordering import Share, make_ordering
from tltool.data.batches.pipeline import Epochs, make_batches
from tltool.data.batches.sampling import ClassSampling
from tltool.data.batches.source import Source, nothing_to_load

COUNTS = {"a": 90, "b": 9, "c": 1}
CLASSES = np.random.default_rng(0).permutation(np.repeat(list(COUNTS), list(COUNTS.values())))


def drawn(sampling, seed=(3, 5)):
    return ClassSampling(CLASSES, sampling).rows(tf.constant(seed, tf.int64)).numpy()


@pytest.mark.parametrize(
    ("sampling", "shares"), [("balanced", (34, 33, 33)), ("sqrt", (70, 22, 8))]
)
def test_each_class_has_its_share_of_as_many_rows(sampling, shares):
    found = Counter(CLASSES[drawn(sampling)])
    assert tuple(found[name] for name in COUNTS) == pytest.approx(shares, abs=1)
    assert found.total() == 100


def test_each_row_of_a_class_comes_before_any_comes_again():
    found = Counter(drawn("balanced").tolist())
    times = {name: {found[row] for row in np.flatnonzero(name == CLASSES)} for name in COUNTS}
    assert times == {"a": {0, 1}, "b": {3, 4}, "c": {33}}


def test_the_seed_alone_decides_and_frequent_classes_change():
    np.testing.assert_array_equal(drawn("balanced"), drawn("balanced"))
    seen = {row for seed in range(20) for row in drawn("balanced", (seed, 5)).tolist()}
    assert seen == set(range(100))


def epoch(now, share=None, **options):
    source = Source(100, nothing_to_load, lambda key, rows: rows)
    dataset = make_batches(
        source, targets=None, batch_size=8, training=True, seed=1, share=share,
        epochs=Epochs(3, now), sampling=ClassSampling(CLASSES, "balanced"), **options,
    )  # fmt: skip
    found = [batch.numpy().tolist() for batch in dataset]
    assert len(found) == len(dataset)
    return found


def test_batches_of_an_epoch_are_drawn_anew_and_can_be_gone_on_with():
    first, second = epoch(0), epoch(1)
    assert [len(batch) for batch in first] == [8] * 12 + [4]
    assert first == epoch(0)
    assert first != second
    assert epoch(1, skipped=5) == second[5:]
    assert Counter(CLASSES[np.concatenate(first)])["c"] == 33


def test_a_row_that_comes_again_is_changed_in_another_way():
    source = Source(100, nothing_to_load, lambda key, rows: (rows, tf.fill(tf.shape(rows), key)))
    seen: dict[int, set[int]] = {}
    batches = 0
    for rows, keys in make_batches(
        source, targets=None, batch_size=4, training=True, epochs=Epochs(1, 0),
        sampling=ClassSampling(CLASSES, "balanced"),
    ):  # fmt: skip
        batches += 1
        for row, key in zip(rows.numpy().tolist(), keys.numpy().tolist(), strict=True):
            seen.setdefault(row, set()).add(key)
    rarest = int(np.flatnonzero(CLASSES == "c")[0])
    assert batches == 25
    assert len(seen[rarest]) > 12


def test_workers_share_the_same_batches():
    shares = [epoch(1, Share(index, 2)) for index in range(2)]
    for whole, *parts in zip(epoch(1), *shares, strict=True):
        assert whole == [row for part in parts for row in part]


def test_texts_that_are_drawn_come_with_those_of_their_width():
    widths = np.where(np.arange(100) % 2, 8, 32)
    ordering = make_ordering(100, batch_size=10, widths=widths,
                             sampling=ClassSampling(CLASSES, "balanced"))  # fmt: skip
    rows, sizes = ordering.shuffled(tf.constant([1, 2], tf.int64))
    mixed = [
        len(set(widths[part])) for part in np.split(rows.numpy(), np.cumsum(sizes.numpy())[:-1])
    ]
    assert mixed.count(2) <= 1
    np.testing.assert_array_equal(np.sort(rows), np.sort(drawn("balanced", (1, 2))))


def test_a_budget_of_tokens_is_refused():
    with pytest.raises(ValueError, match="drawn"):
        make_ordering(100, batch_size=8, widths=np.ones(100), budget=50,
                      sampling=ClassSampling(CLASSES, "sqrt"))  # fmt: skip

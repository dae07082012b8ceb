from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import tensorflow as tf

from tltool.data.batches.ordering import Ordering, make_ordering

RNG = np.random.default_rng(0)
WIDTHS = RNG.choice([8, 12, 16, 24, 32, 48], 403, p=[0.1, 0.3, 0.3, 0.2, 0.08, 0.02])


def orderings() -> dict[str, Ordering]:
    return {
        "images": make_ordering(403, batch_size=8),
        "texts": make_ordering(403, batch_size=8, widths=WIDTHS),
        "whole batches": make_ordering(400, batch_size=8, widths=WIDTHS[:400]),
        "budget": make_ordering(403, batch_size=8, widths=WIDTHS, budget=200),
        "one row": make_ordering(1, batch_size=8, widths=WIDTHS[:1]),
    }


def batches(ordering: Ordering, seed) -> list[list[int]]:
    rows, sizes = ordering.shuffled(tf.constant(seed, tf.int64))
    return [part.tolist() for part in np.split(rows.numpy(), np.cumsum(sizes)[:-1])]


@pytest.mark.parametrize("kind", orderings())
def test_each_row_comes_once_and_equal_seeds_give_equal_batches(kind):
    ordering = orderings()[kind]
    count = int(ordering.sizes.sum())
    first = batches(ordering, (3, 5))
    assert sorted(chain(*first)) == list(range(count))
    assert first == batches(orderings()[kind], (3, 5))
    if count > 1:
        assert first != batches(ordering, (4, 5))
        assert first != batches(ordering, (3, 6))


@pytest.mark.parametrize("kind", orderings())
def test_every_epoch_has_the_same_number_of_batches(kind):
    ordering = orderings()[kind]
    for key in range(4):
        found = batches(ordering, (key, 0))
        assert len(found) == ordering.num_batches
        assert sorted(map(len, found)) == sorted(ordering.sizes.tolist())


@pytest.mark.parametrize("kind", ["images", "texts"])
def test_only_the_last_of_fixed_batches_is_smaller(kind):
    for key in range(4):
        assert [len(b) for b in batches(orderings()[kind], (key, 0))] == [8] * 50 + [3]


def test_rows_of_equal_width_come_together():
    for key in range(3):
        found = batches(orderings()["texts"], (key, 0))
        mixed = sum(len(set(WIDTHS[batch])) > 1 for batch in found)
        # At most where one width ends and the next begins, and around the batch set aside.
        assert mixed <= 2 * len(set(WIDTHS))
        padded = sum(len(batch) * WIDTHS[batch].max() for batch in found)
        assert padded < 1.1 * WIDTHS.sum()


def test_the_incomplete_batch_holds_texts_of_any_width():
    last = {int(WIDTHS[batches(orderings()["texts"], (key, 0))[-1]].max()) for key in range(40)}
    assert len(last) >= 4


def test_batches_of_all_widths_come_in_any_order():
    found = batches(orderings()["texts"], (0, 0))
    widths = [WIDTHS[batch].mean() for batch in found[:-1]]
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.4


def test_the_shuffle_of_images_is_full():
    rows = list(chain(*batches(orderings()["images"], (0, 0))))
    assert np.mean(rows[:80]) > 120


@pytest.mark.parametrize("kind", ["texts", "budget"])
def test_the_company_of_a_row_changes_from_epoch_to_epoch(kind):
    first, second = (set(map(frozenset, batches(orderings()[kind], (k, 0)))) for k in range(2))
    # Rows of a rare width may fill just one batch, and always the same.
    assert len(first & second) <= 1


@pytest.mark.parametrize("budget", [8, 40, 200, 1000])
def test_a_budget_is_never_exceeded_unless_by_a_single_row(budget):
    ordering = make_ordering(403, batch_size=8, widths=WIDTHS, budget=budget)
    found = batches(ordering, (1, 2))
    for batch in found:
        assert len(set(WIDTHS[batch])) == 1
        assert len(batch) * WIDTHS[batch][0] <= budget or len(batch) == 1
    expected = 0
    for width in set(WIDTHS.tolist()):
        expected += -(-int((width == WIDTHS).sum()) // max(1, budget // width))
    assert len(found) == ordering.num_batches == expected


def test_a_budget_is_used():
    """A batch that is not its width's last could hold no further row."""
    found = batches(make_ordering(403, batch_size=8, widths=WIDTHS, budget=200), (1, 2))
    with_room = [b for b in found if (len(b) + 1) * WIDTHS[b[0]] <= 200]
    assert len(with_room) <= len(set(WIDTHS))


def test_a_budget_needs_widths():
    with pytest.raises(ValueError, match="texts"):
        make_ordering(10, batch_size=8, budget=200)


@pytest.mark.parametrize("kind", orderings())
def test_a_stream_of_elements_is_cut_into_the_same_batches(kind):
    ordering = orderings()[kind]

    def epoch(seed):
        rows, sizes = ordering.shuffled(seed)
        return ordering.batched(tf.data.Dataset.from_tensor_slices(rows), sizes)

    seeds = tf.data.Dataset.from_tensors(tf.constant((3, 5), tf.int64))
    streamed = [batch.numpy().tolist() for batch in seeds.flat_map(epoch)]
    assert streamed == batches(ordering, (3, 5))


def test_in_order_is_in_order():
    rows, sizes = orderings()["texts"].in_order()
    assert rows.numpy().tolist() == list(range(403))
    assert sizes.numpy().tolist() == [8] * 50 + [3]


def test_rows_of_a_class_meet_in_a_batch():
    classes = np.random.default_rng(0).integers(0, 20, 330)
    ordering = make_ordering(330, batch_size=34, widths=None, together=(classes, 4))
    first = batches(ordering, (3, 5))
    assert sorted(chain(*first)) == list(range(330))
    assert first == batches(ordering, (3, 5))
    assert first != batches(ordering, (4, 5))
    assert [len(batch) for batch in first] == [32] * 10 + [10]
    alone = 0
    for batch in first:
        counts = np.bincount(classes[batch])
        alone += int((counts[classes[batch]] == 1).sum())
        assert np.count_nonzero(counts) >= min(4, len(batch) // 4)
    # Only what is left of a class, or falls on the border of a batch, can be alone.
    assert alone <= 20 + 2 * len(first)


def test_a_budget_of_tokens_brings_no_class_together():
    with pytest.raises(ValueError, match="together"):
        make_ordering(4, batch_size=2, widths=np.ones(4), budget=8, together=(np.zeros(4), 2))

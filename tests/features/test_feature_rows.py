"""Which rows an entry has, and that batches read the right ones; no model is run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tiny

from tltool.data.batches.pipeline import make_batches
from tltool.data.examples import Examples
from tltool.features.rows import Rows, entry_source, stored_source
from tltool.features.store import FeatureStore, TensorSpec
from tltool.recipe.schema import AugmentSection

VIEWS = AugmentSection(horizontal_flip=True, views=3)


def table(inputs, modality="image") -> Examples:
    count = len(inputs)
    return Examples(
        modality, inputs, ["a"] * count, ["train"] * count, [f"row {i}" for i in range(count)]
    )


def pictures(*levels):
    return table([np.full((32, 32, 3), level, "uint8") for level in levels])


def batches_of(source, batch_size=4, **settings):
    return list(make_batches(source, targets=None, batch_size=batch_size, **settings))


def stored(folder, rows, specs, values):
    """An entry of all rows, written in one batch."""
    store = FeatureStore(folder)
    with store.writing("key", specs, rows.count, rows.lengths, {}) as writer:
        writer.write(np.arange(rows.count), values)
    return store.find("key")


def test_rows_are_the_distinct_contents_whatever_the_order_of_the_examples():
    rows = Rows.of(pictures(5, 9, 5, 7), tiny.TINY_IMAGE)
    again = Rows.of(pictures(9, 7, 9, 5, 7), tiny.TINY_IMAGE)
    assert rows.keys.tolist() == again.keys.tolist() == sorted(rows.keys.tolist())
    assert len(rows.examples) == rows.count == 3
    levels = [int(image[0, 0, 0]) for image in rows.examples.inputs]
    assert rows.positions(pictures(7, 9, 9, 5)).tolist() == [levels.index(i) for i in (7, 9, 9, 5)]
    assert sorted(rows.examples.origins) == ["row 0", "row 1", "row 3"], "the first of duplicates"
    assert (rows.views, rows.lengths, rows.num_tokens) == (1, None, 0)


def test_each_content_has_as_many_rows_as_views():
    rows = Rows.of(pictures(5, 9, 5), tiny.TINY_IMAGE, VIEWS)
    assert (rows.views, rows.count, rows.source.count) == (3, 6, 6)
    single = Rows.of(pictures(5, 9), tiny.TINY_IMAGE, VIEWS.model_copy(update={"views": None}))
    assert (single.views, single.count, single.source.count) == (1, 2, 2)


def test_the_digest_depends_on_contents_preprocessing_and_changes():
    rows = Rows.of(pictures(5, 9), tiny.TINY_IMAGE)
    assert Rows.of(pictures(9, 5, 5), tiny.TINY_IMAGE).digest() == rows.digest()
    assert replace(rows, seed=4).digest() == rows.digest(), "nothing is drawn"
    changed = [
        Rows.of(pictures(5, 8), tiny.TINY_IMAGE),
        Rows.of(pictures(5), tiny.TINY_IMAGE),
        replace(rows, contract=tiny.TINY_IMAGE.model_copy(update={"resize_px": 40})),
        replace(rows, augment=VIEWS),
        replace(rows, augment=VIEWS, seed=4),
        replace(rows, augment=VIEWS.model_copy(update={"views": 4})),
        replace(rows, augment=VIEWS.model_copy(update={"zoom": 0.1})),
    ]
    assert len({made.digest() for made in changed} | {rows.digest()}) == len(changed) + 1


def test_the_source_gives_every_row_and_images_without_views_as_they_are():
    rows = Rows.of(pictures(5, 9, 7), tiny.TINY_IMAGE)
    (images,) = batches_of(rows.source, training=False)
    levels = [float(image[0, 0, 0]) for image in rows.examples.inputs]
    expected = (np.array(levels) - 127) / 128
    np.testing.assert_allclose(images.numpy().mean(axis=(1, 2, 3)), expected, atol=1e-5)
    bright = AugmentSection(brightness=0.1, views=2)
    viewed = Rows.of(pictures(100, 120), tiny.TINY_IMAGE, bright, seed=1)
    (views,) = batches_of(viewed.source, training=False)
    means = views.numpy().mean(axis=(1, 2, 3))
    assert len(set(means.round(4))) == 4
    (other,) = batches_of(replace(viewed, seed=2).source, training=False)
    assert not np.allclose(means, other.numpy().mean(axis=(1, 2, 3)))


SPECS = (TensorSpec((2,), "float16", by_token=False), TensorSpec((), "int32", by_token=False))


def test_stored_rows_are_read_in_the_order_of_the_examples(tmp_path):
    examples = pictures(5, 9, 7, 9, 3)
    rows = Rows.of(examples, tiny.TINY_IMAGE)
    numbers = np.arange(rows.count)
    entry = stored(tmp_path, rows, SPECS, [np.stack([numbers, -numbers], 1), 10 * numbers])
    source = stored_source(entry, ["float32", "int64"], rows, examples, seed=0)
    assert (source.count, source.lengths, source.widths) == (5, None, None)
    first, second = batches_of(source, training=False)
    assert (first[0].dtype, first[1].dtype) == (tf.float32, tf.int64)
    found = np.concatenate([first[0].numpy(), second[0].numpy()])
    positions = rows.positions(examples)
    np.testing.assert_array_equal(found, np.stack([positions, -positions], 1))
    np.testing.assert_array_equal(np.concatenate([first[1], second[1]]), 10 * positions)
    everything = entry_source(entry, ["float32", "int64"], rows)
    (batch,) = batches_of(everything, training=False)
    np.testing.assert_array_equal(batch[1], 10 * numbers)


def test_training_reads_one_view_of_each_example_and_all_of_them_in_time(tmp_path):
    examples = pictures(5, 9, 7, 3)
    rows = Rows.of(examples, tiny.TINY_IMAGE, VIEWS)
    numbers = np.arange(rows.count)
    entry = stored(tmp_path, rows, SPECS[1:], [numbers])
    (batch,) = batches_of(entry_source(entry, ["int32"], rows), batch_size=12, training=False)
    np.testing.assert_array_equal(batch[0], numbers)

    def epochs(seed):
        source = stored_source(entry, ["int32"], rows, examples, seed=seed)
        dataset = make_batches(source, targets=None, batch_size=4, training=True, seed=seed)
        return [next(iter(dataset))[0].numpy().tolist() for _ in range(12)]

    drawn = epochs(0)
    for epoch in drawn:
        assert sorted(number % 4 for number in epoch) == [0, 1, 2, 3]
    assert {number // 4 for epoch in drawn for number in epoch} == {0, 1, 2}
    assert drawn == epochs(0) != epochs(1)


@pytest.mark.parametrize("texts", [["good", "very bad film", "the food is nice , very nice !"]])
def test_stored_tokens_are_padded_with_zeros_as_their_texts_are(tmp_path, texts):
    examples = table([*texts, texts[0]], "text")
    rows = Rows.of(examples, tiny.TINY_TEXT)
    lengths = rows.lengths
    assert sorted(lengths) == [3, 5, 10]  # with [CLS] and [SEP]
    assert rows.num_tokens == 18
    spec = TensorSpec((2,), "float32", by_token=True)
    values = np.zeros((3, 10, 2))
    for row, length in enumerate(lengths):
        values[row, :length] = row + 1
    entry = stored(tmp_path, rows, [spec], [values])
    source = stored_source(entry, ["float32"], rows, examples, seed=0)
    positions = rows.positions(examples)
    np.testing.assert_array_equal(source.lengths, lengths[positions])
    (own,) = batches_of(rows.source, training=False)
    (batch,) = batches_of(source, training=False)
    width = own["token_ids"].shape[1]
    expected = np.zeros((4, width, 2))
    expected[:, :10] = values[positions]
    np.testing.assert_array_equal(batch[0], expected)
    np.testing.assert_array_equal(source.widths, [len(t[0]) for t in one_by_one(source)])


def one_by_one(source):
    """Each row's tensor in a batch of its own."""
    return [tensor.numpy() for (tensor,) in batches_of(source, batch_size=1, training=False)]

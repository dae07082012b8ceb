"""What several workers take of each batch is together what one takes, in its order and padding."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tiny

from tltool.data.batches.ordering import Share
from tltool.data.batches.pipeline import make_batches
from tltool.data.batches.source import Source, example_source
from tltool.data.examples import Examples

ROWS = 45


def text_source() -> Source:
    inputs, labels = tiny.texts(ROWS)
    examples = Examples("text", inputs, labels, ["train"] * ROWS, [f"row {n}" for n in range(ROWS)])
    return example_source(examples, tiny.TINY_TEXT)


def loaded_source(loaded: list[int]) -> Source:
    """Rows that are loaded one by one; notes which."""

    def load(rows, _):
        def one(row):
            loaded.append(int(row))
            return np.float32(row) / 2

        return rows.map(lambda row: (row, tf.numpy_function(one, [row], tf.float32)))

    return Source(ROWS, load, lambda key, rows, values: {"x": values})


def batches(source, share=None, *, training=True, batch_size=8):
    dataset = make_batches(
        source,
        targets=np.arange(ROWS, dtype=np.float32),
        batch_size=batch_size,
        training=training,
        seed=3,
        share=share,
    )
    found = [
        tf.nest.map_structure(lambda t: t.numpy(), batch) for _ in range(2) for batch in dataset
    ]
    assert len(found) == 2 * int(dataset.cardinality())
    return found


@pytest.mark.parametrize(
    ("workers", "devices", "training"), [(2, 1, True), (2, 1, False), (4, 1, True), (2, 2, True)]
)
def test_shares_are_together_the_batches_of_one(workers, devices, training):
    source = text_source()
    whole = batches(source, training=training)
    parts = [
        batches(source, Share(index, workers, devices), training=training)
        for index in range(workers)
    ]
    assert len(whole) == 12
    # Of the last 5 rows, those that divide over all devices.
    kept = 5 // (workers * devices) * workers * devices
    for number, (inputs, targets, weights) in enumerate(whole):
        own = [part[number] for part in parts]
        size = 8 if number % 6 < 5 else kept
        assert {len(part[1]) for part in own} == {size // workers}
        np.testing.assert_array_equal(np.concatenate([p[1] for p in own]), targets[:size])
        np.testing.assert_array_equal(np.concatenate([p[2] for p in own]), weights[:size])
        for name, tensor in inputs.items():
            together = np.concatenate([part[0][name] for part in own])
            np.testing.assert_array_equal(together, tensor[:size])


def test_a_batch_that_does_not_divide_at_all_is_left_out():
    assert len(batches(text_source(), Share(0, 8))) == 2 * (ROWS // 8)


def test_only_the_share_is_loaded():
    loaded: list[int] = []
    source = loaded_source(loaded)
    whole = batches(source)
    loaded.clear()
    found = batches(source, Share(1, 2))
    assert len(loaded) == 2 * (ROWS - 1) // 2
    np.testing.assert_array_equal(found[0][1], whole[0][1][4:])
    np.testing.assert_array_equal(found[0][0]["x"], found[0][1] / 2)

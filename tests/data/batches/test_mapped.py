"""Batches where TensorFlow's operations must be deterministic."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops
from tensorflow.python.framework import config

from tltool.data.batches.mapped import as_tensor, leave_devices_untuned
from tltool.data.batches.pipeline import make_batches
from tltool.data.batches.source import Source, nothing_to_load
from tltool.data.packed import new_array
from tltool.training.input_wait import InputWait


@pytest.fixture(autouse=True)
def _deterministic():
    before = config.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    yield
    if not before:
        config.disable_op_determinism()


def test_rows_that_python_gives_are_loaded_beside_each_other():
    two = threading.Barrier(2)

    def wait(row):
        two.wait(timeout=60)
        return row

    def load(rows, _):
        return rows.map(
            lambda row: tf.ensure_shape(tf.numpy_function(wait, [row], tf.int64), []),
            num_parallel_calls=2,
            deterministic=True,
        )

    source = Source(8, load, lambda _, rows: rows)
    batches = make_batches(source, targets=None, batch_size=4, training=False)
    for watched in (batches, InputWait().watch(batches)):
        assert [batch.numpy().tolist() for batch in watched] == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert config.is_op_determinism_enabled()
        # The end of an epoch may wait for the tuner's next look: as long as the epoch has taken.
        assert watched.options().autotune.enabled is False


def test_what_waits_for_devices_is_not_tuned(monkeypatch):
    leave_devices_untuned()
    buffer, made = multi_device_iterator_ops._create_device_dataset, []

    def recorded(*values):
        made.append(buffer(*values))
        return made[-1]

    monkeypatch.setattr(multi_device_iterator_ops, "_create_device_dataset", recorded)
    strategy = tf.distribute.MirroredStrategy(
        ["cpu:0", "cpu:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    batches = strategy.experimental_distribute_dataset(tf.data.Dataset.range(8).batch(4))
    parts = [strategy.experimental_local_results(batch) for batch in batches]
    assert [[part.numpy().tolist() for part in batch] for batch in parts] == [
        [[0, 1], [2, 3]],
        [[4, 5], [6, 7]],
    ]
    assert [dataset.options().autotune.enabled for dataset in made] == [False, False]


def test_an_array_in_memory_may_begin_anywhere():
    values = np.arange(5_000_001, dtype=np.float32)
    for begin in (0, 1):
        assert tf.gather(as_tensor(values[begin:]), 7).numpy() == 7 + begin


def test_an_array_that_batches_gather_from_is_not_copied():
    def megabytes():
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"^RssAnon:\s*(\d+) kB$", status, re.MULTILINE)[1]) / 1000

    if not Path("/proc/self/status").exists():
        pytest.skip("counts what Linux counts")
    values = new_array((100_000, 250), np.float32)
    tensor = as_tensor(values)
    source = Source(len(values), nothing_to_load, lambda _, rows: tf.gather(tensor, rows))
    batches = make_batches(source, targets=None, batch_size=64, training=True)
    before = megabytes()
    iterator = iter(batches)
    assert next(iterator).shape == (64, 250)
    assert megabytes() - before < values.nbytes / 2e6

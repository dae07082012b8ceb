"""Large arrays as tensors that batches gather rows of, without a copy of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.python.data.ops import dataset_ops, multi_device_iterator_ops
from tensorflow.python.framework import config

from tltool.data.packed import IN_MEMORY_BYTES

# In bytes: a tensor that begins elsewhere ends the process (TensorFlow's Tensor::IsAligned).
_ALIGNMENT = 64


def as_tensor(values: Any) -> tf.Tensor:
    """A tensor of an array: the array's own memory where that is a mapped file.

    Pages of a file are read when they are used, and the system may take them back.

    Args:
        values: Of NumPy, not to be changed any more. A mapped file has the mode "c", "r+" or
            "w+", since TensorFlow takes no memory that cannot be written; nothing is written.
    """
    if values.nbytes <= IN_MEMORY_BYTES or values.ctypes.data % _ALIGNMENT:
        return tf.constant(values)
    with tf.device("cpu"):
        return tf.experimental.dlpack.from_dlpack(values.__dlpack__())


class AsWritten(dataset_ops.UnaryUnchangedStructureDataset):
    """A dataset whose graph is run as it was written.

    Where operations must be deterministic, TensorFlow 2.21 rewrites each dataset when it is
    iterated: images that Python names would be decoded one after the other, nothing prefetched,
    and of each tensor that a step reads a copy made, 5 kB for each row of EfficientNet-Lite0's
    features. The order of this one must not hang on what runs at the same time. Distributed over
    several devices, it is rewritten.

    Nor is it tuned: as much is loaded beside each other as there are cores. TensorFlow 2.21 has a
    thread that looks at 10 ms, 30 ms, 70 ms ... how to do better, and the end of an epoch may wait
    for its next look, as long as the epoch has taken.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        plain = _untuned(dataset, options)
        super().__init__(plain, plain._variant_tensor)

    def __iter__(self) -> Iterator[Any]:
        demanded = config.is_op_determinism_enabled()
        config.disable_op_determinism()
        try:
            return super().__iter__()
        finally:
            if demanded:
                config.enable_op_determinism()


@cache
def leave_devices_untuned() -> None:
    """Has the buffers that a strategy makes for its devices go without a tuner too.

    They are datasets that it makes of others, without their options; see `AsWritten`.
    """
    buffer = multi_device_iterator_ops._create_device_dataset
    multi_device_iterator_ops._create_device_dataset = lambda *values: _untuned(
        buffer(*values), tf.data.Options()
    )


def _untuned(dataset: tf.data.Dataset, options: tf.data.Options) -> tf.data.Dataset:
    options.autotune.enabled = False
    return dataset.with_options(options)

"""Large arrays as tensors that batches gather rows of, without a copy of them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tltool.data.packed import IN_MEMORY_BYTES


def as_tensor(values: Any) -> tf.Tensor:
    """A tensor of an array: the array's own memory where that is a mapped file or large.

    Pages of a file are read when they are used, and the system may take them back.

    Args:
        values: Of NumPy, not to be changed any more. A mapped file has the mode "c", "r+" or
            "w+", since TensorFlow takes no memory that cannot be written; nothing is written.
    """
    if values.nbytes <= IN_MEMORY_BYTES:
        return tf.constant(values)
    with tf.device("cpu"):
        return tf.experimental.dlpack.from_dlpack(values.__dlpack__())


def without_copies() -> tf.data.Options:
    """Options of datasets that read such tensors.

    Of each tensor that a step reads, the rewriting of a dataset's graph makes a copy (TensorFlow
    2.21): 5 kB for each row of EfficientNet-Lite0's features.
    """
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return options

"""How long training waits for its input: measured where a batch is asked for and handed over."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.batches.mapped import AsWritten

HINT_SHARE = 0.1
HINT_SECONDS = 2.0


def waiting_note(waited: float, trained: float) -> str:
    """One line on the share of a phase's training time that was spent waiting for input.

    Args:
        waited: Seconds waiting for batches.
        trained: Seconds of training, waiting included, validation left out.

    Returns:
        With a hint where more than a tenth, and more than two seconds, were waited.
    """
    share = waited / max(trained, waited, 1e-9)
    note = f"waiting for input: {share:.0%} of the training time"
    if share > HINT_SHARE and waited > HINT_SECONDS:
        note += (
            "; reading is slower than training: smaller image files, less augmentation or "
            "augment.views, or more processor cores would help"
        )
    return note


class InputWait:
    """Adds up the seconds between asking a dataset for a batch and getting it.

    The clock is read inside the dataset, since Keras takes batches inside a
    compiled function; it is Python's, since TensorFlow's own may not be read
    where runs must be repeatable. Time in which batches are made while a step
    computes is not waiting.
    """

    def __init__(self) -> None:
        self._asked = 0.0
        self._seconds = 0.0

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches, watched."""

        # Zip asks for its parts in turn: first for this one, then for the batch.
        def asked(_: Any) -> Any:
            return tf.numpy_function(self._ask, [], tf.bool)

        def given(_: Any, batch: Any) -> Any:
            with tf.control_dependencies([tf.numpy_function(self._give, [], tf.bool)]):
                return tf.nest.map_structure(tf.identity, batch)

        questions = tf.data.Dataset.counter().map(tf.autograph.experimental.do_not_convert(asked))
        watched = tf.data.Dataset.zip((questions, dataset))
        given_batches = watched.map(tf.autograph.experimental.do_not_convert(given))
        # Else TensorFlow appends a buffer, which asks for batches before anyone waits for them.
        return AsWritten(given_batches)

    def take(self) -> float:
        """Seconds waited since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _ask(self) -> np.bool_:
        self._asked = time.perf_counter()
        return np.True_

    def _give(self) -> np.bool_:
        self._seconds += time.perf_counter() - self._asked
        return np.True_

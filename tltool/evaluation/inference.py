"""Runs a Keras model on examples, through the same pipeline that trained it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt


def raw_outputs(
    model: keras.Model,
    examples: Examples,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    batch_size: int = 32,
) -> npt.NDArray[np.float32]:
    """What the model itself returns for each example, float32 (n, outputs), in their order.

    Works for any functional model on the preprocessed inputs, so also for a
    backbone alone, whose outputs are its features.
    """
    import numpy as np

    numbers, parts = zip(*_batches(model, examples, preprocessing, batch_size), strict=True)
    return np.concatenate(parts)[np.argsort(np.concatenate(numbers))]


def _batches(
    model: keras.Model,
    examples: Examples,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    batch_size: int,
) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
    """Row numbers and what the model returns for them, float32, batch by batch."""
    import tensorflow as tf

    from tltool.data.batches.pipeline import make_dataset
    from tltool.data.texts.tokenizing import tokenized

    examples = tokenized(examples, preprocessing)
    order = by_length(examples)
    dataset = make_dataset(
        examples.take(order), preprocessing, targets=None, batch_size=batch_size, training=False
    )

    # `Model.predict` traces twice: for full batches, and for the last one.
    @tf.function(input_signature=[dataset.element_spec], autograph=False)
    def run(inputs: Any) -> Any:
        return tf.cast(model(inputs, training=False), tf.float32)

    start = 0
    for inputs in dataset:
        found = run(inputs).numpy()
        yield order[start : start + len(found)], found
        start += len(found)


def by_length(examples: Examples) -> list[int]:
    """Row numbers that bring texts of like length together, so that batches need less padding.

    The length is that in tokens where the examples have them, else in characters.
    """
    rows = range(len(examples))
    if examples.modality == "image":
        return list(rows)
    tokens = examples.tokens
    lengths = [len(text) for text in examples.inputs] if tokens is None else tokens.lengths.tolist()
    return sorted(rows, key=lengths.__getitem__)


def model_outputs(
    model: keras.Model,
    examples: Examples,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    batch_size: int = 32,
) -> npt.NDArray[Any]:
    """What a user reads, as `Task.outputs` gives it."""
    import numpy as np

    return np.asarray(task.outputs(raw_outputs(model, examples, preprocessing, batch_size)))


def kept_outputs(
    model: keras.Model,
    examples: Examples,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    batch_size: int = 32,
) -> npt.NDArray[Any]:
    """What evaluation needs of `model_outputs`, as `Target.kept` gives it."""
    import numpy as np

    parts, numbers = [], []
    for rows, raw in _batches(model, examples, preprocessing, batch_size):
        targets = [examples.targets[row] for row in rows]
        parts.append(task.target.kept(np.asarray(task.outputs(raw)), targets))
        numbers += rows
    return np.concatenate(parts)[np.argsort(numbers)]

"""Runs a Keras model on examples, through the same pipeline that trained it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples, texts_of
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt


class Forward:
    """A model that runs on examples, traced once however often it is called.

    Works for any functional model on the preprocessed inputs, so also for a
    backbone alone, whose outputs are its features.
    """

    def __init__(
        self,
        model: keras.Model,
        preprocessing: ImagePreprocessing | TextPreprocessing,
        batch_size: int = 32,
    ) -> None:
        self._model, self._preprocessing, self._batch_size = model, preprocessing, batch_size
        self._traced: tuple[Any, Any] = (None, None)

    def __call__(self, examples: Examples) -> npt.NDArray[np.float32]:
        """What the model returns for each example, float32 (n, outputs), in their order."""
        import numpy as np

        numbers, parts = zip(*self.batches(examples), strict=True)
        return np.concatenate(parts)[np.argsort(np.concatenate(numbers))]

    def batches(self, examples: Examples) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
        """Row numbers and what the model returns for them, batch by batch."""
        from tltool.data.batches.pipeline import make_dataset
        from tltool.data.texts.tokenizing import tokenized

        examples = tokenized(examples, self._preprocessing)
        order = by_length(examples)
        dataset = make_dataset(
            examples.take(order),
            self._preprocessing,
            targets=None,
            batch_size=self._batch_size,
            training=False,
        )
        run = self._function(dataset.element_spec)
        start = 0
        for inputs in dataset:
            found = run(inputs).numpy()
            yield order[start : start + len(found)], found
            start += len(found)

    def _function(self, spec: Any) -> Any:
        """The traced model; `Model.predict` traces twice: full batches, and the last one."""
        import tensorflow as tf

        if self._traced[0] != spec:

            @tf.function(input_signature=[spec], autograph=False)
            def run(inputs: Any) -> Any:
                return tf.cast(self._model(inputs, training=False), tf.float32)

            self._traced = spec, run
        return self._traced[1]


def raw_outputs(
    model: keras.Model,
    examples: Examples,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    batch_size: int = 32,
) -> npt.NDArray[np.float32]:
    """What the model itself returns for each example, float32 (n, outputs); see `Forward`."""
    return Forward(model, preprocessing, batch_size)(examples)


def by_length(examples: Examples) -> list[int]:
    """Row numbers that bring texts of like length together, so that batches need less padding.

    The length is that in tokens where the examples have them, else in characters.
    """
    rows = range(len(examples))
    if examples.modality == "image":
        return list(rows)
    tokens = examples.tokens
    if tokens is None:
        lengths = [sum(map(len, texts_of([value]))) for value in examples.inputs]
    else:
        lengths = tokens.lengths.tolist()
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


def kept_outputs(forward: Forward, examples: Examples, task: Task) -> npt.NDArray[Any]:
    """What evaluation needs of `model_outputs`, as `Target.kept` gives it."""
    import numpy as np

    parts, numbers = [], []
    for rows, raw in forward.batches(examples):
        targets = [examples.targets[row] for row in rows]
        parts.append(task.target.kept(np.asarray(task.outputs(raw)), targets))
        numbers += rows
    return np.concatenate(parts)[np.argsort(numbers)]

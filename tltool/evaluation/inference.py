"""Runs a Keras model on examples, through the same pipeline that trained it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples, texts_of
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt


# Texts that are cut into windows and put together again at a time.
_ROWS = 1024


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

    def __call__(self, examples: Examples) -> npt.NDArray[Any]:
        """What the model returns for each example, float32 (n, …), in their order.

        Of texts that are read word by word `WordScores`, as an array of objects (n,).
        """
        import numpy as np

        numbers, parts = zip(*self.batches(examples), strict=True)
        return np.concatenate(parts)[np.argsort(np.concatenate(numbers))]

    def batches(self, examples: Examples) -> Iterator[tuple[list[int], npt.NDArray[Any]]]:
        """Row numbers and what the model returns for them, batch by batch."""
        contract = self._preprocessing
        if isinstance(contract, TextPreprocessing) and contract.by_words:
            return self._by_words(examples, contract)
        return self._plain(examples)

    def _by_words(
        self, examples: Examples, contract: TextPreprocessing
    ) -> Iterator[tuple[list[int], npt.NDArray[Any]]]:
        """The same of texts that are read word by word, long ones in windows."""
        import numpy as np

        from tltool.data.texts.windows import windowed

        for start in range(0, len(examples), _ROWS):
            rows = list(range(start, min(start + _ROWS, len(examples))))
            part = examples.take(rows)
            found = windowed(part.inputs, part.origins, contract)
            cut = part.take(found.rows.tolist())
            cut = replace(cut, inputs=found.inputs, tokens=None, contents=None)
            values: list[Any] = [None] * len(cut)
            for numbers, raw in self._plain(cut):
                for number, one in zip(numbers, raw, strict=True):
                    values[number] = one
            scores = np.empty(len(rows), object)
            scores[:] = found.merged(values)
            yield rows, scores

    def _plain(self, examples: Examples) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
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
    """What the model itself returns for each example, float32 (n, …); see `Forward`."""
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
        targets, inputs = ([column[row] for row in rows]
                           for column in (examples.targets, examples.inputs))  # fmt: skip
        parts.append(task.target.kept(np.asarray(task.outputs(raw)), targets, inputs))
        numbers += rows
    return np.concatenate(parts)[np.argsort(numbers)]

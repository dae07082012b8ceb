"""Running frozen layers over rows, batch after batch, in this process or in others.

What a batch gives depends, in its last bits, on how many rows it has and how far they are padded.
So every batch has the same number of rows, and where rows are spread, whole batches are: the
results are those of one process.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.data.batches.pipeline import make_batches
from tltool.data.batches.source import Source
from tltool.data.reading.walk import exists
from tltool.features.rows import Rows
from tltool.graph.folding import fold_batch_norms
from tltool.graph.keras_file import load_keras_file
from tltool.support import stopping
from tltool.support.errors import BackboneError, DataError
from tltool.support.spread import Spread

BATCH_SIZE = 32
# Each process is given so many parts of the rows, so that none waits long for the slowest.
_PARTS_EACH = 4
_MOST_BATCHES = 32

Batch = tuple[np.ndarray, list[np.ndarray]]
"""Row numbers (batch,) and what the layers give for each of these rows."""


def batch_order(lengths: np.ndarray | None, count: int) -> np.ndarray:
    """All row numbers in the order in which they are computed.

    Args:
        lengths: Tokens of each row; None for images.
        count: Number of rows.
    """
    # The longest texts first: what does not fit into memory fails at once.
    return np.arange(count) if lengths is None else np.argsort(-lengths, kind="stable")


class FrozenLayers:
    """Frozen layers in inference mode, traced once, when they are first run.

    Args:
        model: From what a source gives to the tensors that are stored; its weights must stay as
            they are.

    Attributes:
        seconds: That the last batch took, the making of its inputs left out.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._traced: tuple[Any, Any] = (None, None)
        self.seconds = 0.0

    def batches(self, source: Source, order: np.ndarray) -> Iterator[Batch]:
        """What the layers give for rows of a source, in an order, `BATCH_SIZE` rows at a time."""
        whole = np.append(order, np.repeat(order[-1:], -len(order) % BATCH_SIZE))
        dataset = make_batches(
            source, targets=None, batch_size=BATCH_SIZE, training=False, order=whole
        )
        run = self._function(dataset.element_spec)
        for start, inputs in zip(range(0, len(order), BATCH_SIZE), dataset, strict=True):
            stopping.check()
            rows = order[start : start + BATCH_SIZE]
            began = time.perf_counter()
            values = [value.numpy()[: len(rows)] for value in run(inputs)]
            self.seconds = time.perf_counter() - began
            yield rows, values

    def _function(self, spec: Any) -> Any:
        if self._traced[0] != spec:
            model = fold_batch_norms(self._model)

            @tf.function(input_signature=[spec], autograph=False)
            def run(inputs: Any) -> list[Any]:
                found = tf.nest.flatten(model(inputs, training=False))
                return [_storable(tensor) for tensor in found]

            self._traced = spec, run
        return self._traced[1]


def _storable(tensor: Any) -> Any:
    """Numbers of a kind that NumPy has."""
    return tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor


def spread_batches(
    model: keras.Model, key: str, rows: Rows, dtypes: Sequence[str], spread: Spread
) -> Iterator[Batch]:
    """What `FrozenLayers.batches` gives for all rows, computed by other processes.

    Args:
        model: The frozen layers.
        key: Of the entry; equal keys stand for equal layers.
        rows: What they are run on; other machines find pictures by the same paths.
        dtypes: That each tensor is stored in.
        spread: Where they are run.
    """
    order = batch_order(rows.lengths, rows.count)
    batches = -(-len(order) // BATCH_SIZE)
    size = min(_MOST_BATCHES, -(-batches // (_PARTS_EACH * spread.width))) * BATCH_SIZE
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    layers = _SentLayers.of(model, key, dtypes)
    found = spread.map(layers, (rows.part(part) for part in parts), computes=True)
    for part, values in zip(parts, found, strict=True):
        for number, value in enumerate(values):
            yield part[number * BATCH_SIZE : (number + 1) * BATCH_SIZE], value


@dataclass(frozen=True)
class _SentLayers:
    """Frozen layers on their way to other processes.

    Attributes:
        key: Of the entry they are of.
        file: A `.keras` file's bytes, uint8.
        modules: That define their classes.
        dtypes: That their results are stored in.
    """

    key: str
    file: np.ndarray
    modules: tuple[str, ...]
    dtypes: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model, key: str, dtypes: Sequence[str]) -> _SentLayers:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "layers.keras"
            model.save(path)
            file = np.fromfile(path, np.uint8)
        modules = {type(layer).__module__ for layer in model._flatten_layers()}
        return cls(key, file, tuple(sorted(modules)), tuple(dtypes))

    def __call__(self, part: tuple[Rows, np.ndarray]) -> list[list[np.ndarray]]:
        """The values of each batch of a part of the rows."""
        rows, order = part
        _check_reached(rows)
        return [
            [np.asarray(value, dtype) for value, dtype in zip(values, self.dtypes, strict=True)]
            for _, values in self._loaded().batches(rows.source, order)
        ]

    def _loaded(self) -> FrozenLayers:
        """The layers, loaded and traced once in a process."""
        if self.key not in _LOADED:
            for module in self.modules:
                importlib.import_module(module)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "layers.keras"
                self.file.tofile(path)
                model = load_keras_file(path, BackboneError)
            _LOADED.clear()
            _LOADED[self.key] = FrozenLayers(model)
        return _LOADED[self.key]


_LOADED: dict[str, FrozenLayers] = {}


def _check_reached(rows: Rows) -> None:
    """Raises DataError where a picture is not there: all were, where the rows come from."""
    if rows.examples.modality != "image":
        return
    paths = [value for value in rows.examples.inputs if isinstance(value, str)]
    if missing := next((path for path in paths if not exists(Path(path))), None):
        raise DataError(
            f"{missing} is not there, where frozen layers were to be run on it.",
            hint="paths must lead to the same files on each machine of the cluster",
        )

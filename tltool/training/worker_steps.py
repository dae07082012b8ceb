"""One model fitted by several workers: Keras' `fit`, with steps of our own.

Keras 3.15 cannot run its own steps under `MultiWorkerMirroredStrategy`: it builds the model on
values that are divided over devices, and reduces its logs over an axis that numbers don't have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.data.batches.ordering import Share
from tltool.data.sharing import ALONE, Sharing
from tltool.support import stopping
from tltool.training.workers import Workers

# Of an array that workers sum up, so many bytes at a time.
_PART_BYTES = 1 << 26


def share_of(workers: Workers) -> Share | None:
    """What this worker takes of each batch; None takes all."""
    if workers.strategy is None or workers.place is None:
        return None
    devices = workers.strategy.num_replicas_in_sync // workers.number
    return Share(workers.index, workers.number, devices)


def work_together(
    model: keras.Model, data: tf.data.Dataset, workers: Workers
) -> Callable[[tf.data.Dataset], tf.distribute.DistributedDataset]:
    """Has a compiled model's `fit` and `evaluate` step together with the other workers.

    Args:
        model: Built and compiled in the strategy's scope, which is open.
        data: This worker's share of what it is fitted on.
        workers: All of them.

    Returns:
        From this worker's share of a data set to what `fit` takes for it.
    """
    strategy, share = workers.strategy, share_of(workers)
    if strategy is None or share is None:
        raise ValueError("There is no other worker.")
    # All workers have equally many batches; else each step would ask all whether they have one.
    strategy.extended.experimental_enable_get_next_as_optional = False
    shapes = tf.nest.map_structure(
        lambda spec: keras.KerasTensor(tuple(spec.shape), spec.dtype.name), data.element_spec
    )
    model._symbolic_build(data_batch=shapes)
    # It would take a batch to build what is built, and with it an epoch's order.
    model._maybe_symbolic_build = lambda **_: None
    _draw_apart(model, workers.index)
    model.train_function = _function(model.train_step, strategy)
    model.test_function = _function(model.test_step, strategy)

    def divided(dataset: tf.data.Dataset) -> tf.distribute.DistributedDataset:
        return strategy.distribute_datasets_from_function(
            lambda _: _by_device(dataset, share.devices)
        )

    return divided


def chiefs(array: Any, workers: Workers) -> Any:
    """An array of the chief's, for all; each brings one of the same shape and dtype."""
    return _sum(array if workers.is_chief else np.zeros_like(array), workers)


def sharing_of(workers: Workers) -> Sharing:
    """How the workers share the reading of the data."""
    return _SharingOfWorkers(workers) if workers.are_several else ALONE


class _SharingOfWorkers(Sharing):
    """Each worker's share of files and texts; what they find is summed up over all of them."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def own(self, rows: Sequence[Any]) -> Sequence[int]:
        return [
            number
            for number, row in enumerate(rows)
            if self._workers.has(str(row if isinstance(row, str | PathLike) else number))
        ]

    def part(self, count: int) -> range:
        index, number = self._workers.index, self._workers.number
        return range(count * index // number, count * (index + 1) // number)

    def summed(self, what: str, values: np.ndarray) -> None:
        # They come at the same time to what has no limit of its own.
        self._workers.compare(what, {"shape": list(values.shape)})
        flat = values.reshape(-1).view(np.uint8)
        for start in range(0, len(flat), _PART_BYTES):
            part = flat[start : start + _PART_BYTES]
            # Where one has other bytes than 0, the others have 0: their sum is exact.
            whole = np.zeros(-(-len(part) // 8), np.int64)
            whole.view(np.uint8)[: len(part)] = part
            part[:] = _sum(whole, self._workers).view(np.uint8)[: len(part)]

    def united(self, what: str, values: set[str]) -> set[str]:
        return {value for found in self._workers.meet(what, sorted(values)) for value in found}


def _sum(array: Any, workers: Workers) -> Any:
    """The sum of all workers' arrays, which are of one shape and dtype."""
    strategy, share = workers.strategy, share_of(workers)
    if strategy is None or share is None:
        return array

    def own() -> Any:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        value = tf.convert_to_tensor(array)
        return tf.where(replica % share.devices == 0, value, tf.zeros_like(value))

    with strategy.scope():
        return strategy.reduce("SUM", strategy.run(own), axis=None).numpy()


def _draw_apart(model: keras.Model, index: int) -> None:
    """Has each worker draw dropout of its own: all have the same generators."""
    for variable in model.variables:
        if index and variable.name == "seed_generator_state":
            seed, count = variable.numpy().tolist()
            # The same in every phase, also where one goes on.
            variable.assign([seed, (count % 2**24 + index * 2**24) % 2**32])


def _by_device(dataset: tf.data.Dataset, devices: int) -> tf.data.Dataset:
    """The same batches, divided among a worker's devices, which take from it in turn."""
    if devices == 1:
        return dataset

    def parts(*batch: Any) -> tf.data.Dataset:
        divided = tf.nest.map_structure(
            lambda tensor: tf.reshape(
                tensor, tf.concat([[devices, -1], tf.shape(tensor)[1:]], axis=0)
            ),
            batch,
        )
        return tf.data.Dataset.from_tensor_slices(divided)

    return dataset.flat_map(tf.autograph.experimental.do_not_convert(parts))


def _function(
    step: Callable[[Any], dict[str, Any]], strategy: tf.distribute.Strategy
) -> Callable[[Any], dict[str, float]]:
    """A step of Keras' on all devices of all workers.

    What is logged of a step is the mean over the devices; Keras itself sums up its metrics over
    them at the end of an epoch. With it goes whether a worker was asked to stop, so that a stop
    is due in all of them after the same step.
    """
    names: list[str] = []

    def on_device(batch: Any, asked: Any) -> Any:
        logs = step(batch)
        names[:] = logs
        return tf.stack([*(tf.cast(value, tf.float32) for value in logs.values()), asked])

    @tf.function(reduce_retracing=True, autograph=False)
    def on_all(iterator: Any, asked: Any) -> Any:
        values = strategy.run(on_device, args=(next(iterator), asked))
        return strategy.reduce("MEAN", values, axis=None)

    def function(iterator: Any) -> dict[str, float]:
        asked = tf.constant(float(stopping.asked() is not None))
        *values, stop = on_all(iterator, asked).numpy().tolist()
        if stop:
            stopping.agree()
        return dict(zip(names, values, strict=True))

    return function

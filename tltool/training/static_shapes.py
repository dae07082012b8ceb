"""Training on batches of few shapes, each of which is traced and compiled once.

A TPU computes with fixed shapes alone, and compiling one takes it up to a minute. So texts
are padded to few widths and incomplete batches are completed with rows that are
there already, whose weights are 0 (`tltool.data.batches`). Here such rows are kept out of
losses and metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tltool.recipe.schema import TrainingSection
from tltool.tasks.losses.in_keras import rows_that_count


def has_static_shapes(training: TrainingSection, strategy: tf.distribute.Strategy) -> bool:
    """Whether `training.static_shapes` asks for few shapes on these devices."""
    if training.static_shapes == "auto":
        return isinstance(strategy, tf.distribute.TPUStrategy)
    return training.static_shapes == "always"


def is_static(dataset: tf.data.Dataset) -> bool:
    """Whether all batches have one shape that is known."""
    specs = tf.nest.flatten(dataset.element_spec)
    return all(spec.shape.is_fully_defined() for spec in specs)


class StaticModel(keras.Model):
    """A functional model whose steps leave out the rows of a batch that have no weight.

    Losses and metrics are those of the other rows alone, on any number of devices: the
    loss of a step is the mean over the rows that count of all devices, and an epoch's is
    the mean over its rows. Moving averages of BatchNorm layers that train take all
    rows of a batch, those that complete it too.
    """

    train_function: Any
    test_function: Any
    by_shape = True
    """Whether a step is traced for each shape; else once, where all batches have one."""
    _own_mean = False

    def compile(self, *, loss: keras.losses.Loss, metrics: Any, **options: Any) -> None:
        """See Keras; metrics get weights of 0 and 1."""
        # Such a loss divides by the weights of the rows it got, others by their number.
        self._own_mean = loss.reduction == "mean_with_sample_weight"
        super().compile(loss=loss, weighted_metrics=metrics, **options)

    def train_step(self, data: Any) -> Any:
        """One update; see Keras."""
        with tf.GradientTape() as tape:
            found, loss, share = self._loss_of(data, training=True)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._measured(data, found, loss, share)

    def test_step(self, data: Any) -> Any:
        """One step of validation; see Keras."""
        return self._measured(data, *self._loss_of(data, training=False))

    def make_train_function(self, force: bool = False) -> None:
        """See Keras."""
        if not self.by_shape:
            super().make_train_function(force)
        elif force or self.train_function is None:
            self.train_function = self._traced_by_shape(self.train_step)

    def make_test_function(self, force: bool = False) -> None:
        """See Keras."""
        if not self.by_shape:
            super().make_test_function(force)
        elif force or self.test_function is None:
            self.test_function = self._traced_by_shape(self.test_step)

    def _traced_by_shape(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        strategy = self.distribute_strategy

        def one(data: Any) -> Any:
            logs = strategy.run(step, args=(data,))
            return tf.nest.map_structure(lambda log: strategy.reduce("MEAN", log, axis=None), logs)

        # Keras would relax the shapes after the second.
        traced = tf.function(one, jit_compile=self.jit_compile or None, autograph=False)

        def steps(iterator: Any) -> Any:
            logs = traced(next(iterator))
            for _, data in zip(range(1, self.steps_per_execution), iterator, strict=False):
                logs = traced(data)
            return logs

        return steps

    def _loss_of(self, data: Any, *, training: bool) -> tuple[Any, Any, Any]:
        """Raw outputs, this device's part of the loss, and its part of the rows that count."""
        x, y, weights = data
        counted = rows_that_count(weights)
        here, devices = tf.reduce_sum(counted), self.distribute_strategy.num_replicas_in_sync
        together = here
        if devices > 1:
            together = tf.distribute.get_replica_context().all_reduce("SUM", here)
        found = self(x, training=training)
        loss = self.compute_loss(x=x, y=y, y_pred=found, sample_weight=weights, training=training)
        rows = here if self._own_mean else tf.cast(tf.size(counted), tf.float32)
        share = together / devices
        return found, loss * tf.math.divide_no_nan(rows, share), share

    def _measured(self, data: Any, found: Any, loss: Any, share: Any) -> Any:
        x, y, weights = data
        devices = self.distribute_strategy.num_replicas_in_sync
        self.metrics[0].update_state(loss * devices, sample_weight=share)
        return self.compute_metrics(x, y, found, sample_weight=rows_that_count(weights))

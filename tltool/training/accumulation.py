"""Updates of more rows than fit into memory at once: their gradient is taken part by part.

A batch of the dataset is what one update is of, and is divided within the step. So the order of
rows, the learning rate's steps, the last, smaller update of an epoch and checkpoints between two
updates are those of the large batch, and so is the gradient but for rounding: each part's loss
counts by what the large batch's mean would have counted it. What looks at the rows of a batch
together is another thing in parts: BatchNorm layers that train, and losses that compare rows,
which are refused.

Keras' optimizers can accumulate too (`gradient_accumulation_steps`): there the last group of an
epoch runs on into the next one, all batches count the same, and it fails on several devices.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tltool.support.errors import PlanError
from tltool.tasks.losses.in_keras import ComparingLoss

_FIELD = "training.gradient_accumulation_steps"


def check_loss(loss: keras.losses.Loss) -> None:
    """Raises PlanError for a loss of a batch that is no mean of those of its parts."""
    means = {"sum_over_batch_size", "mean", "mean_with_sample_weight"}
    if isinstance(loss, ComparingLoss) or getattr(loss, "reduction", None) not in means:
        raise PlanError(
            f"{_FIELD}: the loss {loss.name!r} is of a batch as a whole, and can't be taken in "
            "parts.",
            hint="Use a larger training.batch_size, and 1 here.",
        )


class AccumulatingModel(keras.Model):
    """A functional model that takes the gradient of each batch in parts, and then updates once."""

    parts = 2
    """Parts of a full batch; of a smaller one as many or fewer, each at most as large."""
    _loss_function: Any = None

    def compile(self, *, loss: keras.losses.Loss, **options: Any) -> None:
        """See Keras.

        Raises:
            PlanError: The loss can't be taken in parts.
        """
        check_loss(loss)
        self._loss_function = loss
        super().compile(loss=loss, **options)

    def train_step(self, data: Any) -> Any:
        """One update; see Keras."""
        rows = tf.shape(tf.nest.flatten(data)[0])[0]
        size = -(-rows // self.parts)
        number = -(-rows // size)

        def part(place: Any) -> Any:
            begin = place * size
            return tf.nest.map_structure(lambda tensor: tensor[begin : begin + size], data)

        # Outside the loop the first part makes what Keras makes when it sees a batch, and tells
        # which weights have gradients.
        loss, weight, gradients = self._of_part(part(0))
        learnt = [place for place, one in enumerate(gradients) if one is not None]
        sums = [tf.convert_to_tensor(gradients[place]) for place in learnt]

        def add(place: Any, loss: Any, weight: Any, *sums: Any) -> Any:
            more_loss, more_weight, more = self._of_part(part(place))
            added = [one + more[i] for one, i in zip(sums, learnt, strict=True)]
            return place + 1, loss + more_loss, weight + more_weight, *added

        _, loss, weight, *sums = tf.while_loop(
            lambda place, *_: place < number,
            add,
            (1, loss, weight, *sums),
            parallel_iterations=1,
        )
        for place, total in zip(learnt, sums, strict=True):
            gradients[place] = tf.math.divide_no_nan(total, tf.cast(weight, total.dtype))
        devices = self.distribute_strategy.num_replicas_in_sync
        mean = tf.math.divide_no_nan(loss, weight)
        self.metrics[0].update_state(mean * devices, sample_weight=rows)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self.get_metrics_result()

    def _of_part(self, data: Any) -> tuple[Any, Any, list[Any]]:
        """Loss and gradients of some rows, times what they count, and that."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            found = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=found, sample_weight=weights, training=True)
            counts = tf.cast(self._count(y, found, weights), loss.dtype)
            scaled = self.optimizer.scale_loss(loss * counts)
        gradients = tape.gradient(scaled, self.trainable_weights)
        self.compute_metrics(x, y, found, sample_weight=weights)
        return loss * counts, counts, gradients

    def _count(self, y: Any, found: Any, weights: Any) -> Any:
        """What the loss of some rows is a mean over, in the units of the whole batch's mean."""
        loss = self._loss_function
        if hasattr(loss, "count"):
            return loss.count(y, found, weights)
        if loss.reduction == "mean_with_sample_weight" and weights is not None:
            return tf.reduce_sum(weights)
        return tf.shape(found)[0]

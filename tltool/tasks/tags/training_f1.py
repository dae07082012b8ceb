"""Metrics that are shown while a model of tags trains, in TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tltool.tasks.losses.in_keras import where_counted
from tltool.tasks.tags.schemes import prefix_of

_OUTSIDE = -2


class TagF1(keras.metrics.Metric):
    """The F1 of entities, each word with its most probable tag; of plain classes the accuracy.

    Entities are found as seqeval's default mode finds them. `evaluate` gives other
    figures, since it takes the most probable sequence that makes sense.

    Args:
        labels: The tags in the order of the outputs.
        entities: Whether they are IOB2.
        name: In histories.
    """

    def __init__(self, labels: Sequence[str], *, entities: bool, name: str = "f1") -> None:
        super().__init__(name=name)
        pairs = [prefix_of(label) for label in labels]
        types = sorted({kind for prefix, kind in pairs if prefix})
        # 0 is outside of all entities.
        self._types = [types.index(kind) + 1 if prefix else 0 for prefix, kind in pairs]
        self._begins = [prefix == "B" for prefix, _ in pairs]
        self._entities = entities
        self._counts = self.add_weight(shape=(3,), initializer="zeros", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts class numbers (n, places), -1 for none, and logits (n, places, classes)."""
        y_true = tf.cast(y_true, tf.int32)
        if sample_weight is not None:
            y_true = where_counted(y_true, sample_weight, -1)
        # A place that is outside ends each row, so that no entity goes on in the next.
        end = tf.fill([tf.shape(y_true)[0], 1], _OUTSIDE)
        truth = tf.reshape(tf.concat([y_true, end], 1), [-1])
        given = tf.reshape(tf.concat([tf.argmax(y_pred, -1, tf.int32), end], 1), [-1])
        # What is left out comes last, as if it were outside: so no shape depends on values.
        left_out = tf.equal(truth, -1)
        order = tf.argsort(tf.cast(left_out, tf.int32), stable=True)
        truth, given = (
            tf.gather(tf.where(left_out, _OUTSIDE, tags), order) for tags in (truth, given)
        )
        found = self._entities_in(truth, given) if self._entities else self._words(truth, given)
        self._counts.assign_add(tf.cast(tf.stack(found), tf.float32))

    def result(self) -> Any:
        """2 · right / (given + true)."""
        return 2 * self._counts[0] / tf.maximum(self._counts[1] + self._counts[2], 1.0)

    def reset_state(self) -> None:
        """Counts from 0."""
        self._counts.assign(tf.zeros(3))

    def _words(self, truth: Any, given: Any) -> list[Any]:
        real = tf.cast(truth >= 0, tf.int32)
        same = real * tf.cast(tf.equal(truth, given), tf.int32)
        total = tf.reduce_sum(real)
        return [tf.reduce_sum(same), total, total]

    def _entities_in(self, truth: Any, given: Any) -> list[Any]:
        one, other = self._parts(truth), self._parts(given)
        (begins, goes_on, kind), (begun, gone_on, other_kind) = one, other
        alike = begins & begun & tf.equal(kind, other_kind)
        # A true entity is found if what goes on after its begin does so in both, to the next
        # place where nothing goes on.
        groups = tf.cumsum(tf.cast(~goes_on, tf.int32))
        count = tf.size(groups) + 2
        differ = tf.cast(~tf.equal(goes_on, gone_on), tf.int32)
        inner = tf.math.unsorted_segment_sum(differ * tf.cast(goes_on, tf.int32), groups, count)
        head = tf.math.unsorted_segment_sum(differ * tf.cast(~goes_on, tf.int32), groups, count)
        wrong = tf.gather(inner, groups) + tf.gather(head, groups + 1)
        right = alike & tf.equal(wrong, 0)
        return [tf.math.count_nonzero(part, dtype=tf.int32) for part in (right, begun, begins)]

    def _parts(self, tags: Any) -> tuple[Any, Any, Any]:
        """Where entities begin, where they go on, and the type of each place."""
        inside = tags >= 0
        kind = tf.where(inside, tf.gather(self._types, tf.maximum(tags, 0)), 0)
        marked = inside & tf.gather(self._begins, tf.maximum(tags, 0))
        before = tf.concat([[0], kind[:-1]], 0)
        begins = (kind > 0) & (marked | ~tf.equal(kind, before))
        return begins, (kind > 0) & ~begins, kind

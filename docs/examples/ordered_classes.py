"""A kind of target of your own: classes with an order, small < medium < large.

    tltool finetune my_images data.train=photos/ target=ordered_classes:OrderedClasses --trust

A model that takes large for small is more wrong than one that takes it for medium. So the
model learns one question between each two neighbours, "is it above this one?", each with a logit
of its own (cumulative logits; Frank and Hall 2001, "A Simple Approach to Ordinal Classification").
Everything else is what `tltool.ClassTarget` does: reading labels, splits, metrics, reports,
exports, the gate, the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import tltool
from tltool.tasks.losses.in_numpy import RowLoss, Sigmoid
from tltool.tasks.target import Refusal

ORDER = ("small", "medium", "large")


@tltool.register_target("ordered")
@dataclass(frozen=True)
class OrderedClasses(tltool.ClassTarget):
    """One of several classes that have an order."""

    refused: ClassVar = {
        **tltool.ClassTarget.refused,
        "training.label_smoothing": Refusal("is not for ordered classes", "use 0"),
        "training.focal_gamma": Refusal("is not for ordered classes", "use 0"),
        "augment.mixing": Refusal("mixes classes, but these have an order", "leave it out"),
    }

    @classmethod
    def fit(cls, targets: Sequence[str], names: Sequence[str] = ()) -> OrderedClasses:
        """The classes in the order of `ORDER`."""
        found = super().fit(targets, names).labels
        if strange := sorted(set(found) - set(ORDER)):
            raise tltool.DataError(f"These labels have no place in the order: {strange}.")
        return cls(labels=tuple(label for label in ORDER if label in found))

    @property
    def num_outputs(self) -> int:
        """One logit between each two neighbours."""
        return len(self.labels) - 1

    def encode(self, truth: np.ndarray) -> np.ndarray:
        """1 for every question whose answer is "above": large is 1 1, medium 1 0, small 0 0."""
        return (truth[:, None] > np.arange(self.num_outputs)).astype("float32")

    def class_numbers(self, encoded: np.ndarray) -> np.ndarray:
        """The classes that were encoded."""
        return encoded.sum(axis=1).astype("int64")

    @property
    def row_loss(self) -> RowLoss:
        """Each question by itself: what the exact solver and the head search minimise."""
        return Sigmoid()

    def loss(self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> Any:
        """The same in Keras."""
        import keras

        return keras.losses.BinaryCrossentropy(from_logits=True)

    def training_metrics(self) -> list[Any]:
        """How many rows are right: as many questions answered "above" as should be."""
        import keras
        from keras import ops

        def right(truth: Any, raw: Any) -> Any:
            above = ops.sum(ops.cast(raw > 0, "float32"), axis=-1)
            return ops.cast(above == ops.sum(truth, axis=-1), "float32")

        return [keras.metrics.MeanMetricWrapper(right, name="accuracy")]

    def outputs(self, raw: Any) -> Any:
        """Probabilities (n, classes): differences of those to be above each class."""
        from keras import ops

        above = ops.sigmoid(ops.cast(raw, "float32"))
        columns = [ops.ones_like(above[:, :1])]
        for number in range(self.num_outputs):
            # Who is above large is above medium too.
            columns.append(ops.minimum(columns[-1], above[:, number : number + 1]))
        columns.append(ops.zeros_like(columns[0]))
        edges = ops.concatenate(columns, axis=1)
        return edges[:, :-1] - edges[:, 1:]

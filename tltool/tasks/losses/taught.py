"""Learning from labels and from what a teacher says: knowledge distillation.

The loss of a row is that of Hinton et al. 2015 (arXiv:1503.02531, section 2): with the own loss L
of a kind of target, raw outputs z, the encoded label y, the weight w and the temperature T,

    (1 - w) L(y, z) + w T^2 L(t, z / T)

where t is what the teacher says at that temperature (`Target.softened`). Of classes the second part
is the Kullback-Leibler divergence from the teacher but for the teacher's entropy, which no weight
changes; T^2 keeps its gradient as large whatever the temperature. Of numbers T is 1, and both parts
together are, but for a constant, the squared error from the mean of label and teacher.

Targets that a teacher's are joined to are (n, 2 outputs + 1): the label, what the teacher says,
and 1 where there is a label. Where there is none (0), what the teacher says at temperature 1 stands
in its place, so that the row learns from the teacher alone. Targets of validation rows are
(n, outputs) as ever: the loss of these, and metrics, are of labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from tltool.tasks.losses.in_numpy import RowLoss

    Array = np.ndarray[Any, Any]


def is_taught(targets: Any, outputs: int) -> bool:
    """Whether a teacher's are joined to targets of so many outputs."""
    return int(targets.shape[-1]) != outputs


def parts(targets: Any, outputs: int) -> tuple[Any, Any, Any]:
    """Labels (n, outputs), what the teacher says, likewise, and whether there is a label (n,)."""
    return targets[:, :outputs], targets[:, outputs : 2 * outputs], targets[:, 2 * outputs]


@dataclass(frozen=True)
class Teaching:
    """How much and how softly a teacher is listened to.

    Attributes:
        weight: w above, in (0, 1].
        temperature: T above.
    """

    weight: float
    temperature: float

    def loss(self, labels: keras.losses.Loss, plain: keras.losses.Loss) -> keras.losses.Loss:
        """The training loss.

        Args:
            labels: The loss of labels, as a recipe sets it.
            plain: The same without smoothing and the like, for the teacher's part.
        """
        return TaughtLoss(labels, plain, self.weight, self.temperature)

    def metrics(self, metrics: Sequence[keras.metrics.Metric]) -> list[keras.metrics.Metric]:
        """Metrics of labels alone."""
        return [OfLabels(metric) for metric in metrics]

    def row_loss(self, plain: RowLoss) -> RowLoss:
        """The loss for solvers, of what `solved` gives; least squares stay as they are."""
        return plain if plain.closed_form else TaughtRows(plain, self.weight, self.temperature)

    def solved(self, targets: Array, outputs: int, plain: RowLoss) -> Array:
        """Targets for `row_loss`: of least squares the mean of label and teacher."""
        if not plain.closed_form:
            return targets
        labels, said, _ = parts(targets, outputs)
        mean: Array = (1 - self.weight) * labels + self.weight * said
        return mean.astype(np.float32)


@keras.saving.register_keras_serializable(package="tltool")
class TaughtLoss(keras.losses.Loss):
    """The loss above; of targets without a teacher that of labels.

    Args:
        labels: L of labels.
        plain: L of what the teacher says.
        weight: w.
        temperature: T.
    """

    def __init__(
        self,
        labels: keras.losses.Loss,
        plain: keras.losses.Loss,
        weight: float,
        temperature: float,
        name: str = "taught",
        reduction: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction or labels.reduction, dtype=dtype)
        self.labels, self.plain = labels, plain
        self.weight, self.temperature = weight, temperature

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch, a scalar; see Keras.

        Args:
            y_true: Targets (n, outputs) or (n, 2 outputs + 1).
            y_pred: Raw outputs (n, outputs).
            sample_weight: Of rows (n,), or of their outputs where the loss of labels takes those.
        """
        outputs = int(y_pred.shape[-1])
        if not is_taught(y_true, outputs):
            return self.labels(y_true, y_pred, sample_weight)
        labels, said, _ = parts(y_true, outputs)
        own = self.labels(labels, y_pred, sample_weight)
        taught = self.plain(said, y_pred / self.temperature, sample_weight)
        return (1 - self.weight) * own + self.weight * self.temperature**2 * taught

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """As `__call__`, without weights."""
        return self(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {
            **super().get_config(),
            "labels": keras.saving.serialize_keras_object(self.labels),
            "plain": keras.saving.serialize_keras_object(self.plain),
            "weight": self.weight,
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TaughtLoss:
        """See Keras."""
        inner = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("labels", "plain")
        }
        return cls(**{**config, **inner})


class OfLabels(keras.metrics.Metric):
    """A metric of the rows that have labels, and of what these are.

    Args:
        metric: Of labels and raw outputs.
    """

    def __init__(self, metric: keras.metrics.Metric) -> None:
        super().__init__(name=metric.name, dtype=metric.dtype)
        self._metric = metric

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """See Keras; targets as `TaughtLoss` takes them."""
        outputs = int(y_pred.shape[-1])
        if is_taught(y_true, outputs):
            y_true, _, labelled = parts(y_true, outputs)
            sample_weight = labelled if sample_weight is None else sample_weight * labelled
        self._metric.update_state(y_true, y_pred, sample_weight=sample_weight)

    def result(self) -> Any:
        """See Keras."""
        return self._metric.result()

    def reset_state(self) -> None:
        """See Keras."""
        self._metric.reset_state()


class TaughtRows:
    """The loss above in NumPy, row by row; of targets without a teacher that of labels.

    Args:
        plain: L, without smoothing: targets are smoothed where they are to be.
        weight: w.
        temperature: T.
    """

    closed_form = False

    def __init__(self, plain: RowLoss, weight: float, temperature: float) -> None:
        self.plain, self.weight, self.temperature = plain, weight, temperature

    def values(self, outputs: Array, targets: Array) -> Array:
        """See `RowLoss`."""
        if not is_taught(targets, outputs.shape[1]):
            return self.plain.values(outputs, targets)
        labels, said, _ = parts(targets, outputs.shape[1])
        own = self.plain.values(outputs, labels)
        taught = self.plain.values(outputs / self.temperature, said)
        losses: Array = (1 - self.weight) * own + self.weight * self.temperature**2 * taught
        return losses

    def gradient(self, outputs: Array, targets: Array) -> Array:
        """See `RowLoss`."""
        if not is_taught(targets, outputs.shape[1]):
            return self.plain.gradient(outputs, targets)
        labels, said, _ = parts(targets, outputs.shape[1])
        own = self.plain.gradient(outputs, labels)
        taught = self.plain.gradient(outputs / self.temperature, said)
        gradient: Array = (1 - self.weight) * own + self.weight * self.temperature * taught
        return gradient

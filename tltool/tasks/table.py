"""The tasks tltool can train, as one table: modality, target, loss, metrics, output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

Modality = Literal["image", "text"]
Kind = Literal["classification", "regression"]


@dataclass(frozen=True)
class TaskSpec:
    """A row of `TASKS`.

    Attributes:
        name: As written in a recipe.
        modality: What goes in.
        kind: What comes out: one of several classes, or one number.
        metric: Key in the metrics report that summarises a model.
    """

    name: str
    modality: Modality
    kind: Kind
    metric: str


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec("image-classification", "image", "classification", "accuracy"),
        TaskSpec("text-classification", "text", "classification", "accuracy"),
        TaskSpec("image-regression", "image", "regression", "mae"),
        TaskSpec("text-regression", "text", "regression", "mae"),
    )
}


@dataclass(frozen=True)
class Task:
    """A task on particular data: a row of `TASKS` with its labels or its target scale.

    Attributes:
        spec: The row of `TASKS`.
        labels: Class names in the order of the model's outputs; empty for regression.
        target_mean, target_std: Mean and standard deviation of the training
            targets (regression): the model is trained on `(y - mean) / std`.
    """

    spec: TaskSpec
    labels: tuple[str, ...] = ()
    target_mean: float = 0.0
    target_std: float = 1.0

    @property
    def num_outputs(self) -> int:
        """Width of the model's output: one logit a class, or one number."""
        return len(self.labels) if self.spec.kind == "classification" else 1

    def outputs(self, raw: Any) -> Any:
        """Turns the model's raw outputs (batch, num_outputs) into what a user reads.

        Classification: logits to probabilities (softmax). Regression: back to
        the target's own units. Works on NumPy arrays and on backend tensors.
        """
        from keras import ops

        raw = ops.cast(raw, "float32")
        if self.spec.kind == "classification":
            return ops.softmax(raw, axis=-1)
        return raw * self.target_std + self.target_mean

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """The training loss on raw outputs and encoded targets (one-hot or standardised)."""
        import keras

        if self.spec.kind == "classification":
            return keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=label_smoothing
            )
        return keras.losses.MeanSquaredError()

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """The metrics shown while training; the full report comes from evaluation."""
        import keras

        if self.spec.kind == "classification":
            return [keras.metrics.CategoricalAccuracy(name="accuracy")]
        return [keras.metrics.MeanAbsoluteError(name="mae")]

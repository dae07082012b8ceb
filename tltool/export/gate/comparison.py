"""Compares what an artifact said with what the trained model says on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tltool.data.examples import Examples
from tltool.evaluation.evaluate import evaluate_outputs
from tltool.export.gate.report import ClassChange, MetricChange, WorstRow
from tltool.export.gate.tolerance import Tolerance
from tltool.tasks.table import Task

Array = np.ndarray[Any, Any]
WORST_ROWS = 5
# Top classes this close in probability count as tied.
TIE = 2e-4
# Below this a probability says no more about its logit: float32 ends near 1e-38.
SMALLEST = 1e-30
# Of shares: 1 - 59/60 is more than 1/60.
ROUNDING = 1e-9
# The logits of a model that has learnt nothing have no range to compare with.
NARROWEST = 1e-3


@dataclass(frozen=True)
class Comparison:
    """Both models' outputs on the same rows.

    Attributes:
        task: Labels or target scale.
        examples: The rows.
        expected, received: The trained model's and the artifact's outputs:
            probabilities (n, classes), or numbers (n,) in the target's units.
        names: The best class of each row as the artifact names it; empty for regression.
    """

    task: Task
    examples: Examples
    expected: Array
    received: Array
    names: list[str]

    @cached_property
    def spread(self) -> float:
        """Largest change of any output between two of the rows."""
        return float(np.ptp(self.expected, axis=0).max() / self._unit)

    @cached_property
    def differences(self) -> Array:
        """Of every output, (n, outputs)."""
        rows = len(self.examples)
        return np.abs(self.received - self.expected).reshape(rows, -1) / self._unit

    @property
    def _unit(self) -> float:
        return 1.0 if self.task.labels else self.task.target_std

    @cached_property
    def logit_difference(self) -> float | None:
        """The largest, as a share of the widest range of logits in a row; None for regression.

        The logarithm of a softmax is its logits but for one constant a row.
        """
        if not self.task.labels:
            return None
        expected, received = (
            np.log(np.maximum(p, SMALLEST, dtype=np.float64))
            for p in (self.expected, self.received)
        )
        widest = float(np.ptp(expected, axis=1).max())
        return float(np.abs(received - expected).max() / max(widest, NARROWEST))

    @cached_property
    def agreement(self) -> float | None:
        """Share of the rows with the same top class; None for regression."""
        return float(self.same_class.mean()) if self.task.labels else None

    @cached_property
    def same_class(self) -> Array:
        """Where the artifact names the trained model's top class or one tied with it."""
        if not self.task.labels:
            return np.ones(len(self.expected), bool)
        index = {label: i for i, label in enumerate(self.task.labels)}
        pairs = zip(self.expected, self.names, strict=True)
        return np.array([n in index and row[index[n]] >= row.max() - TIE for row, n in pairs])

    @cached_property
    def metric(self) -> MetricChange | None:
        """The task's metric of both; None where a row has no label or an output is no number."""
        outputs = np.stack([self.expected, self.received])
        if None in self.examples.targets or not np.isfinite(outputs).all():
            return None
        model, artifact = (
            evaluate_outputs(self._scores(outputs), self.examples, self.task).metrics
            for outputs in (self.expected, self.received)
        )
        name = self.task.spec.metric
        interval = artifact[f"{name}_interval"]
        change = artifact[name] - model[name]
        return MetricChange(
            name=name,
            model=model[name],
            artifact=artifact[name],
            interval=None if interval is None else tuple(interval),
            drop=-change if self.task.labels else change / self.task.target_std,
            model_calibration_error=model.get("calibration_error"),
            calibration_error=artifact.get("calibration_error"),
            classes=_classes(model, artifact) if self.task.labels else (),
        )

    def _scores(self, outputs: Array) -> Array:
        """Probabilities that add up to 1: those of 8 bits are rounded one by one."""
        if not self.task.labels:
            return outputs
        positive = np.maximum(outputs, SMALLEST)
        scaled: Array = positive / positive.sum(axis=1, keepdims=True)
        return scaled

    def worst(self) -> tuple[WorstRow, ...]:
        """Rows with another class first, then by difference."""
        per_row = self.differences.max(axis=1)
        badness = np.nan_to_num(per_row, nan=np.inf) + ~self.same_class
        return tuple(
            WorstRow(
                origin=self.examples.origins[row],
                difference=float(per_row[row]),
                expected=self._shown(self.expected[row], None),
                received=self._shown(self.received[row], self.names[row] if self.names else None),
            )
            for row in np.argsort(-badness, kind="stable")[:WORST_ROWS]
        )

    def _shown(self, output: Array, name: str | None) -> str:
        """One row's output in a few characters."""
        if not self.task.labels:
            return f"{output:.6g}"
        return f"{name or self.task.labels[output.argmax()]} {output.max():.4f}"


def breaches(comparison: Comparison, tolerance: Tolerance) -> Iterator[str]:
    """The limits that are broken, in words; see `Tolerance` for what one row may do."""
    rows, largest = len(comparison.examples), float(comparison.differences.max())
    # Written so that a difference that is not a number is a breach.
    if not largest <= tolerance.max_difference:
        yield f"largest difference {largest:.2g}, allowed {tolerance.max_difference:.2g}"
    logits, limit = comparison.logit_difference, tolerance.max_logit_difference
    if logits is not None and limit is not None and not logits <= limit:
        yield f"logits differ by {logits:.2g} of their range, allowed {limit:.2g}"
    agreement, share = comparison.agreement, tolerance.min_agreement
    if agreement is not None and agreement < min(share, 1 if share == 1 else 1 - 1 / rows):
        yield f"same top class for {agreement:.1%} of the rows, at least {share:.1%} needed"
    metric = comparison.metric
    if metric is None:
        return
    grace = 1 / rows if metric.classes else 0.0
    if metric.drop > max(tolerance.max_metric_drop, grace) + ROUNDING:
        rise = "falls" if metric.classes else "rises"
        unit = "" if metric.classes else " standard deviations"
        yield (
            f"{metric.name} {rise} by {metric.drop:.3g}{unit}, "
            f"allowed {tolerance.max_metric_drop:.3g}"
        )
    for change in metric.classes:
        lost = change.model - change.artifact
        if lost > max(tolerance.max_class_drop, 2 / change.rows) + ROUNDING:
            yield (
                f"recall of {change.label} falls by {lost:.2f} ({change.model:.2f} to "
                f"{change.artifact:.2f}), allowed {tolerance.max_class_drop:.2f}"
            )


def _classes(model: Any, artifact: Any) -> tuple[ClassChange, ...]:
    pairs = zip(model["per_class"], artifact["per_class"], strict=True)
    changes = [
        ClassChange(before["label"], before["support"], before["recall"], after["recall"])
        for before, after in pairs
        if before["support"]
    ]
    return tuple(sorted(changes, key=lambda change: change.artifact - change.model))

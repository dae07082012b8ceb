"""Compares what an artifact said with what the trained model says on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tltool.data.examples import Examples
from tltool.export.gate.report import Acceptance, ClassChange, MetricChange, WorstRow
from tltool.export.gate.tolerance import Tolerance
from tltool.tasks.metrics.common import sign_test_p
from tltool.tasks.table import Task

Array = np.ndarray[Any, Any]
WORST_ROWS = 5
LUCK = 0.05
"""A fall of the accuracy that luck makes more often than this is no breach."""
# Of shares: 1 - 59/60 is more than 1/60.
ROUNDING = 1e-9
# The logits of a model that has learnt nothing have no range to compare with.
NARROWEST = 1e-3


@dataclass(frozen=True)
class Comparison:
    """Both models' outputs on the same rows.

    Attributes:
        task: With its target.
        examples: The rows.
        expected, received: The trained model's and the artifact's outputs, as
            `Task.outputs` gives them.
        names: What the artifact names for each row; empty for numbers.
    """

    task: Task
    examples: Examples
    expected: Array
    received: Array
    names: list[Any]

    @cached_property
    def spread(self) -> float:
        """Largest change of any output between two of the rows."""
        return self.task.target.range_of(self.expected)

    @cached_property
    def differences(self) -> Array:
        """Of every output, (n, outputs)."""
        return self.task.target.differences(self.expected, self.received)

    @cached_property
    def logit_difference(self) -> float | None:
        """The largest, as a share of the widest range of logits in a row; None for numbers."""
        expected, received = map(self.task.target.log_odds, (self.expected, self.received))
        if expected is None or received is None:
            return None
        widest = float(np.ptp(expected, axis=1).max())
        return float(np.abs(received - expected).max() / max(widest, NARROWEST))

    @cached_property
    def agreement(self) -> float | None:
        """Share of the rows with the same answer; None for numbers."""
        return None if self._agrees is None else float(self._agrees.mean())

    @cached_property
    def _agrees(self) -> Array | None:
        return self.task.target.agrees(self.expected, self.names)

    @cached_property
    def acceptance(self) -> Acceptance | None:
        """How many rows both know; None where the model does not say."""
        both = map(self.task.target.accepted, (self.expected, self.received))
        model, artifact = both
        if model is None or artifact is None:
            return None
        same = float((model == artifact).mean())
        return Acceptance(float(model.mean()), float(artifact.mean()), same)

    @cached_property
    def metric(self) -> MetricChange | None:
        """The task's metric of both.

        None where a row has no target, an output is no number, or no row has
        what the metric is of.
        """
        both, target = (self.expected, self.received), self.task.target
        if None in self.examples.targets or not all(target.finite(one).all() for one in both):
            return None
        truth = target.truth(self.examples.targets, self.examples.origins)
        outputs = [target.comparable(one) for one in both]
        model, artifact = (target.metrics(one, truth) for one in outputs)
        name = target.headline().key
        if model[name] is None or artifact[name] is None:
            return None
        interval = artifact[f"{name}_interval"]
        return MetricChange(
            name=name,
            model=model[name],
            artifact=artifact[name],
            interval=None if interval is None else tuple(interval),
            drop=target.drop(model, artifact),
            grace=target.grace(len(self.examples)),
            p=_p_of_loss(*(target.right(one, truth) for one in outputs)),
            model_calibration_error=model.get("calibration_error"),
            calibration_error=artifact.get("calibration_error"),
            classes=_classes(model, artifact),
        )

    def worst(self) -> tuple[WorstRow, ...]:
        """Rows with another answer first, then by difference."""
        brief, names = self.task.target.brief, self.names
        per_row = self.differences.max(axis=1)
        badness = np.nan_to_num(per_row, nan=np.inf)
        if self._agrees is not None:
            badness += 1 - self._agrees
        return tuple(
            WorstRow(
                origin=self.examples.origins[row],
                difference=float(per_row[row]),
                expected=brief(self.expected[row]),
                received=brief(self.received[row], names[row] if names else None),
            )
            for row in np.argsort(-badness, kind="stable")[:WORST_ROWS]
        )


def _p_of_loss(before: Array | None, after: Array | None) -> float | None:
    """How often luck makes as many of the rows that changed wrong: McNemar's exact test, one-sided.

    None where rows are not right or wrong.
    """
    if before is None or after is None:
        return None
    return sign_test_p(int((before & ~after).sum()), int((after & ~before).sum()))


def breaches(comparison: Comparison, tolerance: Tolerance) -> Iterator[str]:
    """The limits that are broken, in words; see `Tolerance` for what one row may do."""
    rows, largest = len(comparison.examples), float(comparison.differences.max())
    target = comparison.task.target
    # Written so that a difference that is not a number is a breach.
    if not largest <= tolerance.max_difference:
        yield f"largest difference {largest:.2g}, allowed {tolerance.max_difference:.2g}"
    logits, limit = comparison.logit_difference, tolerance.max_logit_difference
    if logits is not None and limit is not None and not logits <= limit:
        yield f"logits differ by {logits:.2g} of their range, allowed {limit:.2g}"
    agreement, share = comparison.agreement, tolerance.min_agreement
    if agreement is not None and agreement < min(share, 1 if share == 1 else 1 - 1 / rows):
        yield f"{target.same_answer} for {agreement:.1%} of the rows, at least {share:.1%} needed"
    yield from _acceptance_breaches(comparison, tolerance)
    metric = comparison.metric
    if metric is None:
        return
    by_luck = metric.p is not None and metric.p > LUCK
    if metric.drop > max(tolerance.max_metric_drop, metric.grace) + ROUNDING and not by_luck:
        rise = "falls" if target.headline().higher_is_better else "rises"
        yield (
            f"{metric.name} {rise} by {metric.drop:.3g}{target.drop_unit}, "
            f"allowed {tolerance.max_metric_drop:.3g}"
        )
    for change in metric.classes:
        lost = change.model - change.artifact
        if lost > max(tolerance.max_class_drop, 2 / change.rows) + ROUNDING:
            yield (
                f"recall of {change.label} falls by {lost:.2f} ({change.model:.2f} to "
                f"{change.artifact:.2f}), allowed {tolerance.max_class_drop:.2f}"
            )


def _acceptance_breaches(comparison: Comparison, tolerance: Tolerance) -> Iterator[str]:
    """As many rows must be accepted as by the model, but for what the headline may fall by.

    Two rows are never a breach: by its choice the threshold lies among the rows.
    """
    found = comparison.acceptance
    if found is None:
        return
    allowed = max(tolerance.max_metric_drop, 2 / len(comparison.examples))
    if abs(found.artifact - found.model) > allowed + ROUNDING:
        yield (
            f"{found.artifact:.1%} of the rows are accepted, {found.model:.1%} by the trained "
            f"model; allowed is a difference of {allowed:.1%}"
        )


def _classes(model: Any, artifact: Any) -> tuple[ClassChange, ...]:
    pairs = zip(model.get("per_class", ()), artifact.get("per_class", ()), strict=True)
    changes = [
        ClassChange(before["label"], before["support"], before["recall"], after["recall"])
        for before, after in pairs
        if before["support"]
    ]
    return tuple(sorted(changes, key=lambda change: change.artifact - change.model))

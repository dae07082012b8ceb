"""What the gate found of one artifact: figures, limits, breaches; as JSON, text and Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tltool.export.formats.kept_float import KeptFloat
from tltool.export.gate.tolerance import Tolerance
from tltool.recipe.export_section import LiteRTPrecision
from tltool.report.wording import markdown, table
from tltool.support.files import size_text

GATE_FILE = "gate.json"
GATE_PAGE = "gate.md"


@dataclass(frozen=True)
class WorstRow:
    """A row where the artifact is far off: its origin and both outputs."""

    origin: str
    difference: float
    expected: str
    received: str


@dataclass(frozen=True)
class ClassChange:
    """The recall of one class, of the trained model and of the artifact, on `rows` rows."""

    label: str
    rows: int
    model: float
    artifact: float


@dataclass(frozen=True)
class MetricChange:
    """A metric of the artifact beside the trained model's, on the same labelled rows.

    Attributes:
        name: Key of the task's headline score.
        model, artifact: Its value, in its own unit.
        interval: 95 % of the artifact's; None where there is none.
        drop: How much worse the artifact is (negative: better): in shares, or
            in standard deviations of the training targets.
        grace: A drop that one row makes, which is never a breach.
        p: How often luck makes as many of the rows whose answer changed wrong; None where rows are
            not right or wrong.
        model_calibration_error, calibration_error: Expected calibration error
            (see `tltool.tasks.metrics`); None where there is none.
        classes: Those that have rows, the one that lost most first.
    """

    name: str
    model: float
    artifact: float
    interval: tuple[float, float] | None
    drop: float
    grace: float = 0.0
    p: float | None = None
    model_calibration_error: float | None = None
    calibration_error: float | None = None
    classes: tuple[ClassChange, ...] = ()


@dataclass(frozen=True)
class Acceptance:
    """Shares of the rows, of a model that says which inputs it knows.

    Attributes:
        model, artifact: Accepted by the trained model, and by the artifact.
        same: On which both decide alike.
    """

    model: float
    artifact: float
    same: float

    def __str__(self) -> str:
        both = f"{self.artifact:.1%} (trained model {self.model:.1%})"
        return f"{both}, {self.same:.1%} decided alike"


@dataclass(frozen=True)
class GateReport:
    """What comparing an artifact with the trained model gave.

    Attributes:
        artifact: File or folder name of the artifact.
        precision: Of its weights.
        size_bytes: Of the file, or of all files in the folder.
        rows: Held-out rows compared.
        max_difference, mean_difference: Of the probabilities, or of the
            predictions in standard deviations of the training targets.
        max_logit_difference: As in `Tolerance`; None for regression.
        agreement: Share of rows with the same answer by name (ties count as
            the same); None for numbers.
        same: What that compares, in words.
        unit: Of differences, in words with a space before it; empty for probabilities.
        metric: None where a row has no label.
        tolerance: What was allowed.
        spread: Largest change of any output between two of the rows. Where it
            is no larger than the tolerance the comparison proves nothing.
        breaches: The limits that were broken, in words.
        worst: The rows that differ most, worst first.
        kept_float: Of the precision "int8": the operators that compute in
            float and what that was decided by; None for other precisions.
        acceptance: How many rows both accept; None where the model accepts all.
    """

    artifact: str
    precision: LiteRTPrecision
    size_bytes: int
    rows: int
    max_difference: float
    mean_difference: float
    max_logit_difference: float | None
    agreement: float | None
    metric: MetricChange | None
    tolerance: Tolerance
    spread: float
    breaches: tuple[str, ...]
    worst: tuple[WorstRow, ...]
    kept_float: KeptFloat | None = None
    same: str = "same answer"
    unit: str = ""
    acceptance: Acceptance | None = None

    @property
    def passed(self) -> bool:
        """Whether the artifact is within the tolerance."""
        return not self.breaches

    @property
    def conclusive(self) -> bool:
        """Whether the rows differ enough for a wrong artifact to be noticed."""
        return self.spread > self.tolerance.max_difference

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; a difference that is not a number becomes null."""
        values = _without_nan(asdict(self))
        return values | {"passed": self.passed, "conclusive": self.conclusive}

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"{self.artifact} ({self.precision}): {verdict} on {self.rows} rows"]
        lines += [f"  {name:<19} {value}" for name, value in self._figures()]
        if not self.conclusive:
            lines.append("  the model says nearly the same for every row: this proves little")
        lines += [f"  breach: {breach}" for breach in self.breaches]
        if not self.passed:
            lines += [
                f"  {row.origin}: {row.received}, the trained model says {row.expected}"
                for row in self.worst
            ]
        return "\n".join(lines)

    def _figures(self) -> Iterable[tuple[str, str]]:
        allowed = self.tolerance
        yield (
            "largest difference",
            f"{self.max_difference:.2g}{self.unit} (allowed {allowed.max_difference:.2g}), "
            f"mean {self.mean_difference:.2g}",
        )
        if self.max_logit_difference is not None:
            limit = allowed.max_logit_difference
            rule = "not limited" if limit is None else f"allowed {limit:.2g}"
            yield "of the logits", f"{self.max_logit_difference:.2g} of their range ({rule})"
        if self.agreement is not None:
            rule = f"at least {allowed.min_agreement:.1%}"
            yield self.same, f"{self.agreement:.1%} ({rule})"
        if self.metric is not None:
            yield self.metric.name, metric_text(self.metric)
            if self.metric.classes and self.metric.classes[0].artifact < 1:
                yield "most changed class", class_text(self.metric.classes[0])
        if self.acceptance is not None:
            yield "accepted", str(self.acceptance)
        if self.kept_float is not None:
            yield "kept in float", str(self.kept_float)

    def to_markdown(self) -> str:
        """A page for people: the figures, the classes, the rows that differ most."""
        parts = [
            f"# {self.artifact}: {'passed' if self.passed else 'FAILED'}",
            f"{self.precision}, {size_text(self.size_bytes)}, compared with the trained model on "
            f"{self.rows} held-out rows.",
            table(("What", "Measured"), [list(map(markdown, row)) for row in self._figures()]),
        ]
        if self.breaches:
            parts.append("\n".join(f"- breach: {markdown(breach)}" for breach in self.breaches))
        if self.metric is not None and self.metric.classes:
            rows = [
                (markdown(c.label), str(c.rows), f"{c.model:.3f}", f"{c.artifact:.3f}")
                for c in self.metric.classes
            ]
            heads = ("Class", "Rows", "Recall of the trained model", "of this file")
            parts.append(table(heads, rows))
        worst = [
            (markdown(w.origin), f"{w.difference:.2g}", markdown(w.expected), markdown(w.received))
            for w in self.worst
        ]
        heads = ("Row", "Difference", "The trained model says", "This file says")
        return "\n\n".join([*parts, table(heads, worst)]) + "\n"


def metric_text(metric: MetricChange) -> str:
    """`0.913 [0.89, 0.93] (trained model 0.917)`."""
    interval = ""
    if metric.interval is not None:
        interval = f" [{metric.interval[0]:.3g}, {metric.interval[1]:.3g}]"
    return f"{metric.artifact:.4g}{interval} (trained model {metric.model:.4g})"


def class_text(change: ClassChange) -> str:
    """`cardboard: recall 0.80, trained model 0.90, 20 rows`."""
    return (
        f"{change.label}: recall {change.artifact:.2f}, trained model {change.model:.2f}, "
        f"{change.rows} rows"
    )


def gate_rows(names: Sequence[str], reports: Sequence[GateReport]) -> list[dict[str, object]]:
    """One row an artifact, for a table that compares them."""
    return [_row(name, report) for name, report in zip(names, reports, strict=True)]


def _row(name: str, report: GateReport) -> dict[str, object]:
    metric = report.metric
    row: dict[str, object] = {
        "export": name,
        "size": size_text(report.size_bytes),
        "largest difference": f"{report.max_difference:.1e}",
    }
    if report.agreement is not None:
        row[report.same] = f"{report.agreement:.1%}"
    if metric is not None:
        row[metric.name] = f"{metric.artifact:.4g}"
        row["trained model"] = f"{metric.model:.4g}"
        if metric.classes:
            first = metric.classes[0]
            row["most changed class"] = f"{first.label} {first.model:.2f} → {first.artifact:.2f}"
    return row | {"rows": report.rows, "check": "passed" if report.passed else "FAILED"}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

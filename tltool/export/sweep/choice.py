"""The precisions of one model beside each other, and which of them is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tltool.export.gate.comparison import ROUNDING
from tltool.export.gate.report import ClassChange, GateReport
from tltool.recipe.export_section import LiteRTPrecision
from tltool.support.files import size_text


@dataclass(frozen=True)
class Candidate:
    """One precision: what the gate found and how fast it is, or why there is none.

    Attributes:
        precision: Of the file.
        report: The gate's; None where the file could not be made or run.
        latency_ms: Median for one example; None where it was not measured.
        error: Why there is no report.
    """

    precision: LiteRTPrecision
    report: GateReport | None = None
    latency_ms: float | None = None
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the gate let it pass."""
        return self.report is not None and self.report.passed

    @property
    def reason(self) -> str:
        """Why it was refused, in words; empty where it passed."""
        if self.report is None:
            return self.error or ""
        return "; ".join(self.report.breaches)

    @property
    def drop(self) -> float | None:
        """How much worse the metric is; see `MetricChange.drop`.

        Where rows have no labels, the share of them with another top class.
        """
        if self.report is None:
            return None
        if self.report.metric is not None:
            return self.report.metric.drop
        return None if self.report.agreement is None else 1 - self.report.agreement

    @property
    def worst_class(self) -> ClassChange | None:
        """The class with the lowest recall; None for regression."""
        metric = self.report.metric if self.report else None
        return min(metric.classes, key=lambda c: c.artifact) if metric and metric.classes else None

    def to_json(self) -> dict[str, Any]:
        """The candidate as JSON values; the gate's own report among them."""
        worst = self.worst_class
        return {
            "precision": self.precision,
            "passed": self.passed,
            "reason": self.reason or None,
            "size_bytes": self.report.size_bytes if self.report else None,
            "latency_ms": self.latency_ms,
            "drop": self.drop,
            "worst_class": worst and {"label": worst.label, "recall": worst.artifact,
                                      "recall_of_trained_model": worst.model},
            "gate": self.report.to_json() if self.report else None,
        }  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    """All precisions of one model.

    Attributes:
        candidates: In the order in which they were made.
        max_drop: Most the metric may lose.
        max_latency_ms: Longest median time for one example; None is any.
        threads: That the interpreters had when they were timed.
    """

    candidates: tuple[Candidate, ...]
    max_drop: float
    max_latency_ms: float | None
    threads: int

    @property
    def chosen(self) -> Candidate | None:
        """The smallest file within the limits; None where there is none."""
        within = [candidate for candidate in self.candidates if self._allows(candidate)]
        return min(within, key=lambda c: c.report.size_bytes if c.report else 0, default=None)

    def _allows(self, candidate: Candidate) -> bool:
        report, drop = candidate.report, candidate.drop
        if report is None or drop is None or not report.passed:
            return False
        # As in the gate: of few rows one is never a breach.
        grace = report.metric.grace if report.metric else 1 / report.rows
        if drop > max(self.max_drop, grace) + ROUNDING:
            return False
        limit, latency = self.max_latency_ms, candidate.latency_ms
        return limit is None or (latency is not None and latency <= limit)

    def to_json(self) -> dict[str, Any]:
        """The sweep as JSON values."""
        return {
            "chosen": self.chosen.precision if self.chosen else None,
            "max_drop": self.max_drop,
            "max_latency_ms": self.max_latency_ms,
            "threads": self.threads,
            "precisions": [candidate.to_json() for candidate in self.candidates],
        }

    def rows(self) -> list[dict[str, object]]:
        """One row a precision, for a table."""
        return [_row(candidate, candidate is self.chosen) for candidate in self.candidates]


def _row(candidate: Candidate, chosen: bool) -> dict[str, object]:
    report, latency = candidate.report, candidate.latency_ms
    row: dict[str, object] = {"precision": candidate.precision}
    row["size"] = size_text(report.size_bytes) if report else None
    row["ms"] = None if latency is None else f"{latency:.3g}"
    if report and report.metric:
        row[report.metric.name] = _metric(report)
    if worst := candidate.worst_class:
        row["worst class"] = (
            f"{worst.label} {worst.artifact:.2f} ({worst.artifact - worst.model:+.2f})"
        )
    if report and report.agreement is not None:
        row[report.same] = f"{report.agreement:.1%}"
    return row | {"verdict": _verdict(candidate, chosen)}


def _metric(report: GateReport) -> str:
    metric = report.metric
    if metric is None:
        return ""
    interval = metric.interval
    between = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{metric.artifact:.3f}{between}"


def _verdict(candidate: Candidate, chosen: bool) -> str:
    if chosen:
        return "chosen"
    return "passed" if candidate.passed else f"refused: {candidate.reason}"


def none_within(sweep: Sweep) -> str:
    """Why nothing was chosen, in words."""
    limit = f"drop of at most {sweep.max_drop:g}"
    if sweep.max_latency_ms is not None:
        limit += f" and at most {sweep.max_latency_ms:g} ms"
    found = [f"{c.precision}: {_shortfall(c)}" for c in sweep.candidates]
    return "\n".join([f"No precision is within the limits ({limit}):", *found])


def _shortfall(candidate: Candidate) -> str:
    if not candidate.passed:
        return f"refused: {candidate.reason}"
    drop = "drop unknown" if candidate.drop is None else f"drop {candidate.drop:.3g}"
    return drop if candidate.latency_ms is None else f"{drop}, {candidate.latency_ms:.3g} ms"


def points(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that have a size and a metric, and can be drawn."""
    return [c for c in candidates if c.report is not None and c.report.metric is not None]

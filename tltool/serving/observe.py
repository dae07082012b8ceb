"""What a server tells of itself: metrics in Prometheus' text format, and a log of JSON lines."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as METRICS_TYPE

if TYPE_CHECKING:
    from tltool.evaluation.drift.verdict import Verdict

__all__ = ["METRICS_TYPE", "DriftMetrics", "Log", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters of one server; they have a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "tltool_requests", "Requests answered.", ["route", "method", "code"], registry=registry
        )
        self.seconds = Histogram(
            "tltool_request_seconds",
            "Time from a request's first line to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.model_seconds = Histogram(
            "tltool_model_seconds",
            "Time in which the model computed one request.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.rows = Histogram(
            "tltool_predict_rows",
            "Rows of each request for predictions that was understood.",
            buckets=_ROWS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "tltool_predict_in_flight",
            "Requests for predictions that are read, wait or are computed.",
            registry=registry,
        )
        self.ready = Gauge(
            "tltool_model_ready", "1 once the model is loaded and warm.", registry=registry
        )

    def of_drift(self) -> DriftMetrics:
        """More of them, of a server that watches what it is asked."""
        return DriftMetrics(self._registry)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)


class DriftMetrics:
    """What becomes of rows that are watched.

    Args:
        registry: Has them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Counter("tltool_drift_rows", "Rows compared.", registry=registry)
        self.left_out = Counter(
            "tltool_drift_rows_left_out",
            "Rows not compared: preprocessed ones, or more than there was time for.",
            registry=registry,
        )
        self.windows = Counter("tltool_drift_windows", "Windows compared.", registry=registry)
        self.drifted = Gauge(
            "tltool_drift_found",
            "1 while the last window has drifted, by what has.",
            ["of"],
            registry=registry,
        )
        self.p = Gauge(
            "tltool_drift_p_value",
            "Of each test on the last window, corrected for their number.",
            ["of", "what"],
            registry=registry,
        )

    def show(self, verdict: Verdict) -> None:
        """What a window's verdict is."""
        self.windows.inc()
        for finding in verdict.findings:
            self.p.labels(finding.aspect, finding.what).set(finding.corrected)
            self.drifted.labels(finding.aspect).set(finding.aspect in verdict.drifted)


class Log:
    """Events, one JSON object a line.

    Goes to a copy of a file descriptor, so that lines written while TensorFlow
    is loaded, which holds back what its native code prints, are not lost. A
    line that cannot be written (a full disk, a reader that went away) is: the
    server goes on.

    Args:
        descriptor: Where to; 2 is stderr.
    """

    def __init__(self, descriptor: int = 2) -> None:
        self._stream: IO[str] = os.fdopen(
            os.dup(descriptor), "w", encoding="utf-8", errors="backslashreplace"
        )
        self._lock = threading.Lock()

    def __call__(self, event: str, **facts: Any) -> None:
        """Writes one line: the time (UTC), the event and its facts."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **facts}, ensure_ascii=False, default=str)
        with self._lock, suppress(OSError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def close(self) -> None:
        """Closes the copy."""
        with suppress(OSError):
            self._stream.close()

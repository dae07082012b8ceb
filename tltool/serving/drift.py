"""Whether what a server is asked drifts: a rolling window against the export's sketch.

Rows are counted in a thread of their own, after they are answered; what is asked while many
requests wait to be counted is left out. Nothing of a row is kept but its counts and sums.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from tltool.evaluation.drift.file import read_sketch
from tltool.evaluation.drift.inputs import facts_of
from tltool.evaluation.drift.rows import watched_rows
from tltool.evaluation.drift.sketch import Tally
from tltool.evaluation.drift.verdict import ALPHA, Verdict, judge
from tltool.export.contract import MAIN_SIGNATURE, RAW_INPUTS
from tltool.serving.exports import ServedExport
from tltool.serving.observe import DriftMetrics
from tltool.serving.tensors import PredictRequest

Array = np.ndarray[Any, Any]

WINDOW_ROWS = 500
PARTS = 4
"""Parts of a window: once a part is full it is compared, with those before it."""
_MOST_WAITING = 64


class Watch:
    """Counts what is asked of one model and what it answers.

    Args:
        export: What is served; it has a sketch.
        rows: Of the window, a multiple of `PARTS`.
        metrics: Are kept up to date.
        log: Is told of each comparison that finds drift, and of faults.

    Raises:
        ExportError: The export has no sketch, or a damaged one.
    """

    def __init__(
        self,
        export: ServedExport,
        rows: int,
        metrics: DriftMetrics,
        log: Callable[..., None],
    ) -> None:
        self._task, self._metrics, self._log = export.task, metrics, log
        self._sketch = read_sketch(export.folder)
        self._part_rows = rows // PARTS
        self._full: deque[Tally] = deque(maxlen=PARTS)
        self._open: Tally | None = None
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")
        self.verdict: Verdict | None = None
        """Of the last window; None before the first is full."""

    def see(self, request: PredictRequest, outputs: Mapping[str, Array]) -> None:
        """Has rows counted that were answered; returns at once.

        Rows that come preprocessed are not comparable, and are left out.

        Args:
            request: What was asked.
            outputs: What was answered.
        """
        if request.signature != MAIN_SIGNATURE or not self._waiting.acquire(blocking=False):
            self._metrics.left_out.inc(request.rows)
            return
        with suppress(RuntimeError):  # it is stopping
            self._thread.submit(self._count, request, outputs)

    def stop(self) -> None:
        """Waits for what is being counted."""
        self._thread.shutdown(cancel_futures=True)

    def _count(self, request: PredictRequest, outputs: Mapping[str, Array]) -> None:
        try:
            self._add(self._tally(request, outputs))
            self._metrics.rows.inc(request.rows)
        except Exception as error:  # the answers do not depend on it
            self._metrics.left_out.inc(request.rows)
            self._log("fault", message="rows were not counted", error=f"{error!r}")
        finally:
            self._waiting.release()

    def _tally(self, request: PredictRequest, outputs: Mapping[str, Array]) -> Tally:
        target, modality = self._task.target, self._task.spec.modality
        columns = [request.inputs[name].tolist() for name in RAW_INPUTS[modality]]
        inputs: list[Any] = columns[0]
        if modality != "image":
            texts = [[text.decode("utf-8", "replace") for text in column] for column in columns]
            inputs = texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
        answers = target.from_served(outputs)[0]
        rows = watched_rows(facts_of(inputs, modality), _array(answers), target)
        return self._sketch.layout.tally(rows)

    def _add(self, tally: Tally) -> None:
        self._open = tally if self._open is None else self._open + tally
        if self._open.rows < self._part_rows:
            return
        self._full.append(self._open)
        self._open = None
        if len(self._full) < PARTS:
            return
        self.verdict = judge(self._sketch, reduce(add, self._full), level=ALPHA)
        self._metrics.show(self.verdict)
        if self.verdict.drifted:
            found = [one.what for one in self.verdict.findings if one.drifted]
            self._log("drift", of=list(self.verdict.drifted), what=found)


def _array(answers: Any) -> Array:
    """Rows as one array, also those that are objects."""
    if isinstance(answers, np.ndarray):
        return answers
    rows = np.empty(len(answers), object)
    rows[:] = answers
    return rows

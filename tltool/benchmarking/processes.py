"""A worker process as an object: started, asked for rounds, ended."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tltool.benchmarking.subjects import Subject
from tltool.support.errors import ExportError
from tltool.support.processes import child_environment

_LAST_LINES = 3


@dataclass(frozen=True)
class Start:
    """How a model began.

    Attributes:
        import_s: Seconds from the start of the process until the runtime was imported.
        load_s: Seconds until the model was loaded.
        answer_s: Seconds of the first answer.
        runtime_bytes: Memory of the process before the model was loaded; None
            where the system does not tell.
        golden: Whether it answers golden examples; else numbers drawn from a seed.
    """

    import_s: float
    load_s: float
    answer_s: float
    runtime_bytes: int | None
    golden: bool

    @property
    def cold_s(self) -> float:
        """Seconds from the start of the process to the first answer."""
        return self.import_s + self.load_s + self.answer_s


class Worker:
    """A process that has loaded one model; ended by leaving its `with` block.

    Attributes:
        subject: What it measures.
        threads: Of the runtime.
        start: How it began.
        peak_bytes: Most memory it has had; None where the system does not tell.
    """

    def __init__(self, subject: Subject, threads: int, batch: int, inputs: Path | None) -> None:
        self.subject = subject
        self.threads = threads
        self.peak_bytes: int | None = None
        self._log = tempfile.TemporaryFile(prefix="tltool-benchmark-")  # noqa: SIM115 - see _end
        request = {
            "form": subject.form,
            "path": str(subject.path.resolve()),
            "threads": threads,
            "batch": batch,
            "inputs": None if inputs is None else str(inputs),
            "began": time.time(),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tltool.benchmarking.worker", json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # GPUs are left alone, so that all runtimes use the same processor.
            env=child_environment(OMP_NUM_THREADS=str(threads)),
        )
        try:
            self.start = Start(**self._answer())
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def round(self, batch: int, seconds: float, *, warm_up: bool) -> tuple[list[float], int]:
        """Measures for some time.

        Args:
            batch: Examples in each batch.
            seconds: To go on for; a few batches are measured in any case.
            warm_up: Run two batches before the clock starts.

        Returns:
            Seconds of each batch, and how many calls of the model each took.

        Raises:
            ExportError: The model cannot be run so.
        """
        request = {"batch": batch, "seconds": seconds, "warm_up": warm_up}
        if self._process.stdin is not None:
            try:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # that it has ended is told where its answer is missing
        answer = self._answer()
        self.peak_bytes = answer["peak_bytes"]
        return answer["latencies"], answer["calls"]

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line:
            code = self._process.wait()
            raise ExportError(
                f"{self.subject.path} ended the process that ran it (exit code {code}). "
                f"{self._last_words()}".rstrip(),
                hint="the model file is damaged, or the runtime cannot run it",
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ExportError(
                f"{self.subject.path} cannot be measured: {answer['error']}", hint=answer["hint"]
            )
        return answer

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return " ".join(lines[-_LAST_LINES:])

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

"""Measures models beside each other: every one in its own process, in rounds that take turns."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tltool.benchmarking.inputs import golden_inputs
from tltool.benchmarking.processes import Worker
from tltool.benchmarking.subjects import Subject
from tltool.runs.folder import environment
from tltool.support.files import scratch_folder

ROUNDS = 5
_PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Speed:
    """How fast one model answers with some threads and some batch size.

    Attributes:
        model: Name of the subject.
        threads: Of its runtime.
        batch: Examples in a batch.
        calls: Calls of the model that a batch takes: more than one where the
            model has a fixed batch size.
        batches: How many were measured.
        p50_ms, p90_ms, p99_ms: Milliseconds of a batch that this share of them
            did not pass.
        examples_per_s: Examples a second, one batch after the other.
    """

    model: str
    threads: int
    batch: int
    calls: int
    batches: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    examples_per_s: float


@dataclass(frozen=True)
class Footprint:
    """How one model starts and what memory it needs.

    Attributes:
        model: Name of the subject.
        threads: Of its runtime.
        import_s: Seconds from the start of the process until the runtime is imported.
        load_s: Seconds until the model is loaded.
        answer_s: Seconds of the first answer.
        cold_s: The three together.
        runtime_bytes: Memory of the process with the runtime alone.
        peak_bytes: Most memory over that, in all batch sizes; None, as
            `runtime_bytes`, where the system does not tell.
        golden: Whether it was given golden examples.
    """

    model: str
    threads: int
    import_s: float
    load_s: float
    answer_s: float
    cold_s: float
    runtime_bytes: int | None
    peak_bytes: int | None
    golden: bool


@dataclass(frozen=True)
class Benchmark:
    """What was measured.

    Attributes:
        speeds: By model, threads and batch size.
        footprints: By model and threads.
        machine: Processor and system.
        versions: Package to version.
    """

    speeds: tuple[Speed, ...]
    footprints: tuple[Footprint, ...]
    machine: dict[str, Any]
    versions: dict[str, str]


def measure(
    subjects: Sequence[Subject],
    *,
    threads: Sequence[int] = (1,),
    batches: Sequence[int] = (1,),
    seconds: float = 2.0,
    rounds: int = ROUNDS,
    say: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """Measures models in rounds that take turns, so that a slow moment meets them all alike.

    Args:
        subjects: What to measure.
        threads: Numbers of threads, each measured in a process of its own.
        batches: Examples in a batch.
        seconds: Of measuring for each model, number of threads and batch size.
        rounds: Parts of that time.
        say: Is told what happens.

    Raises:
        ExportError: A model cannot be loaded or run.
    """
    with ExitStack() as stack:
        inputs = stack.enter_context(_stored_inputs(subjects))
        workers = []
        for subject in subjects:
            for number in threads:
                say(f"starting {subject.name} with {_threads(number)}")
                workers.append(stack.enter_context(Worker(subject, number, batches[0], inputs)))
        cases = [(worker, batch) for worker in workers for batch in batches]
        latencies: list[list[float]] = [[] for _ in cases]
        calls = [1] * len(cases)
        for turn in range(rounds):
            say(f"round {turn + 1} of {rounds}")
            for number, (worker, batch) in enumerate(cases):
                # Idle since its last turn, a model has to find its way back into the caches.
                found, calls[number] = worker.round(batch, seconds / rounds, warm_up=True)
                latencies[number] += found
        speeds = [_speed(*case) for case in zip(cases, latencies, calls, strict=True)]
        facts = environment()
        return Benchmark(
            tuple(speeds),
            tuple(map(_footprint, workers)),
            {"processor": _processor(), "cpus": facts["cpus"], "platform": facts["platform"]},
            {"tltool": facts["tltool"], "python": facts["python"], **facts["packages"]},
        )


def _threads(number: int) -> str:
    return f"{number} thread" + "s" * (number > 1)


@contextmanager
def _stored_inputs(subjects: Sequence[Subject]) -> Iterator[Path | None]:
    inputs = golden_inputs(subjects)
    if inputs is None:
        yield None
        return
    with scratch_folder("benchmark") as folder:
        file = folder / "inputs.npz"
        np.savez(file, **inputs)  # type: ignore[arg-type]
        yield file


def _speed(case: tuple[Worker, int], latencies: list[float], calls: int) -> Speed:
    worker, batch = case
    # A latency that was measured, not one between two of them.
    p50, p90, p99 = np.percentile(latencies, _PERCENTILES, method="inverted_cdf")
    return Speed(
        worker.subject.name,
        worker.threads,
        batch,
        calls,
        len(latencies),
        float(1e3 * p50),
        float(1e3 * p90),
        float(1e3 * p99),
        batch * len(latencies) / sum(latencies),
    )


def _footprint(worker: Worker) -> Footprint:
    start = worker.start
    own = None
    if worker.peak_bytes is not None and start.runtime_bytes is not None:
        own = max(0, worker.peak_bytes - start.runtime_bytes)
    return Footprint(
        worker.subject.name,
        worker.threads,
        start.import_s,
        start.load_s,
        start.answer_s,
        start.cold_s,
        start.runtime_bytes,
        own,
        start.golden,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())

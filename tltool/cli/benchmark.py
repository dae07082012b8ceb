"""`tltool benchmark`: how fast an exported model answers, what it needs, and how it starts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import JsonOption, TrustOption, examples, finite, print_json, print_table

if TYPE_CHECKING:
    from tltool.benchmarking.measure import Benchmark, Footprint, Speed

EXAMPLES = examples(
    "tltool benchmark runs/quickstart",
    "tltool benchmark runs/quickstart/1/exports/litert_float32 --threads 1,2 --batch 1,8",
    "tltool benchmark model.tflite --seconds 5 --json",
)

_NUMBERS = (
    *("threads", "batch", "calls", "p50 ms", "p90 ms", "p99 ms", "examples/s", "measured"),
    *("import s", "load s", "first answer s", "cold start s", "memory MB", "runtime's own MB"),
)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is no list of numbers from 1 on, such as 1,2")
    return numbers


def benchmark(
    artifact: Annotated[
        Path,
        typer.Argument(
            metavar="ARTIFACT",
            help="A run, an export folder, a SavedModel folder or a .tflite file.",
        ),
    ],
    threads: Annotated[str, typer.Option(help="Numbers of threads, such as 1,2")] = "1",
    batch: Annotated[str, typer.Option(help="Batch sizes, such as 1,8")] = "1",
    seconds: Annotated[
        float,
        typer.Option(
            min=0.0, callback=finite, help="Of measuring for each model, threads and batch size."
        ),
    ] = 2.0,
    alone: Annotated[
        bool, typer.Option("--alone", help="Not beside the run's Keras model and SavedModel.")
    ] = False,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Measure exported models beside each other: latency, throughput, memory, cold start."""
    from tltool.benchmarking.subjects import subjects_of

    counts, sizes = _numbers(threads), _numbers(batch)
    subjects = subjects_of(artifact, alone=alone)

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.benchmarking.measure import measure

    found = measure(
        subjects,
        threads=counts,
        batches=sizes,
        seconds=seconds,
        say=lambda text: typer.echo(text, err=True),
    )
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)


def _print(found: Benchmark) -> None:
    print_table([_speed(speed) for speed in found.speeds], right=_NUMBERS)
    typer.echo()
    print_table([_footprint(footprint) for footprint in found.footprints], right=_NUMBERS)
    machine, versions = found.machine, found.versions
    typer.echo(f"\n{machine['processor']}, {machine['cpus']} cores, {machine['platform']}")
    typer.echo(", ".join(f"{name} {version}" for name, version in versions.items()))


def _speed(speed: Speed) -> dict[str, object]:
    return {
        "model": speed.model,
        "threads": speed.threads,
        "batch": speed.batch,
        "calls": speed.calls,
        "p50 ms": f"{speed.p50_ms:.2f}",
        "p90 ms": f"{speed.p90_ms:.2f}",
        "p99 ms": f"{speed.p99_ms:.2f}",
        "examples/s": f"{speed.examples_per_s:,.1f}",
        "measured": speed.batches,
    }


def _footprint(footprint: Footprint) -> dict[str, object]:
    return {
        "model": footprint.model,
        "threads": footprint.threads,
        "import s": f"{footprint.import_s:.2f}",
        "load s": f"{footprint.load_s:.2f}",
        "first answer s": f"{footprint.answer_s:.2f}",
        "cold start s": f"{footprint.cold_s:.2f}",
        "memory MB": _megabytes(footprint.peak_bytes),
        "runtime's own MB": _megabytes(footprint.runtime_bytes),
        "inputs": "golden examples" if footprint.golden else "random, seeded",
    }


def _megabytes(size: int | None) -> str | None:
    return None if size is None else f"{size / 1e6:,.0f}"

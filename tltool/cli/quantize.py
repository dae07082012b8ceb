"""`tltool quantize`: makes every LiteRT precision of a run and picks the smallest good one."""

from __future__ import annotations

from typing import Annotated

import typer

from tltool.cli.output import (
    RUNTIME_FIELD,
    JsonOption,
    LiteRTRuntimeOption,
    RunArgument,
    TrustOption,
    examples,
    finite,
    print_json,
    print_table,
)
from tltool.cli.reading import How, fields_as_options, reads_data, rows_of
from tltool.support.files import own_temporary_files

EXAMPLES = examples(
    "tltool quantize runs/my-images",
    "tltool quantize runs/my-images --max-drop 0.005 --max-latency 20 --threads 2",
)


@own_temporary_files()
@reads_data()
def quantize(
    run: RunArgument,
    max_drop: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, callback=finite, help="Most accuracy that may be lost, as a share."
        ),
    ] = 0.01,
    max_latency: Annotated[
        float | None,
        typer.Option(min=0.0, callback=finite, help="Longest median milliseconds for one example."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of LiteRT, while it is timed.")] = 1,
    litert_runtime: LiteRTRuntimeOption = None,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled data to check on; default: the run's test split."),
    ] = None,
    how: How | None = None,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Make every LiteRT precision, compare them and pick the smallest that is good enough."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.export.sweep.choice import none_within
    from tltool.export.sweep.sweep import SWEEP_FILE, SWEEP_PLOT
    from tltool.runs.run import load_run
    from tltool.support.errors import ExportError
    from tltool.support.progress import terminal_progress

    loaded = load_run(run, progress=terminal_progress())
    rows = rows_of(loaded, data, how or {})
    with fields_as_options(RUNTIME_FIELD):
        sweep = loaded.quantize(
            max_drop=max_drop,
            max_latency_ms=max_latency,
            threads=threads,
            data=rows,
            litert_runtime=litert_runtime,
        )
    if as_json:
        print_json(sweep.to_json())
    else:
        print_table(sweep.rows(), right=("size", "ms", "same top class"))
        typer.echo(
            f"\nms: median for one example with {threads} thread{'s'[: threads > 1]}, measured in "
            f"turn on this machine\nthe exports that passed, {SWEEP_FILE} and {SWEEP_PLOT} are in "
            f"{loaded.path}"
        )
    if sweep.chosen is None:
        with fields_as_options(RUNTIME_FIELD):
            raise ExportError(
                none_within(sweep),
                hint="allow more with --max-drop or --max-latency, or ship float32",
            )
    if not as_json:
        report = sweep.chosen.report
        kept, unit = (report.kept_float, report.unit) if report else (None, "")
        typer.echo(
            f"chosen: {sweep.chosen.precision}, the smallest within a drop of {max_drop:g}{unit}"
            + (f"; kept in float: {kept}" if kept else "")
        )

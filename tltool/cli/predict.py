"""`tltool predict`: what a run or an exported model says of new inputs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tltool.cli.output import (
    RayOption,
    TrustOption,
    examples,
    tell_list,
)
from tltool.cli.reading import INPUTS, How, OnError, fields_as_options, reads_data

EXAMPLES = examples(
    'tltool predict runs/quickstart "The crew was lovely."',
    "tltool predict runs/my_images photos/ more/*.jpg --output predictions.csv",
    "tltool predict runs/quickstart/1/exports/litert_float32 reviews.csv --input-column text",
    "cat lines.txt | tltool predict runs/quickstart - --format jsonl",
    "tltool predict runs/my_images archive/ --output archive.csv --ray auto",
    'tltool predict runs/my_pairs "A man is eating." "Somebody eats."',
)


@reads_data(*INPUTS)
def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_ARTIFACT", help="A run's folder, or an exported model's folder or file."
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Files, folders, patterns, a table, texts (two for a pair), or - for lines on "
            "stdin.",
        ),
    ],
    how: How | None = None,
    on_error: Annotated[
        OnError,
        typer.Option(
            help="After an input that cannot be used: skip predicts the others, names it and "
            "exits with 1; stop predicts no more and exits with 2."
        ),
    ] = "skip",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to a .csv or .jsonl file; masks to a folder of that name beside it.",
        ),
    ] = None,
    form: Annotated[
        Literal["csv", "jsonl"], typer.Option("--format", help="What to print on stdout.")
    ] = "csv",
    top: Annotated[
        int | None, typer.Option(min=1, help="Give the probabilities of only the best N classes.")
    ] = None,
    ray: RayOption = None,
    _trust: TrustOption = False,
) -> int:
    """Predict images or texts; writes CSV or JSON lines."""
    how = how or {}
    if "input_columns" in how and "-" in inputs:
        raise typer.BadParameter("- is read line by line, so --input-column names nothing in it.")

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.data.reading.sources import reading
    from tltool.evaluation.evaluate import format_rows, prediction_columns, write_predictions
    from tltool.runs.predict import Model, Predictions, collect_inputs
    from tltool.support.progress import Progress, terminal_progress
    from tltool.support.ray_cluster import spread_over

    opened = Model(model, progress=terminal_progress())
    task = opened.task
    shown = output is None and sys.stdout.isatty()  # rows in a terminal are progress themselves
    with fields_as_options(), spread_over(ray, terminal_progress()) as spread:
        section = reading(opened.section, **how)
        predictions = Predictions(
            collect_inputs(inputs, task.spec, section),
            opened,
            task,
            encoding=section.encoding,
            on_error=on_error,
            top=top,
            progress=Progress() if shown else terminal_progress(),
            files=None if output is None else output.with_suffix(""),
            spread=spread,
        )
        columns = prediction_columns(task)
        if output is None:
            for line in format_rows(predictions, form, columns):
                typer.echo(line)
        else:
            write_predictions(predictions, output, columns)
            typer.echo(f"{predictions.predicted:,} predictions written to {output}", err=True)
            if predictions.files_written:
                typer.echo(f"{predictions.files_written:,} files in {output.with_suffix('')}/",
                           err=True)  # fmt: skip
    broken = predictions.broken
    total = predictions.predicted + len(broken)
    tell_list(f"no prediction for {len(broken):,} of {total:,} inputs:", broken)
    return 1 if broken else 0

"""`tltool predict`: what a run or an exported model says of new inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tltool.cli.output import TrustOption, examples

EXAMPLES = examples(
    'tltool predict runs/quickstart "The crew was lovely."',
    "tltool predict runs/my_images photos/ more/*.jpg --output predictions.csv",
    "tltool predict runs/quickstart/1/exports/litert_float32 reviews.csv --column text",
    "cat lines.txt | tltool predict runs/quickstart - --format jsonl",
)


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
            help="Files, folders, patterns, a table, texts, or - for lines on stdin.",
        ),
    ],
    column: Annotated[
        str | None, typer.Option(help="Column of a table with the texts or image paths.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to a .csv or .jsonl file.")
    ] = None,
    form: Annotated[
        Literal["csv", "jsonl"], typer.Option("--format", help="What to print on stdout.")
    ] = "csv",
    top: Annotated[
        int | None, typer.Option(min=1, help="Give the probabilities of only the best N classes.")
    ] = None,
    _trust: TrustOption = False,
) -> None:
    """Predict images or texts; writes CSV or JSON lines."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.data.checks.doctor import check_examples
    from tltool.evaluation.evaluate import format_rows, write_predictions
    from tltool.export.artifact import is_artifact, load_artifact
    from tltool.runs.predict import collect_inputs, prediction_rows
    from tltool.runs.run import load_run
    from tltool.support.progress import terminal_progress

    if is_artifact(model):
        artifact = load_artifact(model)
        task = artifact.task
        found = collect_inputs(inputs, task.spec.modality, input_column=column)
        found = check_examples(found, on_error="stop")
        outputs = artifact.predict(found.inputs)
    else:
        run = load_run(model, progress=terminal_progress())
        task = run.task
        column = column or run.recipe.data.input_column
        found = collect_inputs(inputs, task.spec.modality, input_column=column)
        found = check_examples(found, on_error="stop")
        outputs = run.outputs(found)
    rows = prediction_rows(outputs, found, task, top=top)
    if output is None:
        for line in format_rows(rows, form):
            typer.echo(line)
    else:
        write_predictions(rows, output)
        typer.echo(f"{len(rows)} predictions written to {output}", err=True)

"""`tltool inspect`: what is in an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tltool.cli.output import JsonOption, examples, print_json
from tltool.support.words import harmless

EXAMPLES = examples(
    "tltool inspect runs/quickstart/1/exports/litert_float32",
    "tltool inspect model.tflite --json",
)


def inspect(
    artifact: Annotated[
        Path,
        typer.Argument(
            metavar="ARTIFACT", help="An export folder, a SavedModel folder or a .tflite file."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Print what is in an exported model: inputs, outputs, operators, weights, metadata."""
    from tltool.export.inspection.inspection import inspect_artifact
    from tltool.export.inspection.text import inspection_text

    found = inspect_artifact(artifact)
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo(harmless(inspection_text(found)))

"""`tltool diagnose`: why an app answers otherwise than the model in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tltool.cli.output import JsonOption, TrustOption, examples, print_json
from tltool.support.words import harmless

EXAMPLES = examples(
    "tltool diagnose runs/my-images/1/exports/litert_float32 answers.json",
    "tltool diagnose litert_int8 answers.json --json",
)


def diagnose(
    export: Annotated[
        Path, typer.Argument(metavar="EXPORT", help="The export folder; nothing else is needed.")
    ],
    answers: Annotated[
        Path,
        typer.Argument(
            metavar="ANSWERS",
            help="What the app says of the golden examples; the programs beside the export "
            "write it.",
        ),
    ],
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Find the fault that explains an app's answers, with the line to change in the app.

    Exits with 1 where the answers are not sound.
    """
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.export.diagnosis.diagnosis import diagnose
    from tltool.export.diagnosis.text import diagnosis_json, diagnosis_text

    found = diagnose(export, answers)
    if as_json:
        print_json(diagnosis_json(found))
    else:
        typer.echo(harmless(diagnosis_text(found)))
    if not found.sound:
        raise typer.Exit(1)

"""`tltool data audit`: what is wrong with data, what it costs, and what more would bring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    OfflineOption,
    OverridesArgument,
    TrustOption,
    examples,
    print_json,
    tell,
)
from tltool.cli.reading import OPTION_NAMES, How, fields_as_options, reads_data

EXAMPLES = examples(
    "tltool data audit photos/",
    "tltool data audit my_recipe.yaml --output audit",
    "tltool data audit reviews.csv --label-column stars --json",
    "tltool finetune my_recipe.yaml data.decisions=audit/audit.csv",
)
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|DATA",
        help="A recipe, or what data.train would name: a folder, a table …",
    ),
]
TaskOption = Annotated[
    str | None, typer.Option(help="What data is for; default: guessed from the labels.")
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        help="Whose features are looked at; default: the recipe's, and of data alone "
        "efficientnet-lite0 or all-minilm-l6-v2."
    ),
]


@reads_data("input_columns", "label_columns", "delimiter", "encoding", "quoting", of_run=False)
def audit(
    source: SourceArgument,
    overrides: OverridesArgument = None,
    output: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Gets audit.json, audit.csv and audit.html."),
    ] = Path("audit"),
    task: TaskOption = None,
    how: How | None = None,
    backbone: BackboneOption = None,
    curve: Annotated[
        bool,
        typer.Option(
            "--curve/--no-curve",
            help="Measure what more rows would bring, which takes most of the time.",
        ),
    ] = True,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> None:
    """Find wrong labels, near duplicates, outliers and leaks in data, and say what they cost."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.finetuning.audit.job import PAGE, TABLE, check_folder
    from tltool.finetuning.audit.job import audit as audit_data
    from tltool.finetuning.audit.sources import recipe_of
    from tltool.support.progress import terminal_progress

    check_folder(output)
    with fields_as_options(OPTION_NAMES | {"data.train": "DATA"}):
        recipe = recipe_of(source, overrides or (), task=task, how=how, backbone=backbone)
    found = audit_data(recipe, curve=curve, progress=terminal_progress())
    found.write(output)
    if as_json:
        print_json(found.to_json())
        return
    for line in found.found.lines():
        typer.echo(line)
    typer.echo(f"\nlook at it and decide: {output / PAGE}")
    tell(f"then: data.decisions={output / TABLE} in the recipe, or as an override")

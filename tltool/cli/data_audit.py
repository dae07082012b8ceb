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
    print_table,
    tell,
)
from tltool.cli.reading import OVERRIDDEN, How, TaskOption, fields_as_options, reads_data

EXAMPLES = examples(
    "tltool data audit photos/",
    "tltool data audit my_recipe.yaml --output audit",
    "tltool data audit reviews.csv --label-column stars --json",
    "tltool data audit photos/ --label-studio",
    "tltool finetune my_recipe.yaml data.decisions=audit/audit.csv",
)
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|DATA",
        help="A recipe, a run, or what data.train would name: a folder, a table …",
    ),
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
    label_studio: Annotated[
        bool,
        typer.Option("--label-studio", help="Write the findings as tasks of Label Studio too."),
    ] = False,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> None:
    """Find wrong labels, near duplicates, outliers and leaks in data, and say what they cost."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.data.decisions import refuse_to_replace
    from tltool.finetuning.audit.job import PAGE, TABLE
    from tltool.finetuning.audit.job import audit as audit_data
    from tltool.finetuning.audit.sources import recipe_of
    from tltool.support.progress import terminal_progress

    refuse_to_replace(output / TABLE)
    with fields_as_options(OVERRIDDEN):
        recipe = recipe_of(source, overrides or (), task=task, how=how, backbone=backbone)
    found = audit_data(recipe, curve=curve, progress=terminal_progress())
    found.write(output, label_studio=label_studio)
    if as_json:
        print_json(found.to_json())
        return
    for line in found.found.lines():
        typer.echo(line)
    typer.echo(f"\nlook at it and decide: {output / PAGE}")
    tell(f"then: data.decisions={output / TABLE} in the recipe, or as an override")


NEXT_EXAMPLES = examples(
    "tltool data next my_recipe.yaml unlabelled/ --count 50",
    "tltool data next runs/my-csv new.csv --json",
)


@reads_data("input_columns", "label_columns", "delimiter", "encoding", "quoting", of_run=False)
def next_to_label(
    source: SourceArgument,
    unlabelled: Annotated[
        str,
        typer.Argument(metavar="UNLABELLED", help="A folder, a table, or a pattern of files."),
    ],
    overrides: OverridesArgument = None,
    count: Annotated[int, typer.Option(min=1, help="How many to name.")] = 100,
    task: TaskOption = None,
    how: How | None = None,
    backbone: BackboneOption = None,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> None:
    """Rank unlabelled inputs by how much their labels would help: unsure ones that differ."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.finetuning.audit import labelling
    from tltool.finetuning.audit.sources import recipe_of
    from tltool.support.progress import terminal_progress

    with fields_as_options(OVERRIDDEN):
        recipe = recipe_of(source, overrides or (), task=task, how=how, backbone=backbone)
    found = labelling.next_to_label(recipe, unlabelled, count=count, progress=terminal_progress())
    if as_json:
        print_json([one.to_json() for one in found])
        return
    print_table([one.cells() for one in found], right=("rank", "uncertainty"))


DECISIONS_EXAMPLES = examples("tltool data decisions project-1.json --output audit.csv")


def decisions(
    answers: Annotated[
        Path, typer.Argument(metavar="ANSWERS", help="Label Studio's export in JSON.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="The table for data.decisions.")
    ] = Path("audit.csv"),
    as_json: JsonOption = False,
) -> None:
    """Make a table of decisions of what was answered in Label Studio to an audit's tasks."""
    from collections import Counter

    from tltool.data.decisions import refuse_to_replace, write_decisions
    from tltool.finetuning.audit.label_studio import decisions_of

    refuse_to_replace(output)
    rows = decisions_of(answers)
    write_decisions(output, rows)
    counts = Counter(row["decision"] for row in rows)
    told = {name: counts[name] for name in ("keep", "drop", "relabel")}
    if as_json:
        print_json({"file": str(output), **told})
        return
    typer.echo(f"{output}: " + ", ".join(f"{number:,} {name}" for name, number in told.items()))
    tell(f"then: data.decisions={output} in the recipe, or as an override")

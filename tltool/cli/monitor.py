"""`tltool monitor`: whether new data is like what an exported model was measured on."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    TrustOption,
    examples,
    finite,
    print_json,
    print_table,
    tell_list,
)
from tltool.cli.reading import How, fields_as_options, reads_data

EXAMPLES = examples(
    "tltool monitor runs/my_images/1/exports/litert_float32 photos_of_may/",
    "tltool monitor exports/saved_model new_reviews.csv --labelled --fail-on quality --json",
    "tltool monitor exports/saved_model photos_of_may/ --html drift.html --fail-on drift",
)


class Change(StrEnum):
    """What `--fail-on` can name."""

    DRIFT = "drift"
    INPUTS = "inputs"
    PREDICTIONS = "predictions"
    QUALITY = "quality"
    ANY = "any"


_MEANS = {"drift": ("inputs", "predictions"), "any": ("inputs", "predictions", "quality")}


@reads_data(
    of_run=False,
    usual={
        "input_columns": "text or image",
        "label_columns": "label, or those that the model's numbers come from",
        "on_error": "stop for rows with labels, skip for others",
    },
)
def monitor(
    export: Annotated[
        Path, typer.Argument(metavar="EXPORT", help="An export folder, or the model in it.")
    ],
    new_data: Annotated[
        str, typer.Argument(metavar="NEW_DATA", help="A folder, a table or a file.")
    ],
    how: How | None = None,
    labelled: Annotated[
        bool,
        typer.Option("--labelled", help="The data has labels: also say whether answers are worse."),
    ] = False,
    level: Annotated[
        float,
        typer.Option(
            min=1e-6, max=0.5, callback=finite, help="How often data that is alike may be refused."
        ),
    ] = 0.01,
    fail_on: Annotated[
        list[Change] | None,
        typer.Option(
            help="Exit with 1 where this has changed (drift: inputs or predictions); may be given "
            "several times."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write the findings to a page of this name.")
    ] = None,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> int:
    """Say whether inputs or predictions of new data have drifted, or answers become worse."""
    how = how or {}
    if not labelled and ("label_columns" in how or {"quality", "any"} & set(fail_on or ())):
        raise typer.BadParameter(
            "--label-column, --fail-on quality and --fail-on any are for data with labels: add "
            "--labelled."
        )

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.data.reading.sources import reading
    from tltool.evaluation.drift.verdict import lines
    from tltool.recipe.recipe import DataSection
    from tltool.runs.monitor import monitor as compare
    from tltool.support.progress import terminal_progress

    with fields_as_options():
        found = compare(
            export,
            new_data,
            labelled=labelled,
            section=reading(DataSection(), **how),
            level=level,
            progress=terminal_progress(),
        )
    tell_list(f"left out, {len(found.left_out):,} in all:", found.left_out)
    verdict = found.verdict
    if html is not None:
        from tltool.report.drift_page import drift_page
        from tltool.support.files import write_text

        write_text(html, drift_page(verdict, str(export), new_data))
    if as_json:
        print_json(found.to_json())
    else:
        for line in lines(verdict):
            typer.echo(line)
        typer.echo(f"\n{verdict.rows:,} rows, compared with {verdict.rows_before:,} held-out rows")
        print_table(
            [
                {
                    "of": one.aspect,
                    "what": one.what,
                    "before": one.before,
                    "now": one.now,
                    "p, corrected": f"{one.corrected:.2g}",
                    "": "drifted" if one.drifted else "",
                }
                for one in verdict.findings
            ],
            right=("p, corrected",),
        )
    wanted = {aspect for name in fail_on or () for aspect in _MEANS.get(name, (name,))}
    return 1 if wanted & set(verdict.drifted) else 0

"""`tltool evaluate`: measures a run again, on its test split or on other data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    TrustOption,
    examples,
    print_json,
    print_table,
    tell_list,
)
from tltool.cli.reading import How, fields_as_options, reads_data
from tltool.support.words import one_line

if TYPE_CHECKING:
    from tltool.evaluation.slices import Slices

EXAMPLES = examples(
    "tltool evaluate runs/quickstart",
    "tltool evaluate runs/quickstart/1 --data new_reviews.csv --json",
    "tltool evaluate runs/quickstart/1 --data reviews.csv --slices --by source --by language",
    "tltool evaluate runs/quickstart/1/exports/litert_dynamic_int8 --slices",
)


@reads_data()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_ARTIFACT", help="A run's folder, or an exported model's folder or file."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(help="A folder or a table with labels; default: the run's test split."),
    ] = None,
    how: How | None = None,
    slices: Annotated[
        bool,
        typer.Option(
            "--slices", help="Tell on which rows it is worse: by size, length, brightness, group."
        ),
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Slice by this column of the table too; may be given again."),
    ] = None,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Measure a trained or exported model on labelled data."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.runs.opened import open_model
    from tltool.runs.opened import slices as slices_of
    from tltool.support.progress import terminal_progress

    opened = open_model(model, progress=terminal_progress())
    with fields_as_options():
        measured = opened.rows(data, **how or {})
    outputs = opened.outputs(measured)
    evaluation = opened.evaluate(measured, outputs)
    tell_list(f"left out, {len(measured.skipped):,} in all:", measured.skipped)
    own, against = (
        slices_of(opened, measured, outputs, by or [], how or {}) if slices or by else (None, None)
    )
    if own is not None and by:
        _tell_columns_without_slices(own, by)
    if as_json:
        found = {"slices": own, "slices_against_float": against}
        told = {key: one.to_json() for key, one in found.items() if one is not None}
        print_json({**evaluation.metrics, **told})
        return
    metrics = evaluation.metrics
    numbers = [(key, value) for key, value in metrics.items() if isinstance(value, int | float)]
    scores = [{"metric": key, "value": _shown(value)} for key, value in numbers]
    if units := metrics.get("units"):
        scores = [{**row, "unit": units.get(row["metric"], "")} for row in scores]
    print_table(scores, right=("value",))
    for table in evaluation.target.tables(metrics):
        typer.echo()
        rows = [dict(zip(table.header, cells, strict=True)) for cells in table.rows]
        print_table(rows, right=table.header[1:])
    for title, lines in evaluation.target.remarks(metrics):
        if lines:
            typer.echo("\n".join(["", title.lower(), *map(one_line, lines)]))
    if evaluation.mistakes:
        words = evaluation.target.words
        typer.echo(f"\n{evaluation.target.mistakes_title.lower()}")
        print_table(
            [
                {
                    "where": mistake.origin,
                    "true": words(mistake.true),
                    "predicted": words(mistake.predicted),
                    "input": mistake.excerpt,
                }
                for mistake in evaluation.mistakes
            ]
        )
    if slices or by:
        _print_slices(own, "slices")
        _print_slices(against, "against the trained model: errors more than its own", signed=True)


def _print_slices(found: Slices | None, title: str, *, signed: bool = False) -> None:
    from tltool.evaluation.slices import FEWEST
    from tltool.report.slices import slice_rows

    if found is None:
        if not signed:
            typer.echo("\nno slices: rows of this task are not judged one by one", err=True)
        return
    typer.echo(f"\n{title}")
    header, *rows = slice_rows(found, signed=signed)
    if not rows:
        typer.echo(f"none has {FEWEST} rows")
        return
    print_table([dict(zip(header, row, strict=True)) for row in rows], right=header[1:])


def _tell_columns_without_slices(found: Slices, columns: list[str]) -> None:
    from tltool.evaluation.slices import FEWEST

    for column in columns:
        if not any(one.name.startswith(f"{column} ") for one in found.told):
            typer.echo(
                f"column {column!r} makes no slices: all rows have the same value, or none is "
                f"that of {FEWEST} rows",
                err=True,
            )


def _shown(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value

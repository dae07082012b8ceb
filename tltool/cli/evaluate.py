"""`tltool evaluate`: measures a run again, on its test split or on other data."""

from __future__ import annotations

from typing import Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    RunArgument,
    TrustOption,
    examples,
    print_json,
    print_table,
    tell_list,
)
from tltool.cli.reading import How, reads_data, rows_of

EXAMPLES = examples(
    "tltool evaluate runs/quickstart",
    "tltool evaluate runs/quickstart/1 --data new_reviews.csv --json",
)


@reads_data()
def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(help="A folder or a table with labels; default: the run's test split."),
    ] = None,
    how: How | None = None,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Measure a trained model on labelled data."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.runs.run import load_run
    from tltool.support.progress import terminal_progress

    loaded = load_run(run, progress=terminal_progress())
    measured = rows_of(loaded, data, how or {})
    evaluation = loaded.evaluate(measured)
    tell_list(f"left out, {len(measured.skipped):,} in all:", measured.skipped)
    if as_json:
        print_json(dict(evaluation.metrics))
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


def _shown(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value

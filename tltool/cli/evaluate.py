"""`tltool evaluate`: measures a run again, on its test split or on other data."""

from __future__ import annotations

from typing import Annotated

import typer

from tltool.cli.output import (
    DelimiterOption,
    EncodingOption,
    InputColumnOption,
    JsonOption,
    OnError,
    RunArgument,
    TrustOption,
    examples,
    fields_as_options,
    print_json,
    print_table,
    tell_list,
)

EXAMPLES = examples(
    "tltool evaluate runs/quickstart",
    "tltool evaluate runs/quickstart/1 --data new_reviews.csv --json",
)


def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(help="A folder or a table with labels; default: the run's test split."),
    ] = None,
    input_column: InputColumnOption = None,
    label_column: Annotated[
        list[str] | None,
        typer.Option(help="Column of a table with the label, or several; default: the run's."),
    ] = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    on_error: Annotated[
        OnError | None,
        typer.Option(help="After a row that cannot be used; default: the run's."),
    ] = None,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Measure a trained model on labelled data."""
    if data is None and any((input_column, label_column, delimiter, encoding, on_error)):
        raise typer.BadParameter("how data is read can be said of --data alone.")

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.runs.run import load_run
    from tltool.support.progress import terminal_progress

    loaded = load_run(run, progress=terminal_progress())
    with fields_as_options():
        measured = loaded.rows(
            data,
            input_column=input_column,
            label_columns=label_column or (),
            delimiter=delimiter,
            encoding=encoding,
            on_error=on_error,
        )
        evaluation = loaded.evaluate(measured)
    tell_list(f"left out, {len(measured.skipped):,} in all:", measured.skipped)
    if as_json:
        print_json(dict(evaluation.metrics))
        return
    metrics = evaluation.metrics
    numbers = [(key, value) for key, value in metrics.items() if isinstance(value, int | float)]
    print_table([{"metric": key, "value": _shown(value)} for key, value in numbers],
                right=("value",))  # fmt: skip
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

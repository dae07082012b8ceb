"""`tltool evaluate`: measures a run again, on its test split or on other data."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tltool.cli.output import JsonOption, RunArgument, examples, print_json, print_table

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
    as_json: JsonOption = False,
) -> None:
    """Measure a trained model on labelled data."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.runs.run import load_run

    evaluation = load_run(run).evaluate(data)
    if as_json:
        print_json(dict(evaluation.metrics))
        return
    metrics = evaluation.metrics
    numbers = [(key, value) for key, value in metrics.items() if isinstance(value, int | float)]
    print_table([{"metric": key, "value": _shown(value)} for key, value in numbers],
                right=("value",))  # fmt: skip
    if per_class := metrics.get("per_class"):
        typer.echo()
        print_table([_rounded(row) for row in per_class],
                    right=("precision", "recall", "f1", "support"))  # fmt: skip
    if evaluation.mistakes:
        typer.echo("\nmistakes, the most confident first")
        print_table(
            [
                {
                    "where": mistake.origin,
                    "true": _shown(mistake.true),
                    "predicted": _shown(mistake.predicted),
                    "input": mistake.excerpt,
                }
                for mistake in evaluation.mistakes
            ]
        )


def _rounded(row: dict[str, Any]) -> dict[str, object]:
    return {key: _shown(value) for key, value in row.items()}


def _shown(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value

"""`tltool lr-find`: at which learning rates a phase learns, and where it diverges."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    OfflineOption,
    OverridesArgument,
    RecipeArgument,
    TrustOption,
    examples,
    finite,
    print_json,
    print_table,
)
from tltool.cli.reading import fields_as_options

if TYPE_CHECKING:
    from tltool.search.lr_finder import RateTest

EXAMPLES = examples(
    "tltool lr-find quickstart",
    "tltool lr-find my_recipe.yaml --phase 2 --output rates/",
)

_TABLE_ROWS = 14


def lr_find(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    phase: Annotated[int, typer.Option(min=1, help="Number of the phase; 1 is the first.")] = 1,
    steps: Annotated[
        int, typer.Option(min=10, help="Steps from the first rate to the last.")
    ] = 100,
    first_rate: Annotated[
        float, typer.Option("--from", callback=finite, help="The first learning rate.")
    ] = 1e-7,
    last_rate: Annotated[
        float, typer.Option("--to", callback=finite, help="The last learning rate.")
    ] = 10.0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            file_okay=False,
            help="A folder for the curve, as picture and table; without it none is written.",
        ),
    ] = None,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> None:
    """Find a learning rate by a range test; trains nothing that is kept."""
    from dataclasses import asdict

    from tltool.recipe.recipe import Recipe

    if output is not None and output.suffix in {".png", ".csv"}:
        raise typer.BadParameter(
            f"{output} is the name of a file; name a folder, such as {output.with_suffix('')}",
            param_hint="--output",
        )
    checked = Recipe.load(recipe, overrides or ())

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.search.lr_finder import lr_find as run_test
    from tltool.support.progress import terminal_progress

    with fields_as_options({"first_rate": "--from", "last_rate": "--to"}):
        result = run_test(
            checked,
            phase=phase,
            steps=steps,
            first_rate=first_rate,
            last_rate=last_rate,
            progress=terminal_progress(),
        )
    if output is not None:
        _write(result, output)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result, named=isinstance(checked.schedule, str))
    if output is not None:
        typer.echo(f"curve written to {output}", err=True)


def _print(result: RateTest, *, named: bool) -> None:
    marks = _marks(result)
    by_step: dict[int, str] = {}
    for name, rate in marks.items():
        step = min(range(len(result.rates)), key=lambda i: abs(result.rates[i] - rate))
        by_step[step] = f"{by_step[step]}, {name}" if step in by_step else name
    every = max(1, len(result.rates) // _TABLE_ROWS)
    chosen = sorted({*range(0, len(result.rates), every), len(result.rates) - 1, *by_step})
    print_table(
        [
            {
                "learning rate": f"{result.rates[i]:.1e}",
                "loss": f"{result.losses[i]:.4f}",
                "smoothed": f"{result.smoothed[i]:.4f}",
                "": by_step.get(i, ""),
            }
            for i in chosen
        ],
        right=("loss", "smoothed"),
    )
    typer.echo()
    if result.suggestion is None:
        typer.echo("No rate made the loss fall: there is no suggestion.")
        return
    field = f"schedule.{result.phase - 1}.learning_rate"
    why = (
        f"a tenth of the rate of the lowest loss, {result.lowest:.1e}; the loss falls fastest "
        f"at {result.steepest:.1e}"
        if result.rises is None
        else f"a tenth of the rate from which on the loss rises, {result.rises:.1e}; no rate makes "
        "it fall"
    )
    typer.echo(f"suggestion: {field}={result.suggestion:.1e} ({why})")
    if named:
        typer.echo("To use it, write the recipe's schedule as a list of phases.")


def _marks(result: RateTest) -> dict[str, float]:
    found = {
        "suggestion": result.suggestion,
        "steepest": result.steepest,
        "lowest loss": result.lowest,
        "rises from": result.rises,
    }
    return {name: rate for name, rate in found.items() if rate is not None}


def _write(result: RateTest, folder: Path) -> None:
    """Writes the curve as a picture and as a table."""
    from tltool.report.plots import rate_curve
    from tltool.support.files import atomic_path

    folder.mkdir(parents=True, exist_ok=True)
    picture, table = (folder / f"lr_find.{suffix}" for suffix in ("png", "csv"))
    rate_curve(result.rates, result.losses, result.smoothed, _marks(result), picture)
    with atomic_path(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["learning_rate", "loss", "smoothed_loss"])
        writer.writerows(zip(result.rates, result.losses, result.smoothed, strict=True))

"""`tltool tune-head`: searches the head's settings on the frozen backbone's features."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tltool.cli.output import (
    JsonOption,
    OfflineOption,
    OverridesArgument,
    RayOption,
    RecipeArgument,
    TrustOption,
    examples,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from tltool.search.head_tuning import HeadSearchResult

EXAMPLES = examples(
    "tltool tune-head quickstart",
    "tltool tune-head my_recipe.yaml --trials 100 training.monitor=metric",
)


def tune_head(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    trials: Annotated[int, typer.Option(min=2, help="Heads to try.")] = 40,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    ray: RayOption = None,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> None:
    """Try dozens of heads on the frozen backbone's features and print the best as a recipe."""
    from tltool.recipe.recipe import Recipe

    checked = Recipe.load(recipe, overrides or ())
    checked.with_overrides("head.search=true")  # Its faults, before anything is loaded.

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.search.head_tuning import tune_head as search
    from tltool.support.progress import terminal_progress
    from tltool.support.ray_cluster import spread_over

    progress = terminal_progress()
    with spread_over(ray, progress) as spread:
        result = search(checked, trials=trials, folds=folds, progress=progress, spread=spread)
    if as_json:
        print_json(_as_values(result))
        return
    print_table([_row(row, result) for row in result.table()],
                right=("rank", "dropout", "learning rate", "weight decay", "smoothing",
                       "folds", "epochs", "seconds"))  # fmt: skip
    typer.echo(
        f"\n{len(result.trials)} heads on {result.num_rows:,} training and validation rows in "
        f"{result.seconds:.1f} s. Only those with {result.folds} folds were cross-validated in "
        f"full.\n\nThe best one, for the recipe:\n\n{result.to_yaml()}"
    )
    words = ["tltool", "finetune", recipe, *(overrides or ()), *result.overrides]
    typer.echo(f"or as overrides:\n\n{shlex.join(words)}")


def _row(row: dict[str, Any], result: HeadSearchResult) -> dict[str, object]:
    from tltool.search.head_tuning import scored

    return {
        "rank": row["rank"],
        "hidden": ", ".join(map(str, row["hidden_units"])) or "none",
        "dropout": f"{row['dropout']:g}",
        "learning rate": f"{row['learning_rate']:g}",
        "weight decay": f"{row['weight_decay']:g}",
        "smoothing": f"{row['label_smoothing']:g}",
        **{metric.replace("_", " "): scored(row, metric) for metric in result.metrics},
        "folds": row["folds"],
        "epochs": row["epochs"],
        "seconds": f"{row['seconds']:.1f}",
        "": "the recipe's own" if row["own"] else "",
    }


def _as_values(result: HeadSearchResult) -> dict[str, Any]:
    return {
        "metric": result.metrics[0],
        "folds": result.folds,
        "rows": result.num_rows,
        "seconds": round(result.seconds, 2),
        "trials": result.table(),
        "recipe": result.recipe.to_values(),
        "overrides": list(result.overrides),
    }

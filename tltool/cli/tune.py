"""`tltool tune`: searches the values of a recipe's fields by trying whole trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    OfflineOption,
    OverridesArgument,
    RayOption,
    RecipeArgument,
    TrustOption,
    examples,
    finite,
    print_json,
    print_table,
    tell,
)

if TYPE_CHECKING:
    from tltool.finetuning.tuning import Trial, TuningResult

EXAMPLES = examples(
    "tltool tune my_recipe.yaml --trials 30",
    "tltool tune my_recipe.yaml --hours 8 --folds 3 training.monitor=metric",
    "tltool tune my_recipe.yaml --trials 60 --resume",
    "tltool tune my_recipe.yaml --ray auto",
)
_SHOWN = 10


def tune(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    trials: Annotated[int, typer.Option(min=1, help="Trainings to try.")] = 30,
    hours: Annotated[
        float | None,
        typer.Option(callback=finite, help="Begin no trial after so many hours."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Measure each trial by the mean over so many folds, in place of the validation "
            "rows.",
        ),
    ] = None,
    ray: RayOption = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the newest search of this name, also with more trials; where there "
            "is none, begin one.",
        ),
    ] = False,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> int:
    """Search learning rate, epochs and more by trying whole trainings; test rows are not used."""
    from tltool.recipe.recipe import Recipe

    checked = Recipe.load(recipe, overrides or ())

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.finetuning.tuning import tune as search
    from tltool.support.files import own_temporary_files
    from tltool.support.progress import terminal_progress
    from tltool.support.ray_cluster import spread_over

    progress = terminal_progress()
    with spread_over(ray, progress) as spread, own_temporary_files():
        result = search(
            checked,
            trials=trials,
            hours=hours,
            folds=folds,
            progress=progress,
            spread=spread,
            resume=resume,
        )
    if as_json:
        print_json({"folder": str(result.path), **result.to_json()})
    else:
        _print(result)
    if not result.finished:
        tell(f"The search {result.path} was interrupted; to go on, give the same with --resume")
        return 130
    return 0


def _print(result: TuningResult) -> None:
    from tltool.search.space import shown_value

    shown = result.trials[:_SHOWN]
    print_table(
        [_row(trial, result) for trial in shown],
        right=("trial", result.metric, "epochs", "seconds"),
    )
    states = [trial.state for trial in result.trials]
    if not states:
        typer.echo("No trial came to its end.")
        return
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    measured = f"{result.folds} folds" if result.folds else "the validation rows"
    typer.echo(f"\n{len(states)} trials ({counts}), by {result.metric} of {measured}.")
    if result.own is not None:
        typer.echo(f"The recipe as it stands: {result.own.value:.4f}")
    if result.importance:
        shares = ", ".join(f"{field} {share:.0%}" for field, share in result.importance.items())
        typer.echo(f"What the differences come from: {shares}")
    if result.recipe is None:
        return
    settings = result.best.settings.items()
    typer.echo("\nThe best:\n")
    for field, value in settings:
        typer.echo(f"  {field}={shown_value(value)}")
    typer.echo(f"\nTrain it, and measure it on the test rows:\n\n  tltool finetune {_best(result)}")


def _best(result: TuningResult) -> str:
    import shlex

    return shlex.quote(str(result.path / "best.yaml"))


def _row(trial: Trial, result: TuningResult) -> dict[str, object]:
    from tltool.search.space import shown_value

    return {
        "trial": trial.number,
        result.metric: None if trial.value is None else f"{trial.value:.4f}",
        "state": trial.state,
        **{field: shown_value(value) for field, value in trial.settings.items()},
        "epochs": trial.epochs,
        "seconds": f"{trial.seconds:.1f}",
    }

"""`tltool finetune`: the main job."""

from __future__ import annotations

import typer

from tltool.cli.output import (
    JsonOption,
    KeepFailedOption,
    OverridesArgument,
    RecipeArgument,
    examples,
    print_json,
)

EXAMPLES = examples(
    "tltool finetune quickstart",
    "tltool finetune my_images data.train=photos/ schedule.0.epochs=5",
    "tltool finetune my_recipe.yaml training.seed=1 name=second-try",
)


def finetune(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    keep_failed: KeepFailedOption = False,
    as_json: JsonOption = False,
) -> int:
    """Fine-tune a model, measure it, export it and check the exports."""
    from tltool.recipe import Recipe

    checked = Recipe.load(recipe, overrides or ())

    from tltool.quiet import load_tensorflow

    load_tensorflow()

    from tltool.finetuning import finetune as run_finetune
    from tltool.progress import terminal_progress

    run = run_finetune(checked, progress=terminal_progress(), keep_failed=keep_failed)
    if run.summary is None:
        typer.echo(
            f"The run was interrupted. What it kept is in {run.path}"
            + (
                f"; its best epoch: tltool evaluate {run.path}"
                if run.folder.model.is_file()
                else ""
            ),
            err=True,
        )
        return 130
    if as_json:
        print_json({"run": str(run.path), **run.folder.manifest()})
        return 0
    from rich.console import Console

    from tltool.report.summary import render

    render(run.summary, Console())
    return 0

"""`tltool validate`: every fault of a recipe, without loading anything heavy."""

from __future__ import annotations

import typer

from tltool.cli.output import (
    JsonOption,
    OverridesArgument,
    RecipeArgument,
    TrustOption,
    examples,
    print_json,
)

EXAMPLES = examples(
    "tltool validate my_recipe.yaml",
    "tltool validate quickstart training.batch_size=16 --json",
)


def validate(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Check a recipe and list every fault at once."""
    from dataclasses import asdict

    from tltool.export.formats.table import check_export_installed
    from tltool.recipe.layer_faults import check_installed
    from tltool.recipe.recipe import Recipe
    from tltool.support.errors import RecipeError

    try:
        checked = Recipe.load(recipe, overrides or ())
        if checked.augment is not None:
            check_installed(checked.augment.layers)
        check_export_installed(checked.export.formats)
    except RecipeError as error:
        if not as_json:
            raise
        print_json({"valid": False, "message": error.message.splitlines()[0],
                    "faults": [asdict(fault) for fault in error.faults]})  # fmt: skip
        raise typer.Exit(error.exit_code) from error
    if as_json:
        print_json({"valid": True, "recipe": checked.to_values()})
    else:
        typer.echo(f"{recipe} is a valid recipe for {checked.task} with {checked.backbone.name}.")

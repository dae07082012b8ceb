"""`tltool recipes`: the recipes that ship with tltool, and their schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tltool.cli.output import JsonOption, print_json, print_table

app = typer.Typer(
    help="List, show and copy the recipes that ship with tltool.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="See `tltool recipes list`.")]


@app.command("list")
def list_recipes(as_json: JsonOption = False) -> None:
    """List the recipes that ship with tltool."""
    import yaml

    from tltool.support.shipped import list_shipped

    rows = []
    for file in list_shipped("recipes"):
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        rows.append(
            {
                "name": file.stem,
                "task": values["task"],
                "description": values.get("description", ""),
            }
        )
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


@app.command()
def show(name: NameArgument) -> None:
    """Print a recipe as it ships, comments included."""
    typer.echo(_shipped(name).read_text(encoding="utf-8"), nl=False)


@app.command()
def copy(
    name: NameArgument,
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="A folder, or the new file's name.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a recipe to start your own from."""
    from tltool.support.errors import RecipeError
    from tltool.support.files import write_text

    source = _shipped(name)
    file = target / source.name if target.is_dir() or not target.suffix else target
    if file.exists() and not force:
        raise RecipeError(f"{file} exists already.", hint="Use --force to replace it.")
    write_text(file, source.read_text(encoding="utf-8"))
    typer.echo(f"copied to {file}; run it with: tltool finetune {file}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors that complete YAML."""
    from tltool.recipe.recipe import recipe_schema

    print_json(recipe_schema())


def _shipped(name: str) -> Path:
    from tltool.support.errors import RecipeError, did_you_mean
    from tltool.support.shipped import find_shipped, list_shipped

    if (file := find_shipped("recipes", name)) is None:
        names = [shipped.stem for shipped in list_shipped("recipes")]
        raise RecipeError(
            f"tltool has no recipe {name!r}; it has {', '.join(names)}.",
            hint=did_you_mean(name, names),
        )
    return file

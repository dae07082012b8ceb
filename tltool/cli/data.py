"""`tltool data`: real labelled sets to try tltool on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tltool.cli.output import JsonOption, OfflineOption, print_json, print_table

app = typer.Typer(help="Sample data.", no_args_is_help=True)


@app.command("list")
def list_samples(as_json: JsonOption = False) -> None:
    """List the sample data sets."""
    from tltool.data.reading.samples import SAMPLES

    rows = [
        {
            "name": sample.name,
            "task": sample.task,
            "examples": sample.rows,
            "licence": sample.licence,
            "title": sample.title,
        }
        for sample in SAMPLES.values()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, right=("examples",))


@app.command()
def sample(
    name: Annotated[str, typer.Argument(metavar="NAME", help="See `tltool data list`.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the data.")],
    _: OfflineOption = False,
) -> None:
    """Fetch a sample data set into a folder, with its licence and source."""
    from tltool.data.reading.samples import copy_sample
    from tltool.data.reading.samples import sample as find

    chosen = find(name)
    data = copy_sample(name, folder)
    typer.echo(f"{chosen.title}: {chosen.rows:,} examples in {data}", err=True)
    typer.echo(f"licence: {chosen.licence}", err=True)
    typer.echo(f"source:  {chosen.source}", err=True)
    typer.echo(str(data))

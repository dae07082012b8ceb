"""`tltool data`: what data is, what is wrong with it, and real labelled sets to try tltool on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tltool.cli import data_audit
from tltool.cli.output import (
    JsonOption,
    OfflineOption,
    examples,
    print_json,
    print_table,
    tell,
    tell_list,
)
from tltool.cli.reading import OPTION_NAMES, How, TaskOption, fields_as_options, reads_data
from tltool.support.words import count, listed

app = typer.Typer(
    help="What your data is, what is wrong with it, and sample data.", no_args_is_help=True
)
app.command("audit", epilog=data_audit.EXAMPLES)(data_audit.audit)
app.command("next", epilog=data_audit.NEXT_EXAMPLES)(data_audit.next_to_label)
app.command("decisions", epilog=data_audit.DECISIONS_EXAMPLES)(data_audit.decisions)

EXAMPLES = examples(
    "tltool data inspect reviews.csv",
    "tltool data inspect 'shards/train-*.parquet' --label-column stars --json",
    "tltool data inspect scans.csv data.image_root=photos data.image_suffix=.png",
)


@app.command(epilog=EXAMPLES)
@reads_data("input_columns", "label_columns", "delimiter", "encoding", "quoting", of_run=False)
def inspect(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="What data.train would name: a table, a folder …"),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="More of how it is read, such as data.image_suffix=.png"
        ),
    ] = None,
    task: TaskOption = None,
    how: How | None = None,
    as_json: JsonOption = False,
    _: OfflineOption = False,
) -> int:
    """Say what data is, what is wrong with it, and the recipe lines that read it."""
    import yaml

    from tltool.data.checks.inspection import inspect_data
    from tltool.support.files import size_text

    for text in overrides or ():
        if not text.startswith("data.") or text.startswith("data.train="):
            raise typer.BadParameter(f"{text}: only fields of data beside data.train count here.")
    with fields_as_options(OPTION_NAMES | {"data.train": "PATH"}):
        found = inspect_data(path, task=task, how=how, overrides=overrides or ())
    if as_json:
        print_json(found)
        return 1 if found["problems"] else 0
    files = count(found["files"], "table") + ", " if found["files"] else ""
    typer.echo(f"{found['source']}: {found['format']}, {files}{size_text(found['bytes'])}")
    if found["columns"]:
        typer.echo()
        print_table(found["columns"], right=("distinct", "missing"))
    if summary := found["summary"]:
        typer.echo()
        print_table(list(_facts(summary)))
    typer.echo("\nrecipe lines that read it:\n")
    typer.echo(yaml.safe_dump(found["recipe"], sort_keys=False, allow_unicode=True).rstrip())
    for remark in [*found["remarks"], *(summary["warnings"] if summary else ())]:
        tell(f"note: {remark}")
    tell_list(f"a training would stop at {count(len(found['problems']), 'problem')}:",
              found["problems"])  # fmt: skip
    return 1 if found["problems"] else 0


def _facts(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for split, rows in summary["rows"].items():
        yield {"what": f"rows ({split})", "value": f"{rows:,}"}
    names = {name: number for part in summary["counts"].values() for name, number in part.items()}
    if set(names) != {"all"}:
        yield {"what": "labels", "value": f"{len(names):,}: {listed(list(names), 10)}"}
    for key in ("targets", "text_length_characters", "image_width_px", "image_height_px"):
        if key in summary:
            shown = ", ".join(f"{name} {value:,g}" for name, value in summary[key].items())
            yield {"what": key.replace("_", " "), "value": shown}
    yield {"what": "duplicates", "value": f"{summary['duplicates']:,}"}
    yield {"what": "same input, other labels", "value": f"{len(summary['conflicts']):,}"}


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

"""`tltool runs`: what was trained so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tltool.cli.output import (
    JsonOption,
    OutputDirOption,
    RunArgument,
    TrustOption,
    print_json,
    print_table,
    tell,
)
from tltool.cli.reading import How, fields_as_options, reads_data
from tltool.support.words import count, one_line

if TYPE_CHECKING:
    from tltool.data.examples import Examples
    from tltool.runs.folder import RunFolder
    from tltool.runs.run import Run

app = typer.Typer(help="List, show and compare runs.", no_args_is_help=True)


@app.command("list")
def list_runs(output_dir: OutputDirOption = "runs", as_json: JsonOption = False) -> None:
    """List the runs in a folder."""
    from tltool.runs.folder import list_runs as find_runs
    from tltool.support.errors import RunError

    manifests: list[tuple[str, dict[str, Any]]] = []
    for run in find_runs(output_dir):
        try:
            manifests.append((str(run.path), _manifest(run)))
        except RunError as error:
            tell(f"warning: {error.message}")
            manifests.append((str(run.path), {"status": "damaged", "error": error.message}))
    if as_json:
        print_json([{"run": path, **manifest} for path, manifest in manifests])
        return
    if not manifests:
        typer.echo(f"no runs in {output_dir}", err=True)
    print_table([_row(path, manifest) for path, manifest in manifests])


@app.command()
def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show a run: its status, its figures, and its files."""
    from tltool.runs.folder import RunFolder

    folder = RunFolder.open(run)
    manifest = _manifest(folder)
    if as_json:
        print_json({"run": str(folder.path), **manifest})
        return
    for key, value in _row(str(folder.path), manifest).items():
        typer.echo(f"{one_line(key):12} {one_line(str(value)) if value is not None else '-'}")
    typer.echo()
    files = manifest.get("files", {})
    print_table(
        [{"file": name, "bytes": facts["bytes"]} for name, facts in files.items()],
        right=("bytes",),
    )


@app.command()
def accept(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_EXPORT", help="A run's folder, or the folder of an exported model."
        ),
    ],
) -> None:
    """Take the files of a run or an export as they are now, after a change on purpose."""
    from tltool.export.contract import CONTRACT_FILE
    from tltool.runs.folder import RunFolder
    from tltool.support.sums import write_sums

    if (path / CONTRACT_FILE).is_file():
        write_sums(path)
    else:
        folder = RunFolder.open(path)
        folder.record(folder.status)


@app.command()
@reads_data()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Two or more runs.")],
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Measure them on the same rows, and write a page: what each gains and loses "
            "against the first.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="With --html: labelled data to measure them on; default: the rows that are in "
            "the test splits of both."
        ),
    ] = None,
    how: How | None = None,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Compare runs: their figures, and what differs between their recipes."""
    from tltool.recipe.recipe import Recipe
    from tltool.runs.folder import RunFolder
    from tltool.support.errors import RunError

    if data is not None and html is None:
        raise typer.BadParameter("--data is what runs are measured on for a page: add --html.")
    if len(runs) < 2:
        raise RunError(
            "tltool runs compare needs at least two runs.", hint="`tltool runs list` shows them."
        )
    folders = [RunFolder.open(run) for run in runs]
    for folder in folders:
        folder.check(folder.recipe)
    recipes = [_flat(Recipe.load(folder.recipe).to_values()) for folder in folders]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    differing = [key for key in keys if len({repr(recipe.get(key)) for recipe in recipes}) > 1]
    manifests = [_manifest(folder) for folder in folders]
    rows: list[dict[str, Any]] = [
        {**_row(str(folder.path), manifest), **{key: recipe.get(key) for key in differing}}
        for folder, manifest, recipe in zip(folders, manifests, recipes, strict=True)
    ]
    found = {} if html is None else _write_page(html, runs, rows, data, how or {})
    if as_json:
        told = [
            {**row, "status": manifest["status"], **manifest.get("metrics", {})}
            for row, manifest in zip(rows, manifests, strict=True)
        ]
        print_json({"runs": told, **found} if found else told)
    else:
        # One column a run reads better than one row: there are more fields than runs.
        columns = [(row.pop("run"), row) for row in rows]
        print_table(
            [
                {"": key, **{run: row.get(key) for run, row in columns}}
                for key in dict.fromkeys(key for _, row in columns for key in row)
            ]
        )


def _write_page(
    file: Path, runs: list[str], facts: list[dict[str, Any]], data: str | None, how: How
) -> dict[str, Any]:
    """Measures the runs against the first and writes the page; what they gained and lost.

    Of other data, the facts of each run get how many rows of it the run has learnt from.
    """
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.report.compare_page import compare_page
    from tltool.runs.pairs import paired
    from tltool.runs.run import load_run
    from tltool.support.files import write_text

    first, *others = opened = [load_run(run) for run in runs]
    with fields_as_options():
        pairs = {str(run.path): paired(first, run, data, how) for run in others}
    warnings: list[str] = []
    if data is not None:
        examples = next(iter(pairs.values())).examples
        for run, own in zip(opened, facts, strict=True):
            own["rows_learnt_from"] = rows = _learnt_rows(run, examples, warnings)
            if rows:
                of = f"{rows:,} of the {count(len(examples), 'row')}"
                warnings.append(f"{run.path} has learnt from {of}: it may do worse on new ones.")
    for warning in warnings:
        tell(f"warning: {warning}")
    write_text(file, compare_page(str(first.path), facts, pairs, warnings))
    tell(f"written: {file}")
    changes = [{"run": name, **pair.to_json()} for name, pair in pairs.items()]
    return {"changes": changes, "warnings": warnings, "page": str(file)}


def _learnt_rows(run: Run, examples: Examples, warnings: list[str]) -> int | None:
    """How many rows a run has learnt from; None, with a warning, where that can't be found out."""
    from tltool.runs.pairs import learnt_rows
    from tltool.support.errors import TltoolError

    try:
        return learnt_rows(run, examples)
    except TltoolError as error:
        warnings.append(f"which rows {run.path} has learnt from is not known: {error.message}")
        return None


def _manifest(folder: RunFolder) -> dict[str, Any]:
    """The manifest, and whether `tltool resume` can go on with the run."""
    return {**folder.manifest(), "can_go_on": folder.can_go_on}


def _row(path: str, manifest: dict[str, Any]) -> dict[str, Any]:
    metrics = manifest.get("metrics", {})
    goes_on = " (tltool resume goes on)" if manifest.get("can_go_on") else ""
    return {
        "run": path,
        "status": f"{manifest['status']}{goes_on}",
        "task": manifest.get("task"),
        "backbone": manifest.get("backbone"),
        **{key: f"{value:.4f}" for key, value in metrics.items() if value is not None},
        "seconds": manifest.get("seconds"),
        "created": manifest.get("created"),
    }


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested mappings and lists as dotted paths."""
    if not isinstance(value, dict | list):
        return {path: value}
    parts = value if isinstance(value, dict) else dict(enumerate(value))
    return {
        key: leaf
        for name, below in parts.items()
        for key, leaf in _flat(below, f"{path}.{name}" if path else str(name)).items()
    }

"""How commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from tltool.support.imports import TRUST
from tltool.support.words import harmless, one_line


def finite(value: float | None) -> float | None:
    """A number of an option; `nan` would be within any range, and nothing over a limit of it."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"a finite number is needed, received {value}")
    return value


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
KeepFailedOption = Annotated[
    bool, typer.Option("--keep-failed", help="Keep an export that differs too much.")
]

AuditOption = Annotated[
    bool,
    typer.Option(
        "--audit/--no-audit", help="Try whether the untrained model can be exported as asked."
    ),
]


def _go_offline(wanted: bool) -> None:
    if wanted:
        os.environ["TLTOOL_OFFLINE"] = "1"


OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline", callback=_go_offline, is_eager=True, help="Ask no server for anything."
    ),
]


def _trust(wanted: bool) -> None:
    if wanted:
        os.environ[TRUST] = "1"


TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        callback=_trust,
        is_eager=True,
        help="Import modules that a recipe or a model names from the current folder.",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Spread the work over a Ray cluster: HOST:PORT, ray://HOST:PORT, auto for the one "
        "that runs here, or local for one of this machine's CPUs.",
    ),
]
RUNTIME_FIELD = {"export.litert_runtime": "--litert-runtime"}
LiteRTRuntimeOption = Annotated[
    str | None,
    typer.Option(
        help="Oldest TensorFlow Lite that LiteRT models must run in, such as 2.14; "
        "default: the run's recipe's."
    ),
]
OutputDirOption = Annotated[str, typer.Option("--runs", help="The folder that holds the runs.")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides, such as schedule.0.epochs=2"),
]
RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of one of tltool's own.")
]
ResumeAnywayOption = Annotated[
    bool,
    typer.Option(
        "--resume-anyway",
        help="Go on also where recipe, data, versions or machine have changed: the result is "
        "neither run's, and the model card says so.",
    ),
]
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's folder, or runs/NAME: its newest with a model."),
]


def print_json(value: Any) -> None:
    """Prints a value as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, object]], *, right: Sequence[str] = ()) -> None:
    """Prints rows as an aligned table on stdout; the header is every key, in order.

    Args:
        rows: A key that a row lacks is shown as `-`; nothing is printed for no rows.
            Texts are shown on one line, without control characters.
        right: Columns aligned to the right, such as numbers.
    """
    if not rows:
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    header = [one_line(column) for column in columns]
    table = [header, *([_cell(row.get(c)) for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())


def tell(text: str) -> None:
    """Tells something on stderr, without control characters."""
    typer.echo(harmless(text), err=True)


def tell_list(title: str, items: Sequence[object], most: int = 20) -> None:
    """Tells of some things on stderr, the rest of a long list as their number; not of none."""
    if items:
        more = [f"and {len(items) - most:,} more"] if len(items) > most else []
        tell("\n  ".join([title, *(one_line(str(item)) for item in items[:most]), *more]))


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # there may be no one to tell
            tell(f"{record.levelname.lower()}: {one_line(record.getMessage())}")


def tell_warnings() -> None:
    """Has what tltool logs told as commands tell it, whatever handlers other libraries set."""
    logger = logging.getLogger("tltool")
    logger.addHandler(_Teller(logging.WARNING))
    logger.propagate = False


def _cell(value: object) -> str:
    if value is None:
        return "-"
    counted = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if counted else one_line(str(value))


def examples(*lines: str) -> str:
    """An epilog of examples, one a line (click's `\\b` keeps the lines apart)."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)

"""From what a user names on a command line to rows to predict, and predictions as text."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.reading.encoding import decode
from tltool.data.reading.folders import IMAGE_SUFFIXES, TEXT_SUFFIXES, check_image_path
from tltool.data.reading.rows import Broken, Row, input_of, refused
from tltool.data.reading.tables import TABLE_SUFFIXES, Columns, read_table
from tltool.support.errors import DataError, did_you_mean
from tltool.support.words import natural_key
from tltool.tasks.table import Modality, Task
from tltool.tasks.values import BadValueError

if TYPE_CHECKING:
    import numpy as np

STDIN = "-"


def collect_inputs(
    arguments: Sequence[str],
    modality: Modality,
    *,
    input_column: str | None = None,
    stdin: Iterable[str] | None = None,
) -> Examples:
    """The unlabelled rows that `arguments` name, in their order.

    Each argument is one of:

    - a table (.csv, .tsv, .jsonl, .parquet): the texts, or the image paths
      relative to the table's folder, of `input_column`;
    - a .txt file: one text a line (text);
    - an image file (image);
    - a folder, searched with its subfolders: images, or .txt files that are
      one text each;
    - a pattern with `*`, `?` or `[…]` that matches any of these;
    - `-`: one text or one image path a line on standard input;
    - anything else is itself the text to predict (text).

    Blank lines are left out.

    Args:
        arguments: As above.
        modality: What the model takes.
        input_column: Column of a table; None takes "text" or "image".
        stdin: Lines to read for `-`; None takes standard input.

    Raises:
        DataError: A file that does not exist or cannot be used (all of them
            are named), or nothing to predict at all.
    """
    column = input_column or modality
    rows: list[Row | Broken] = []
    for position, argument in enumerate(arguments, start=1):
        if argument == STDIN:
            rows += _lines(sys.stdin if stdin is None else stdin, "stdin", modality, Path())
        else:
            rows += _rows_of_argument(argument, position, modality, column)
    return _examples(rows, modality)


def prediction_rows(
    outputs: np.ndarray[Any, Any], examples: Examples, task: Task, top: int | None = None
) -> list[dict[str, Any]]:
    """Rows to show or write: `origin`, `input`, `prediction`, `confidence`, `probabilities`.

    Args:
        outputs: As `Task.outputs` gives them.
        examples: The n rows.
        task: Labels and kind of task.
        top: Keep the probabilities of this many classes, highest first; None
            keeps all, in label order.
    """
    from tltool.evaluation.evaluate import PredictionRows

    rows = list(PredictionRows(outputs, examples, task))
    for row in rows:
        if row["target"] is None:
            del row["target"]
        if top is not None and "probabilities" in row:
            ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])
            row["probabilities"] = dict(ranked[:top])
        if top is not None and "best" in row:
            row["best"] = row["best"][:top]
    return rows


def _rows_of_argument(
    argument: str, position: int, modality: Modality, column: str
) -> list[Row | Broken]:
    path = Path(argument).expanduser()
    if _exists(path):
        return _rows_of_path(path, modality, column)
    if matches := _matches(argument):
        return [row for match in matches for row in _rows_of_path(match, modality, column)]
    if modality == "text" and not _looks_like_a_file(argument):
        return [_row(argument, f"argument {position}", modality)]
    raise _missing(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text too long for a path, or with a zero byte
        return False


def _matches(pattern: str) -> list[Path]:
    if not glob.has_magic(pattern):
        return []
    # Path.glob takes no absolute pattern.
    found = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207
    return sorted(map(Path, found), key=lambda path: natural_key(str(path)))


def _looks_like_a_file(argument: str) -> bool:
    """Whether a text is more likely the misspelt name of a file."""
    known = (*TABLE_SUFFIXES, *TEXT_SUFFIXES)
    return Path(argument).suffix.lower() in known and len(argument.split()) == 1


def _missing(path: Path) -> DataError:
    parent = path.parent
    siblings = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    where = f"in {parent}: " if str(parent) != "." else ""
    near = did_you_mean(path.name, siblings)
    return DataError(f"{path} does not exist.", hint=f"{where}{near}" if near else "check the path")


def _rows_of_path(path: Path, modality: Modality, column: str) -> list[Row | Broken]:
    if path.is_dir():
        return _rows_of_folder(path, modality)
    if path.suffix.lower() in TABLE_SUFFIXES:
        rows = read_table(path, Columns(column))
        return [_table_row(row, path.parent, modality) for row in rows]
    if modality == "image":
        return [_row(str(path), str(path), modality)]
    if path.suffix.lower() in TEXT_SUFFIXES:
        return _lines(decode(path).splitlines(), str(path), modality, path.parent)
    formats = ", ".join((*TEXT_SUFFIXES, *TABLE_SUFFIXES))
    return [Broken(str(path), f"not a format tltool reads texts from ({formats})")]


def _rows_of_folder(folder: Path, modality: Modality) -> list[Row | Broken]:
    suffixes = IMAGE_SUFFIXES if modality == "image" else TEXT_SUFFIXES
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith(".")
    ]
    found.sort(key=lambda path: natural_key(str(path)))
    if not found:
        return [Broken(str(folder), f"no files ending in {', '.join(suffixes)}")]
    return [
        _row(str(path) if modality == "image" else decode(path), str(path), modality)
        for path in found
    ]


def _lines(
    lines: Iterable[str], source: str, modality: Modality, folder: Path
) -> list[Row | Broken]:
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    return [
        _row(_located(line, folder, modality), f"{source}:{number}", modality)
        for number, line in numbered
        if line
    ]


def _table_row(row: Row | Broken, folder: Path, modality: Modality) -> Row | Broken:
    if isinstance(row, Broken):
        return row
    return _row(_located(row.input, folder, modality), row.origin, modality)


def _located(value: Any, folder: Path, modality: Modality) -> Any:
    return str(folder / value) if modality == "image" and isinstance(value, str) else value


def _row(value: Any, origin: str, modality: Modality) -> Row | Broken:
    try:
        checked = input_of(value, modality)
    except BadValueError as error:
        return Broken(origin, str(error))
    if modality == "image" and (reason := check_image_path(Path(checked))):
        return Broken(origin, reason if origin == checked else f"{checked}: {reason}")
    return Row(checked, None, origin)


def _examples(rows: Sequence[Row | Broken], modality: Modality) -> Examples:
    if broken := [row for row in rows if isinstance(row, Broken)]:
        raise refused(broken, "inputs", "mend them or leave them out")
    good = [row for row in rows if isinstance(row, Row)]
    if not good:
        raise DataError("There is nothing to predict.", hint="name files, folders or texts, or -")
    return Examples(
        modality=modality,
        inputs=[row.input for row in good],
        targets=[None] * len(good),
        splits=[None] * len(good),
        origins=[row.origin for row in good],
    )

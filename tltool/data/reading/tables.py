"""Tables of labelled rows in all the formats that are read, with true line numbers.

Values are taken as they are written: `NA`, `001` and `true` stay text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tltool.data.reading.columnar import (
    ARROW_SUFFIXES,
    PARQUET_SUFFIXES,
    columnar_names,
    columnar_rows,
)
from tltool.data.reading.columns import Columns, check_columns
from tltool.data.reading.csv_records import csv_header, csv_records
from tltool.data.reading.encoding import decode
from tltool.data.reading.json_tables import json_names, json_rows
from tltool.data.reading.rows import Broken, KeptRows, Row
from tltool.data.reading.tars import TAR_SUFFIXES, tar_names, tar_rows
from tltool.data.reading.tfrecords import TFRECORD_SUFFIXES, tfrecord_names, tfrecord_rows
from tltool.data.reading.workbooks import WORKBOOK_SUFFIXES, workbook_names, workbook_rows
from tltool.recipe.schema import DataSection, Quoting
from tltool.support.errors import DataError

CSV_SUFFIXES = (".csv", ".tsv", ".tab")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
SHARD_SUFFIXES = (*PARQUET_SUFFIXES, *ARROW_SUFFIXES, *TAR_SUFFIXES, *TFRECORD_SUFFIXES)
"""Formats of which one data set often is several files."""
TABLE_SUFFIXES = (*CSV_SUFFIXES, *JSON_SUFFIXES, *WORKBOOK_SUFFIXES, *SHARD_SUFFIXES)


class _Format(NamedTuple):
    """How a table that is no text is read."""

    rows: Callable[[Path, Columns], Iterator[Row | Broken]]
    names: Callable[[Path], tuple[str, ...]]


_BINARY = {
    **dict.fromkeys(PARQUET_SUFFIXES + ARROW_SUFFIXES, _Format(columnar_rows, columnar_names)),
    **dict.fromkeys(WORKBOOK_SUFFIXES, _Format(workbook_rows, workbook_names)),
    **dict.fromkeys(TAR_SUFFIXES, _Format(tar_rows, tar_names)),
    **dict.fromkeys(TFRECORD_SUFFIXES, _Format(tfrecord_rows, tfrecord_names)),
}


def table_suffix(path: Path) -> str | None:
    """The one of `TABLE_SUFFIXES` that a file's name ends in; None where it is no table.

    A number such as `-00000-of-00008` may stand after it, as TensorFlow Datasets has it.
    """
    suffix = re.sub(r"-\d+-of-\d+$", "", path.suffix.lower())
    return suffix if suffix in TABLE_SUFFIXES else None


def is_text_table(path: Path) -> bool:
    """Whether a file's name is that of a table of text, such as CSV or JSON."""
    return table_suffix(path) in {*CSV_SUFFIXES, *JSON_SUFFIXES}


def read_table(
    path: Path,
    columns: Columns,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    quoting: Quoting | None = None,
) -> KeptRows:
    """Reads the columns of input and label of a table.

    Args:
        path: A file with one of `TABLE_SUFFIXES`.
        columns: The columns to read.
        delimiter: Of a CSV file; None takes the one that shows the wanted columns.
        encoding: Of a text file; None takes what the byte order mark says,
            else UTF-8, else Windows-1252 (as Excel writes it).
        quoting: Of a CSV file; see `csv_records`.

    Returns:
        One item a row, in file order: the values as written and the place,
        `file:line`, both counted from 1 (Parquet and Arrow: `file: row N`; TFRecord:
        `file: record N`; tar: `file: key`; JSON on one line: `file: item N`); rows that cannot be
        read are `Broken`.

    Raises:
        DataError: The file as a whole cannot be read, is empty, or lacks a column.
    """
    rows = KeptRows.of(
        each_row(path, columns, delimiter=delimiter, encoding=encoding, quoting=quoting)
    )
    if not rows:
        raise DataError(f"{path} has no rows.")
    return rows


def text_options(section: DataSection) -> dict[str, Any]:
    """How a section says that the text of a table is read: arguments of `read_table`."""
    return {
        "delimiter": section.delimiter,
        "encoding": section.encoding,
        "quoting": section.quoting,
    }


def each_row(
    path: Path,
    columns: Columns,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    quoting: Quoting | None = None,
) -> Iterator[Row | Broken]:
    """The rows of `read_table` one by one; a table may have none."""
    suffix = table_suffix(path)
    if suffix is None:
        raise DataError(
            f"{path}: {path.suffix or 'a file without a suffix'} is not a table format tltool "
            f"reads; it reads {', '.join(TABLE_SUFFIXES)}.",
            hint="save a spreadsheet as CSV (UTF-8)",
        )
    if suffix in _BINARY:
        return _BINARY[suffix].rows(path, columns)
    text = decode(path, encoding)
    if not text.strip():
        raise DataError(f"{path} is empty.", hint="a table needs a header and rows")
    if suffix in JSON_SUFFIXES:
        return json_rows(path, text, columns)
    return _csv_rows(path, text, columns, delimiter, quoting)


def column_names(
    path: Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    quoting: Quoting | None = None,
) -> tuple[str, ...]:
    """The names of a table's columns; those of the first sound rows where each names its own.

    Args:
        path: As for `read_table`.
        delimiter: Of a CSV file; None takes the one that shows the most columns.
        encoding, quoting: As for `read_table`.

    Raises:
        DataError: They cannot be read.
    """
    suffix = table_suffix(path)
    if suffix in _BINARY:
        return _BINARY[suffix].names(path)
    text = decode(path, encoding)
    if suffix in JSON_SUFFIXES:
        return json_names(path, text)
    header = csv_header(path, text, delimiter, quoting)
    if isinstance(header, str):
        raise DataError(f"{path}: the header cannot be read: {header}.")
    return tuple(name.strip() for name in header)


def _csv_rows(
    path: Path, text: str, columns: Columns, delimiter: str | None, quoting: Quoting | None
) -> Iterator[Row | Broken]:
    records = csv_records(path, text, delimiter, columns.names, quoting)
    _, header = next(records, (0, list[str]()))
    if isinstance(header, str):
        raise DataError(f"{path}: the header cannot be read: {header}.")
    names = [name.strip() for name in header]
    check_columns(path, names, columns)
    at = [names.index(name) for name in columns.names]
    for line, record in records:
        origin = f"{path}:{line}"
        if isinstance(record, str):
            yield Broken(origin, record)
        elif len(record) != len(names):
            yield Broken(origin, f"{len(record)} fields, the header has {len(names)}")
        else:
            yield columns.row([record[i] for i in at], origin)

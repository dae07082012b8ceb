"""Tables of labelled rows: CSV, TSV, JSON Lines and Parquet, with true line numbers.

Values are taken as they are written: `NA`, `001` and `true` stay text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.reading.csv_records import csv_header, csv_records
from tltool.data.reading.encoding import decode
from tltool.data.reading.rows import Broken, Row
from tltool.recipe.schema import Quoting
from tltool.support.errors import DataError, did_you_mean
from tltool.support.files import distinct
from tltool.support.words import listed

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

CSV_SUFFIXES = (".csv", ".tsv", ".tab")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet", ".pq")
TABLE_SUFFIXES = CSV_SUFFIXES + JSONL_SUFFIXES + PARQUET_SUFFIXES


@dataclass(frozen=True)
class Columns:
    """The columns wanted of a table.

    Attributes:
        input: The column of the input.
        labels: Those of the label: one, or several that are one target
            together; none reads unlabelled rows.
        several: Whether a row's label is a tuple, as of several columns, if there is just one.
        classes: As in `LabelColumns`, where the data itself says what they are.
        second: The column of the second text of a pair, whose first is in `input`.
    """

    input: str
    labels: tuple[str, ...] = ()
    several: bool = False
    classes: Mapping[str, Any] | None = None
    second: str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of the input."""
        return (self.input,) if self.second is None else (self.input, self.second)

    @property
    def names(self) -> tuple[str, ...]:
        """The wanted names, in the order inputs, labels."""
        return (*self.inputs, *self.labels)

    def row(self, values: Sequence[Any], origin: str) -> Row:
        """A row of the values of `names`."""
        first_label = len(self.inputs)
        label: Any = tuple(values[first_label:])
        if not self.several:
            label = label[0] if label else None
        value = values[0] if self.second is None else tuple(values[:first_label])
        return Row(value, label, origin)


def read_table(
    path: Path,
    columns: Columns,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    quoting: Quoting | None = None,
) -> list[Row | Broken]:
    """Reads the columns of input and label of a table.

    Args:
        path: A .csv, .tsv, .tab, .jsonl, .ndjson, .parquet or .pq file.
        columns: The columns to read.
        delimiter: Of a CSV file; None takes the one that shows the wanted columns.
        encoding: Of a text file; None takes what the byte order mark says,
            else UTF-8, else Windows-1252 (as Excel writes it).
        quoting: Of a CSV file; see `csv_records`.

    Returns:
        One item a row, in file order: the values as written and the place,
        `file:line` (Parquet: `file: row N`), both counted from 1; rows that
        cannot be read are `Broken`.

    Raises:
        DataError: The file as a whole cannot be read, is empty, or lacks a column.
    """
    suffix = path.suffix.lower()
    if suffix in PARQUET_SUFFIXES:
        return _read_parquet(path, columns)
    if suffix not in TABLE_SUFFIXES:
        raise DataError(
            f"{path}: {suffix or 'a file without a suffix'} is not a table format tltool reads; "
            f"it reads {', '.join(TABLE_SUFFIXES)}.",
            hint="save a spreadsheet as CSV (UTF-8)",
        )
    text = decode(path, encoding)
    if not text.strip():
        raise DataError(f"{path} is empty.", hint="a table needs a header and rows")
    if suffix in JSONL_SUFFIXES:
        return _read_jsonl(path, text, columns)
    return _read_csv(path, text, columns, delimiter, quoting)


def column_names(
    path: Path,
    *,
    delimiter: str | None = ",",
    encoding: str | None = None,
    quoting: Quoting | None = None,
) -> tuple[str, ...]:
    """The names of a table's columns; those in the first object of a file of JSON lines.

    Args:
        path: As for `read_table`.
        delimiter: Of a CSV file; None takes the one that shows the most columns.
        encoding, quoting: As for `read_table`.

    Raises:
        DataError: They cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in PARQUET_SUFFIXES:
        with _parquet_file(path) as file:
            return tuple(file.schema_arrow.names)
    text = decode(path, encoding)
    if suffix in JSONL_SUFFIXES:
        first = _json_object(text.lstrip().partition("\n")[0])
        return tuple(first) if isinstance(first, dict) else ()
    header = csv_header(path, text, delimiter, quoting)
    if isinstance(header, str):
        raise DataError(f"{path}: the header cannot be read: {header}.")
    return tuple(name.strip() for name in header)


def _read_csv(
    path: Path, text: str, columns: Columns, delimiter: str | None, quoting: Quoting | None
) -> list[Row | Broken]:
    records = csv_records(path, text, delimiter, columns.names, quoting)
    header = records[0][1] if records else []
    if isinstance(header, str):
        raise DataError(f"{path}: the header cannot be read: {header}.")
    names = [name.strip() for name in header]
    _check_columns(path, names, columns)
    at = [names.index(name) for name in columns.names]
    rows: list[Row | Broken] = []
    for line, record in records[1:]:
        origin = f"{path}:{line}"
        if isinstance(record, str):
            rows.append(Broken(origin, record))
        elif len(record) != len(names):
            rows.append(Broken(origin, f"{len(record)} fields, the header has {len(names)}"))
        else:
            rows.append(columns.row([record[i] for i in at], origin))
    return _not_empty(path, rows)


def _check_columns(path: Path, names: Sequence[str], columns: Columns) -> None:
    """Raises DataError where a wanted column is not there, or there twice."""
    if twice := [name for name in columns.names if names.count(name) > 1]:
        raise DataError(f"{path}: {names.count(twice[0])} columns are named {twice[0]!r}.")
    missing = [name for name in columns.names if name not in names]
    if missing:
        near = did_you_mean(missing[0], names)
        field = "data.input_column" if columns.second is None else "data.input_columns"
        fix = f"name the columns with {field}"
        if columns.labels:
            fix += " and data.label_column or data.label_columns"
        raise DataError(
            f"{path}: there is no column {' and no column '.join(map(repr, missing))}; its columns "
            f"are {listed(names, 50)}.",
            hint=f"{near} If so, {fix}" if near else f"the first line holds the names; {fix}",
        )


def _not_empty(path: Path, rows: list[Row | Broken]) -> list[Row | Broken]:
    if not rows:
        raise DataError(f"{path} has a header but no rows.")
    return rows


def _read_jsonl(path: Path, text: str, columns: Columns) -> list[Row | Broken]:
    items = [
        (f"{path}:{number}", _json_object(line))
        # not splitlines: it also splits at U+2028, which JSON allows inside a string
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    keys = list(dict.fromkeys(key for _, item in items if isinstance(item, dict) for key in item))
    if keys:
        _check_columns(path, keys, columns)
    rows: list[Row | Broken] = []
    for origin, item in items:
        missing = [n for n in columns.names if isinstance(item, dict) and n not in item]
        if isinstance(item, str):
            rows.append(Broken(origin, item))
        elif missing:
            rows.append(Broken(origin, f"there is no {missing[0]!r}"))
        else:
            rows.append(columns.row([item[name] for name in columns.names], origin))
    return rows


def _json_object(line: str) -> dict[str, Any] | str:
    try:
        value = json.loads(line, object_pairs_hook=distinct)
    except RecursionError:
        return "not JSON (nested too deeply)"
    except ValueError as error:
        return f"not JSON ({error})"
    return value if isinstance(value, dict) else "not a JSON object"


def _read_parquet(path: Path, columns: Columns) -> list[Row | Broken]:
    with _parquet_file(path) as file:
        schema = file.schema_arrow
        _check_columns(path, schema.names, columns)
        for name in columns.names:
            _check_kind(path, schema.field(name))
        table = file.read(columns=list(columns.names))
        cells = [_cells(table, name) for name in columns.names]
    rows: list[Row | Broken] = [
        columns.row(row, f"{path}: row {number}")
        for number, row in enumerate(zip(*cells, strict=True), start=1)
    ]
    return _not_empty(path, rows)


def _check_kind(path: Path, field: pyarrow.Field) -> None:
    """Raises DataError for a column of moments or of records, or of lists of them.

    Not all of them have a Python value: years may be beyond 9999.
    """
    from pyarrow import types

    kind = field.type
    while hasattr(kind, "value_type"):
        kind = kind.value_type
    if types.is_struct(kind) or types.is_map(kind):
        way = "write images to files, and their paths into a table"
    elif types.is_temporal(kind):
        way = "write moments as text"
    else:
        return
    raise DataError(
        f"{path}: the column {field.name!r} holds {field.type}, of which nothing is read.",
        hint=f"name a column of texts or numbers; or {way}",
    )


def _cells(table: pyarrow.Table, name: str) -> list[Any]:
    """A column's values; numbers of classes by the names that Hugging Face stores beside them."""
    values: list[Any] = table.column(name).to_pylist()
    names = _class_names(table.schema.metadata or {}, name)

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(item) for item in value]
        # -1 is what Hugging Face writes where there is no label.
        return None if value == -1 else names[int(value)] if value in range(len(names)) else value

    return [named(value) for value in values] if names else values


def _class_names(metadata: Mapping[bytes, bytes], column: str) -> list[str]:
    """The names of a `ClassLabel`, or of a list of them; none where a column is neither."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        feature = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
        return list(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else []
    except (ValueError, LookupError, TypeError, AttributeError):
        return []


@contextmanager
def _parquet_file(path: Path) -> Iterator[ParquetFile]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}.") from error

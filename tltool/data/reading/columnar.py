"""Parquet and Arrow files, with the names of classes that Hugging Face writes beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.reading.columns import Columns, check_columns
from tltool.data.reading.rows import Broken, Row
from tltool.support.errors import DataError

if TYPE_CHECKING:
    import pyarrow

PARQUET_SUFFIXES = (".parquet", ".pq")
ARROW_SUFFIXES = (".arrow", ".feather")
_ROWS = 64
"""Rows whose cells are Python objects at a time: they may be pictures."""


def columnar_rows(path: Path, columns: Columns) -> Iterator[Row | Broken]:
    """The rows of a Parquet or Arrow file, a few at a time; see `read_table`."""
    with _opened(path, list(columns.names)) as (schema, batches):
        check_columns(path, schema.names, columns)
        for name in columns.names:
            _check_kind(path, schema.field(name), pictures=_takes_pictures(name, columns))
        names = {name: _class_names(schema.metadata or {}, name) for name in columns.names}
        number = 0
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS):
                part = batch.slice(start, _ROWS)
                cells = [_named(part.column(name).to_pylist(), names[name]) for name in names]
                for values in zip(*cells, strict=True):
                    number += 1
                    yield columns.row(values, f"{path}: row {number}")


def columnar_names(path: Path) -> tuple[str, ...]:
    """The names of the columns of a Parquet or Arrow file."""
    with _opened(path, []) as (schema, _):
        return tuple(schema.names)


@contextmanager
def _opened(
    path: Path, wanted: list[str]
) -> Iterator[tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]]:
    """The schema of a file, and its record batches, of Parquet with the wanted columns alone.

    Raises:
        DataError: It is no such file.
    """
    import pyarrow
    from pyarrow import ipc, parquet

    parquets = path.suffix.lower() in PARQUET_SUFFIXES
    try:
        if parquets:
            # Not buffered ahead: a group of rows may hold a gigabyte of pictures.
            with parquet.ParquetFile(path, pre_buffer=False) as file:
                yield file.schema_arrow, file.iter_batches(_ROWS, columns=wanted)
            return
        with pyarrow.memory_map(str(path)) as mapped:
            try:
                file = ipc.open_file(mapped)
                batches = (file.get_batch(i) for i in range(file.num_record_batches))
            except pyarrow.ArrowInvalid:  # as `datasets` writes it
                mapped.seek(0)
                file = batches = ipc.open_stream(mapped)
            yield file.schema, batches
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        kind = "Parquet" if parquets else "Arrow"
        raise DataError(f"{path} is not a readable {kind} file: {error}.") from error


def _takes_pictures(name: str, columns: Columns) -> bool:
    if name == columns.input:
        return columns.picture is not None
    return columns.label_file is not None and name in columns.labels


def _check_kind(path: Path, field: pyarrow.Field, *, pictures: bool) -> None:
    """Raises DataError for a column of moments or of records, or of lists of them.

    Not all of them have a Python value: years may be beyond 9999.
    """
    from pyarrow import types

    kind = field.type
    if pictures and types.is_struct(kind) and {"bytes", "path"} & {one.name for one in kind}:
        return
    while hasattr(kind, "value_type"):
        kind = kind.value_type
    if types.is_struct(kind) or types.is_map(kind):
        way = "read pictures with an image task"
    elif types.is_temporal(kind):
        way = "write moments as text"
    else:
        return
    raise DataError(
        f"{path}: the column {field.name!r} holds {field.type}, of which nothing is read.",
        hint=f"name a column of texts or numbers; or {way}",
    )


def _named(values: list[Any], names: list[str]) -> list[Any]:
    """A column's values, numbers of classes by their names."""

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

"""Tar archives as WebDataset has them: the files of one row share a name up to its first dot.

`0001.jpg`, `0001.cls` and `0001.json` are a row with the columns `jpg` and
`cls`, and one for each key of the JSON object
(https://github.com/webdataset/webdataset#the-webdataset-format).
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from tltool.data.images.signatures import SIGNATURES
from tltool.data.reading.columns import Columns, names_of_objects, rows_of_objects
from tltool.data.reading.rows import Broken, Row
from tltool.support.errors import DataError, first_line
from tltool.support.files import is_of_system, parse_json

TAR_SUFFIXES = (".tar",)
KEY = "__key__"
"""The column with what the files of a row have in common of their names."""
# Columns that can also be called by what they hold.
_PICTURES = {"jpg", "jpeg", "jpe", "jfif", "tif", "tiff", *(name.lower() for name in SIGNATURES)}
_CALLED = {**dict.fromkeys(_PICTURES, "image"), "txt": "text"}

_Item = tuple[str, dict[str, Any] | str]


def tar_rows(path: Path, columns: Columns) -> Iterator[Row | Broken]:
    """The rows of an archive, one after the other; see `read_table`."""
    return rows_of_objects(path, _items(path), columns)


def tar_names(path: Path) -> tuple[str, ...]:
    """The columns of the first rows that can be read."""
    return names_of_objects(_items(path))


def _items(path: Path) -> Iterator[_Item]:
    """The place and the cells of each row.

    Raises:
        DataError: It is no tar archive, or cut short.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            files = (member for member in archive if member.isfile() and not _hidden(member.name))
            for key, members in groupby(files, key=lambda member: _parts(member.name)[0]):
                cells: dict[str, Any] = {KEY: key}
                reason = ""
                for member in members:
                    content = archive.extractfile(member)
                    reason = reason or _add(
                        cells, _parts(member.name)[1], content.read() if content else b""
                    )
                yield f"{path}: {key}", reason or cells
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{path} is not a readable tar archive: {first_line(error)}.") from error


def _hidden(name: str) -> bool:
    return any(is_of_system(part) for part in PurePosixPath(name).parts if part != ".")


def _parts(name: str) -> tuple[str, str]:
    """What the files of a row have in common, and the column."""
    folder, slash, file = name.rpartition("/")
    key, _, column = file.partition(".")
    return f"{folder}{slash}{key}", column.lower()


def _add(cells: dict[str, Any], column: str, content: bytes) -> str:
    """Adds a file to the cells of its row; returns why it cannot be, or nothing."""
    if column != "json":
        if column in cells:
            return f"there are two files .{column}"
        cells[column] = content
        if called := _CALLED.get(column):
            cells.setdefault(called, content)
        return ""
    try:
        values = parse_json(content)
    except ValueError as error:
        return f"its .json is not JSON ({error})"
    if not isinstance(values, dict):
        return "its .json is not a JSON object"
    cells.update(values)
    return ""

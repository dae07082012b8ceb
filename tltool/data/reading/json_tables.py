"""Tables of JSON: one object a line, or an array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tltool.data.reading.columns import Columns, names_of_objects, rows_of_objects
from tltool.data.reading.rows import Broken, Row
from tltool.support.errors import DataError
from tltool.support.files import distinct

Item = tuple[str, dict[str, Any] | str]
"""The place of a row, and its object or why there is none."""


def json_rows(path: Path, text: str, columns: Columns) -> Iterator[Row | Broken]:
    """The rows of a table of JSON; see `read_table`."""
    return rows_of_objects(path, _items(path, text), columns)


def json_names(path: Path, text: str) -> tuple[str, ...]:
    """The keys of its first objects that can be read."""
    return names_of_objects(_items(path, text))


def _items(path: Path, text: str) -> Iterator[Item]:
    if path.suffix.lower() != ".json":
        return _of_lines(path, text)
    if text.lstrip().startswith("["):
        return _of_array(path, text)
    if isinstance(_object(text), dict):
        raise DataError(
            f"{path} holds one object, not rows.",
            hint="its rows must be an array of objects, [{…}, {…}], or an object a line; write "
            "the list in it to a file of its own",
        )
    return _of_lines(path, text)


def _of_lines(path: Path, text: str) -> Iterator[Item]:
    # not splitlines: it also splits at U+2028, which JSON allows inside a string
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", _object(line)


def _of_array(path: Path, text: str) -> Iterator[Item]:
    """The objects of an array with the lines they begin in, or their numbers where all are on one.

    Raises:
        DataError: What is no JSON, by its line: where an object ends is not known then.
    """
    decoder = json.JSONDecoder(object_pairs_hook=distinct)
    place, line, counted, number = _past_space(text, text.index("[") + 1), 1, 0, 0
    in_lines = "\n" in text.strip()
    if text[place : place + 1] == "]":
        return
    while True:
        line, counted, number = line + text.count("\n", counted, place), place, number + 1
        origin = f"{path}:{line}" if in_lines else f"{path}: item {number}"
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            at = error.lineno if isinstance(error, json.JSONDecodeError) else line
            raise DataError(f"{path}:{at}: {_reason(error)}.") from error
        yield origin, value if isinstance(value, dict) else "not a JSON object"
        place = _past_space(text, place)
        if text[place : place + 1] != ",":
            break
        place = _past_space(text, place + 1)
    if text[place : place + 1] != "]" or text[place + 1 :].strip():
        line += text.count("\n", counted, place)
        raise DataError(f"{path}:{line}: not JSON (the array does not go on or end here).")


def _past_space(text: str, place: int) -> int:
    while text[place : place + 1].isspace():
        place += 1
    return place


def _object(line: str) -> dict[str, Any] | str:
    try:
        value = json.loads(line, object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        return _reason(error)
    return value if isinstance(value, dict) else "not a JSON object"


def _reason(error: Exception) -> str:
    why = "nested too deeply" if isinstance(error, RecursionError) else error
    return f"not JSON ({why})"

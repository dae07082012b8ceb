"""CSV as spreadsheets write it, with the line each record starts on."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tltool.support.errors import DataError

DELIMITERS = (",", ";", "\t", "|")


def csv_records(
    path: Path, text: str, delimiter: str | None, wanted: Sequence[str]
) -> list[tuple[int, list[str] | str]]:
    """Splits CSV text into records, the header first; blank lines are no records.

    Args:
        path: For messages.
        text: Contents of the file, without a byte order mark.
        delimiter: One character; None takes the one that Excel's `sep=` line
            names, else the one under which the header shows the `wanted` columns.
        wanted: Names of columns looked for.

    Returns:
        For each record the line it starts on (counted from 1), and its
        fields, or as a text what is wrong with it.

    Raises:
        DataError: The delimiter is not one character, or a quote spoils more
            than its own line, so that what follows cannot be trusted.
    """
    if delimiter is not None and len(delimiter) != 1:
        raise DataError(
            f"data.delimiter: one character is needed, received {delimiter!r}.",
            hint='a tab is written "\\t" in YAML',
        )
    skipped_lines = 0
    if text[:4].lower() == "sep=":
        first, _, text = text.partition("\n")
        delimiter, skipped_lines = delimiter or first[4:5], 1
    with _fields_of_any_length():
        delimiter = delimiter or _find_delimiter(text, wanted)
        return list(_records(path, text, delimiter, skipped_lines))


def _records(
    path: Path, text: str, delimiter: str, skipped_lines: int
) -> Iterator[tuple[int, list[str] | str]]:
    # strict: otherwise a quote that is never closed swallows the rest of the
    # file into one field, without an error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = skipped_lines + reader.line_num + 1
        try:
            record: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if skipped_lines + reader.line_num > line or "unexpected end" in str(error):
                raise _runaway_quote(path, line) from None
            record = f"a quote inside a quoted field must be doubled ({error})"
        if record:
            yield line, record


def _runaway_quote(path: Path, line: int) -> DataError:
    return DataError(
        f"{path}:{line}: the quote that opens here is not closed right, so the rows after it "
        "cannot be told apart.",
        hint='close it, and write a quote inside a quoted field twice: "She said ""yes""."',
    )


def _find_delimiter(text: str, wanted: Sequence[str]) -> str:
    """The delimiter under which the header has the wanted columns, else the most columns."""

    def score(delimiter: str) -> tuple[int, int]:
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            header = []
        names = [name.strip() for name in header]
        return sum(name in names for name in wanted), len(names)

    return max(DELIMITERS, key=score)


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Lifts Python's limit of 131,072 characters a field."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)

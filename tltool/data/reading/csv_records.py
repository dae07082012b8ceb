"""CSV as spreadsheets write it, with the line each record starts on."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tltool.recipe.schema import Quoting
from tltool.support.errors import DataError

_LOG = logging.getLogger(__name__)

DELIMITERS = (",", ";", "\t", "|")
_LINE = re.compile(r"[^\r\n]*+(?:\r\n?|\n)|[^\r\n]++")
_QUOTED = r'"(?:[^"]++|"")*+"'


class _Record(NamedTuple):
    """Fields, or what is wrong with them, and the first and last line they stand on."""

    line: int
    last: int
    fields: list[str] | str


def csv_records(
    path: Path,
    text: str,
    delimiter: str | None,
    wanted: Sequence[str],
    quoting: Quoting | None = None,
) -> Iterator[tuple[int, list[str] | str]]:
    """Splits CSV text into records, the header first; blank lines are no records.

    No record is kept: a text with quotes is read twice, first to find out how they are meant.

    Args:
        path: For messages.
        text: Contents of the file, without a byte order mark.
        delimiter: One character; None takes the one that Excel's `sep=` line
            names, else the one under which the header shows the `wanted` columns.
        wanted: Names of columns looked for.
        quoting: "minimal" takes a field in quotes whole, line breaks too;
            "none" takes quotes for characters; None is "minimal", unless a
            quote would join lines each of which is a record by itself.

    Yields:
        For each record the line it starts on (counted from 1), and its
        fields, or as a text what is wrong with it.

    Raises:
        DataError: The delimiter is not one character, or a quote spoils more
            than its own line, so that what follows cannot be trusted.
    """
    text, delimiter, skipped_lines = _opened(text, delimiter, wanted)
    spaces = False
    if quoting != "none" and '"' in text:
        found = _looked_at(path, text, delimiter, skipped_lines, quoting)
        if spaces := found.spaced is not None:
            _LOG.warning("%s:%d: the spaces before its quotes are left out", path, found.spaced)
            found = _looked_at(path, text, delimiter, skipped_lines, quoting, spaces=True)
        if quoting is None:
            _check_joined(path, text, delimiter, found, skipped_lines)
    for record in _records(path, text, delimiter, skipped_lines, quoting, spaces=spaces):
        yield record.line, record.fields


def csv_header(
    path: Path, text: str, delimiter: str | None, quoting: Quoting | None = None
) -> list[str] | str:
    """The first of `csv_records`; the others are not read."""
    text, delimiter, skipped_lines = _opened(text, delimiter, ())
    first = list(islice(_records(path, text, delimiter, skipped_lines, quoting), 1))
    if quoting != "none" and any(_is_spaced(record, len(record.fields)) for record in first):
        first = [next(_records(path, text, delimiter, skipped_lines, quoting, spaces=True))]
    return first[0].fields if first else []


def _opened(text: str, delimiter: str | None, wanted: Sequence[str]) -> tuple[str, str, int]:
    """The text of the records, their delimiter, and the number of lines before them."""
    if delimiter is not None and len(delimiter) != 1:
        raise DataError(
            f"data.delimiter: one character is needed, received {delimiter!r}.",
            hint='a tab is written "\\t" in YAML',
        )
    skipped_lines = 0
    if text[:4].lower() == "sep=" and (first := _LINE.match(text)):
        delimiter, skipped_lines = delimiter or first[0].rstrip("\r\n")[4:5], 1
        text = text[first.end() :]
    return text, delimiter or find_delimiter(text, wanted), skipped_lines


def _records(
    path: Path,
    text: str,
    delimiter: str,
    skipped_lines: int,
    quoting: Quoting | None,
    *,
    spaces: bool = False,
) -> Iterator[_Record]:
    # strict: otherwise a quote that is never closed swallows the rest of the
    # file into one field, without an error
    lines = _Lines(text, skipped_lines)
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        strict=True,
        skipinitialspace=spaces,
        quoting=csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL,
    )
    while True:
        line, start = lines.number + 1, lines.end
        try:
            fields: list[str] | str = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error)
            if "field limit" in reason:
                lines.back_to(line, start)
                fields = _long_record(lines, delimiter, quotes=quoting != "none", spaces=spaces)
                reason = fields if isinstance(fields, str) else ""
            else:
                fields = reason
            if reason and (lines.number > line or "unexpected end" in reason):
                raise _runaway_quote(path, line) from None
            if reason:
                fields = f"a quote inside a quoted field must be doubled ({reason})"
        if fields:
            yield _Record(line, lines.number, fields)


class _Lines:
    """The lines of a text, each with the characters that end it.

    Args:
        text: They are cut from it one by one.
        skipped: Lines before the text.

    Attributes:
        number: Of the last one given, counted from 1.
        end: Where the text goes on after it.
    """

    def __init__(self, text: str, skipped: int) -> None:
        self.text = text
        self.number = skipped
        self.end = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        found = _LINE.match(self.text, self.end)
        if found is None:
            raise StopIteration
        self.end = found.end()
        self.number += 1
        return found[0]

    def back_to(self, line: int, start: int) -> None:
        """Goes back to where the line begins."""
        self.number, self.end = line - 1, start

    def pass_to(self, place: int) -> None:
        """Goes on past the line that ends at a place or after it."""
        while self.end < place and next(self, None) is not None:
            pass


def _long_record(lines: _Lines, delimiter: str, *, quotes: bool, spaces: bool) -> list[str] | str:
    """The next record, or what is wrong with it, as `csv.reader` has it.

    That keeps a field in four bytes a character and twice over; here a field is cut from the text.
    """
    plain = rf"[^{re.escape(delimiter)}\r\n]*+"
    value = rf'({_QUOTED})|((?!"){plain})' if quotes else f"(?!)()|({plain})"
    space = " *+" if spaces else ""
    field = re.compile(rf"{space}(?:{value})({re.escape(delimiter)}|\r\n?|\n|\Z)")
    fields, place = [], lines.end
    while found := field.match(lines.text, place):
        quoted, unquoted, ending = found.groups()
        fields.append(unquoted if quoted is None else quoted[1:-1].replace('""', '"'))
        place = found.end()
        if ending != delimiter:
            lines.pass_to(place)
            return fields
    closed = re.compile(space + _QUOTED).match(lines.text, place)
    lines.pass_to(closed.end() if closed else len(lines.text))
    return f"'{delimiter}' expected after '\"'" if closed else "unexpected end of data"


class _Look(NamedTuple):
    """What a table shows when it is read once.

    Attributes:
        width: Fields of the header.
        spaced: The line of the first field that is in quotes but for a space before them.
        spans: First and last line of the records that have several.
        meant: Whether a quote keeps a delimiter from dividing a field somewhere.
    """

    width: int
    spaced: int | None
    spans: list[tuple[int, int]]
    meant: bool


def _looked_at(
    path: Path,
    text: str,
    delimiter: str,
    skipped_lines: int,
    quoting: Quoting | None,
    *,
    spaces: bool = False,
) -> _Look:
    width, spaced, meant = 0, None, False
    spans: list[tuple[int, int]] = []
    for number, record in enumerate(
        _records(path, text, delimiter, skipped_lines, quoting, spaces=spaces)
    ):
        fields = record.fields
        if not number:
            width = len(fields)
        elif record.last > record.line:
            spans.append((record.line, record.last))
        if record.last == record.line and len(fields) == width and isinstance(fields, list):
            meant = meant or any(delimiter in field for field in fields)
        if spaced is None and _is_spaced(record, width):
            spaced = record.line
    return _Look(width, spaced, spans, meant)


def _is_spaced(record: _Record, width: int) -> bool:
    """Whether a record has a field that is in quotes but for a space before them."""
    fields = record.fields if isinstance(record.fields, list) else []
    return any(
        field[:1] == " "
        and field.lstrip(" ")[:1] == '"'
        and (field.endswith('"') or len(fields) != width)
        for field in fields
    )


def _until(lines: Iterator[tuple[int, str]], last: int) -> Iterator[tuple[int, str]]:
    """Numbered lines up to one with its number."""
    for number, line in lines:
        yield number, line
        if number >= last:
            return


def _check_joined(path: Path, text: str, delimiter: str, found: _Look, skipped_lines: int) -> None:
    """Raises DataError where a quote joins lines that are records by themselves.

    Not where quotes are known to be meant as such: where one keeps a delimiter
    from dividing a field.
    """
    width = found.width
    if width < 2 or not found.spans or found.meant:
        return
    lines = enumerate(_Lines(text, skipped_lines), start=skipped_lines + 1)
    joined = []
    for first, last in found.spans:
        own = (line for number, line in _until(lines, last) if number >= first)
        if all(line.count(delimiter) + 1 == width for line in own):
            joined.append((first, last))
    if joined:
        (first, last), more = joined[0], len(joined) - 1
        raise DataError(
            f"{path}:{first}: the quote that opens here closes in line {last}, but each "
            f"of these lines has {width} fields by itself"
            + (f"; so it is in {more} more places." if more else "."),
            hint="data.quoting=none takes quotes for characters, one row a line; "
            "data.quoting=minimal reads one field with line breaks",
        )


def _runaway_quote(path: Path, line: int) -> DataError:
    return DataError(
        f"{path}:{line}: the quote that opens here is not closed right, so the rows after it "
        "cannot be told apart.",
        hint='close it, and write a quote inside a quoted field twice: "She said ""yes""."; or '
        "take quotes for characters with data.quoting=none",
    )


def find_delimiter(text: str, wanted: Sequence[str]) -> str:
    """The delimiter under which the header has the wanted columns, else the most columns."""

    def score(delimiter: str) -> tuple[int, int]:
        try:
            header = next(csv.reader(_Lines(text, 0), delimiter=delimiter), [])
        except csv.Error:
            header = []
        names = [name.strip() for name in header]
        return sum(name in names for name in wanted), len(names)

    return max(DELIMITERS, key=score)

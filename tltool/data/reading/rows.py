"""Rows on their way into `Examples`: read, checked one by one, and the broken ones settled."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

from tltool.data.examples import Split
from tltool.data.images.kept import is_kept
from tltool.data.packed import CodedBuilder, TextBuilder
from tltool.recipe.schema import OnError
from tltool.support.errors import DataError
from tltool.support.items import CHANNELS
from tltool.support.words import excerpt
from tltool.tasks.table import INPUT_COLUMNS, Modality
from tltool.tasks.values import BadValueError, as_text, check_unicode

SHOWN = 20
"""How many lines about broken rows one error has."""
_NAMED = 3
# What differs in reasons that are alike: what is quoted, and the file that is named first.
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|^[^:]*/[^:]*(?=: )")
_GONE = "…: there is no such file"
_PLACES = "; paths in a table are taken from its folder, or from data.image_root"

MAX_CHARACTERS = 10_000_000
"""Longest text of an example; it takes some 0.7 GB while it is tokenized."""


class Row(NamedTuple):
    """An input and its label as they stand in the source, and where that is.

    Attributes:
        split: The split that the source says it is of, or None.
        group: What the source says it belongs to, such as a patient, or None.
    """

    input: Any
    label: Any
    origin: str
    split: Split | None = None
    group: str | None = None


class Broken(NamedTuple):
    """A row or a file that cannot be used, and why."""

    origin: str
    reason: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"


class RowsBuilder:
    """Rows that come one by one, kept in few bytes each; see `tltool.data.packed`."""

    def __init__(self) -> None:
        kinds = (TextBuilder, CodedBuilder, TextBuilder, CodedBuilder, CodedBuilder)
        self._columns = [kind() for kind in kinds]
        self._broken: dict[int, str] = {}
        self._count = 0

    def append(self, row: Row | Broken) -> None:
        """Adds a row."""
        if isinstance(row, Broken):
            self._broken[self._count] = row.reason
            row = Row("", None, row.origin)
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        self._count += 1

    def finish(self) -> KeptRows:
        """All rows; nothing can be added after that."""
        return KeptRows([column.finish() for column in self._columns], self._broken)


class KeptRows(Sequence[Row | Broken]):
    """Rows that `RowsBuilder` made.

    Args:
        columns: The fields of `Row`, each of all rows.
        broken: What is wrong with those that are `Broken`, by their number.
    """

    def __init__(self, columns: Sequence[Sequence[Any]], broken: Mapping[int, str]) -> None:
        self._columns, self._broken = columns, broken

    @classmethod
    def of(cls, rows: Iterable[Row | Broken]) -> KeptRows:
        """Some rows."""
        builder = RowsBuilder()
        for row in rows:
            builder.append(row)
        return builder.finish()

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, row: int) -> Row | Broken: ...

    @overload
    def __getitem__(self, row: slice) -> list[Row | Broken]: ...

    def __getitem__(self, row: int | slice) -> Row | Broken | list[Row | Broken]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        found = Row(*(column[row] for column in self._columns))
        return self._or_broken(row % len(self), found)

    def __iter__(self) -> Iterator[Row | Broken]:
        for number, values in enumerate(zip(*self._columns, strict=True)):
            yield self._or_broken(number, Row(*values))

    def _or_broken(self, number: int, row: Row) -> Row | Broken:
        reason = self._broken.get(number)
        return row if reason is None else Broken(row.origin, reason)


def broken_file(origin: str, path: str, reason: str) -> Broken:
    """A row whose file cannot be used: names a file of the user's that the row only refers to."""
    return Broken(origin, reason if origin == path or is_kept(path) else f"{path}: {reason}")


def settle(broken: Sequence[Broken], on_error: OnError, *, what: str = "rows") -> tuple[str, ...]:
    """Applies `data.on_error` to what turned out broken.

    Args:
        broken: Every broken row or file found.
        on_error: "stop" raises one error that lists them; "skip" returns them.
        what: The plural noun of the message.

    Returns:
        One line for each, for `Examples.skipped`.

    Raises:
        DataError: Something is broken and `on_error` is "stop".
    """
    if broken and on_error == "stop":
        hint = "mend or remove them, or set data.on_error=skip to list them and leave them out"
        raise refused(broken, what, hint)
    return tuple(map(str, broken))


def refused(broken: Sequence[Broken], what: str, hint: str) -> DataError:
    """One error for several rows, the first of them listed.

    Args:
        broken: At least one.
        what: The plural noun of the message.
        hint: What to do.
    """
    message = f"{len(broken)} of the {what} cannot be used:"
    return DataError("\n  ".join([message, *_lines(broken)]), hint=hint)


def _lines(broken: Sequence[Broken]) -> list[str]:
    """One line for each, or for all that have the same reason if these are many.

    Where that is too much to show, reasons that differ in a value or in a file are the same.
    """
    lines = _gathered(broken, str)
    if len(lines) > SHOWN:
        lines = _gathered(broken, lambda reason: _VALUE.sub("…", reason))
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"and {more} more lines like these"] if more > 0 else [])]


def _gathered(broken: Sequence[Broken], alike: Callable[[str], str]) -> list[str]:
    groups: dict[str, list[Broken]] = defaultdict(list)
    for row in broken:
        groups[alike(row.reason)].append(row)
    lines: list[str] = []
    for reason, rows in groups.items():
        if len(rows) <= _NAMED:
            lines += map(str, rows)
            continue
        first = ", ".join(row.origin for row in rows[:_NAMED])
        told = f"{first} and {len(rows) - _NAMED} more: {rows[0].reason}"
        if any(row.reason != rows[0].reason for row in rows):
            told += " (the first of them; the others are like it)"
        lines.append(told + (_PLACES if reason == _GONE else ""))
    return lines


def input_of(value: Any, modality: Modality) -> Any:
    """A usable input: a text that is not blank, several of them, an image path, or a uint8 image.

    Raises:
        BadValueError: The input is missing, blank or of another kind.
    """
    if modality == "image" and hasattr(value, "dtype") and hasattr(value, "shape"):
        return _image_array(value)
    if (number := len(INPUT_COLUMNS[modality])) > 1:
        return texts_in(value, _text, number)
    return _text(value, "text" if modality == "text" else "image path")


_CALLED = ("first text", "second text", "third text")


def texts_in(value: Any, read: Callable[[Any, str], str], number: int = 2) -> tuple[str, ...]:
    """Two or three texts, of a list, a tuple or an array.

    Args:
        value: As it was given.
        read: From a text and what messages call it to the text.
        number: How many there must be.

    Raises:
        BadValueError: There are more or fewer, or `read` raises it.
    """
    values = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(values, list | tuple) or len(values) != number:
        what = "a pair of" if number == 2 else "three"
        raise BadValueError(f"the input is not {what} texts but {excerpt(repr(values))}")
    return tuple(read(one, called) for one, called in zip(values, _CALLED, strict=False))


def _text(value: Any, noun: str) -> str:
    try:
        text = as_text(value)
    except BadValueError as error:
        raise BadValueError(f"the {noun} {error}") from None
    if not text.strip():
        raise BadValueError(f"the {noun} is empty")
    if len(text) > MAX_CHARACTERS:
        raise BadValueError(
            f"the {noun} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read"
        )
    if noun != "image path":
        check_unicode(text, noun)
    return text


def _image_array(value: Any) -> Any:
    import numpy as np

    image = np.asarray(value)
    if image.dtype != np.uint8:
        raise BadValueError(
            f"the image is {image.dtype}, not uint8 (0..255); convert it, e.g. with "
            "`.clip(0, 255).astype('uint8')`"
        )
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    channels = image.shape[-1] if image.ndim == 3 else 1
    if image.ndim not in {2, 3} or channels not in CHANNELS or not image.size:
        raise BadValueError(
            f"the image has shape {image.shape}, not (height, width) or "
            "(height, width, channels) with 1, 3 or 4 channels"
        )
    return image

"""The columns wanted of a table, and how the cells of one row become a `Row`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tltool.data.examples import SPLIT_WORDS, Split, split_named
from tltool.data.images.kept import kept_image
from tltool.data.reading.rows import Broken, Row
from tltool.support.errors import DataError, did_you_mean
from tltool.support.words import listed
from tltool.tasks.values import BadValueError, as_text

_NAMING = 100
"""Rows that name their own cells whose names are those of the table."""


@dataclass(frozen=True)
class Columns:
    """The columns wanted of a table.

    Attributes:
        input: The column of the input.
        labels: Those of the label: one, or several that are one target
            together; none reads unlabelled rows.
        several: Whether a row's label is a tuple, as of several columns, if there is just one.
        split: The column that says which split a row is of, or None.
        group: The column of what rows belong to that must stay together, or None.
        picture: What turns a cell into the path of a picture (see `picture_in`); None
            takes inputs as they are.
        label_file: What turns a cell into the file of a label (see `file_in`); None takes
            labels as they are.
        classes: As in `LabelColumns`, where the data itself says what they are.
        more: The columns of further texts of a row, whose first is in `input`.
        sparse: Whether rows that name their own cells may lack some, which are None then.
        shared: Whether other data, which was read before, has them too.
    """

    input: str
    labels: tuple[str, ...] = ()
    several: bool = False
    split: str | None = None
    group: str | None = None
    picture: Callable[[Any], Any] | None = None
    label_file: Callable[[Any], Any] | None = None
    classes: Mapping[str, Any] | None = None
    more: tuple[str, ...] = ()
    sparse: bool = False
    shared: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of the input."""
        return (self.input, *self.more)

    @property
    def names(self) -> tuple[str, ...]:
        """The wanted names, in the order inputs, labels, split, group."""
        others = [name for name in (self.split, self.group) if name is not None]
        return (*self.inputs, *self.labels, *others)

    def row(self, values: Sequence[Any], origin: str) -> Row | Broken:
        """A row of the values of `names`."""
        first_label = len(self.inputs)
        value = tuple(values[:first_label]) if self.more else values[0]
        cells = values[first_label:]
        others = iter(cells[len(self.labels) :])
        label: Any = tuple(cells[: len(self.labels)])
        if not self.several:
            label = label[0] if label else None
        try:
            return Row(
                value if self.picture is None else self.picture(value),
                label if self.label_file is None else self.label_file(label),
                origin,
                None if self.split is None else _split(next(others)),
                None if self.group is None else _group(next(others)),
            )
        except BadValueError as error:
            return Broken(origin, str(error))


def _split(cell: Any) -> Split:
    try:
        word = as_text(cell)
    except BadValueError as error:
        raise BadValueError(f"the split {error}") from None
    split = split_named(word.strip())
    if split is None:
        words = ", ".join(name for names in SPLIT_WORDS.values() for name in names)
        raise BadValueError(f"the split {word!r} is none of {words}")
    return split


def _group(cell: Any) -> str:
    try:
        group = as_text(cell).strip()
    except BadValueError as error:
        raise BadValueError(f"the group {error}") from None
    if not group:
        raise BadValueError("the group is empty")
    return group


def picture_in(cell: Any, folder: Path, suffix: str = "") -> Any:
    """The path of the picture that a cell of a table stands for.

    Args:
        cell: A path; the bytes of an image file; or both as Hugging Face's
            `datasets` has them, `{"bytes": …, "path": …}`, of which bytes count.
        folder: What paths are relative to.
        suffix: Added to paths that do not end in it.

    Raises:
        BadValueError: The bytes are no picture, or the cell is of another kind.
    """
    cell = _path_or_bytes(cell, "image")
    if isinstance(cell, bytes):
        return str(kept_image(cell))
    text = cell if cell is None or isinstance(cell, str) else _path_text(cell)
    if not text or not text.strip():
        return text
    name = text.strip()
    return str(folder / (name if name.lower().endswith(suffix.lower()) else name + suffix))


def file_in(cell: Any, folder: Path) -> Any:
    """The file that is the label of a row: its path, or its bytes.

    Args:
        cell: As for `picture_in`.
        folder: What paths are relative to.

    Raises:
        BadValueError: It is an object without either.
    """
    cell = _path_or_bytes(cell, "label")
    return str(folder / cell.strip()) if isinstance(cell, str) and cell.strip() else cell


def _path_or_bytes(cell: Any, noun: str) -> Any:
    """The one that counts of an object with both; another cell as it is."""
    if not isinstance(cell, Mapping):
        return cell
    if not cell.keys() & {"bytes", "path"}:
        raise BadValueError(
            f"the {noun} is an object with the keys {listed(list(map(str, cell)))}, not a path"
        )
    return cell.get("path") if cell.get("bytes") is None else cell["bytes"]


def _path_text(cell: Any) -> str:
    """Numbers name files too, where a suffix is added to them."""
    try:
        return as_text(cell)
    except BadValueError as error:
        raise BadValueError(f"the image path {error}") from None


def check_columns(path: Path | str, names: Sequence[str], columns: Columns) -> None:
    """Raises DataError where a wanted column of a file, or of what a text says, is not there once.

    Args:
        path: Whose columns they are, for messages.
        names: Of all columns.
        columns: Those that are wanted.
    """
    if twice := [name for name in columns.names if names.count(name) > 1]:
        raise DataError(f"{path}: {names.count(twice[0])} columns are named {twice[0]!r}.")
    missing = [name for name in columns.names if name not in names]
    if missing:
        near = did_you_mean(missing[0], names)
        field = "data.input_columns" if columns.more else "data.input_column"
        fix = f"name the columns with {field}"
        if columns.labels:
            fix += " and data.label_column or data.label_columns"
        if columns.shared:
            near = None
            fix = f"rename them: those of data.train count here too, {listed(columns.names)}"
        first = "the first line holds the names; " if isinstance(path, Path) else ""
        raise DataError(
            f"{path}: there is no column {' and no column '.join(map(repr, missing))}; its columns "
            f"are {listed(names, 50)}.",
            hint=f"{near} If so, {fix}" if near else f"{first}{fix}",
        )


def names_of_objects(items: Iterable[tuple[str, Mapping[str, Any] | str]]) -> tuple[str, ...]:
    """The names in the first rows of `rows_of_objects` that can be read, as they first appear."""
    sound = (item for _, item in items if not isinstance(item, str))
    return tuple(dict.fromkeys(chain.from_iterable(islice(sound, _NAMING))))


def rows_of_objects(
    path: Path, items: Iterable[tuple[str, Mapping[str, Any] | str]], columns: Columns
) -> Iterator[Row | Broken]:
    """The rows of a table in which each row names its own cells.

    Args:
        path: Of the table, for messages.
        items: The place of each row and its cells by name, or why it cannot be read.
        columns: The columns to read.

    Raises:
        DataError: A column is in none of the rows.
    """
    found: dict[str, None] = {}
    for origin, item in items:
        if isinstance(item, str):
            yield Broken(origin, item)
            continue
        found.update(dict.fromkeys(item))
        missing = [name for name in columns.names if name not in item]
        if missing and not columns.sparse:
            yield Broken(origin, f"there is no {missing[0]!r}")
        else:
            yield columns.row([item.get(name) for name in columns.names], origin)
    if found:
        check_columns(path, list(found), columns)

"""Which columns of a table look like inputs and labels, and what task they are for."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tltool.data.examples import split_named
from tltool.data.images.signatures import image_format
from tltool.data.reading.columns import Columns, picture_in
from tltool.data.reading.folders import FILE_NAME, IMAGE_SUFFIXES
from tltool.data.reading.rows import Row
from tltool.data.reading.tables import (
    SHARD_SUFFIXES,
    column_names,
    each_row,
    table_suffix,
    text_options,
)
from tltool.data.reading.walk import subfolders
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.support.words import listed
from tltool.tasks.guess import (
    are_numbers,
    is_mark,
    known_task,
    likely_task,
    numbers_in,
    paired,
    task_of_files,
    task_of_texts,
    task_of_words,
)
from tltool.tasks.table import INPUT_COLUMNS, TASKS, Modality, TaskSpec
from tltool.tasks.values import BadValueError, as_text, is_missing

_LOG = logging.getLogger(__name__)

LOOKED_AT = 1000
"""Rows of a table, or files of a folder, that the guess is made from."""
_TRIED_PATHS = 20
# In the order in which they are preferred; the names of columns are compared in lower case.
_TEXT_NAMES = (
    *("text", "sentence", "review", "content", "comment", "tweet", "message", "body"),
    *("document", "question", "utterance", "description", "title"),
)
_LABEL_NAMES = (
    *("label", "labels", "class", "classes", "category", "target", "cls", "class_name"),
    *("sentiment", "stars", "rating", "score", "emotion", "emotions", "intent", "topic", "tags"),
    *("genre", "genres", "species", "breed", "diagnosis", "y"),
)
_IMAGE_NAMES = ("image", FILE_NAME, "filename", "img", "picture", "photo", "path")
_PAIR_NAMES = (
    *(INPUT_COLUMNS["text_pair"], ("sentence1", "sentence2"), ("sentence_a", "sentence_b")),
    *(("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2")),
    *(("query", "passage"), ("query", "document"), ("question", "sentence")),
)
# Texts that are like each other, of rows without a label.
_LIKE_NAMES = (
    *(("anchor", "positive"), ("query", "positive"), ("question", "answer"), ("query", "answer")),
    *_PAIR_NAMES,
)
_UNLIKE_NAMES = ("negative", "hard_negative", "wrong")
_MASK_NAMES = ("mask", "annotation", "segmentation", "label")
_PICTURES = {"images", "image files"}
_SPLIT_NAMES = ("split", "set", "subset", "partition", "fold")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?", re.ASCII)
_GROUP_WORDS = ("patient", "subject", "speaker", "author", "user", "video", "group")


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, and the cells of the rows that were looked at."""

    name: str
    cells: Sequence[Any]

    @property
    def values(self) -> list[Any]:
        """Cells that are not missing."""
        return [cell for cell in self.cells if not is_missing(cell) and cell != ""]

    @property
    def texts(self) -> list[str]:
        """Values as text, those that are single ones."""
        found = []
        for value in self.values:
            with suppress(BadValueError):
                found.append(as_text(value))
        return found

    @property
    def kind(self) -> str:
        """What it holds, in words."""
        if not self.values:
            return "nothing"
        if any(map(_is_picture, self.values)):
            return "images"
        if any(isinstance(value, Mapping) for value in self.values):
            return "objects"
        texts = self.texts
        if len(texts) < len(self.values):
            return "lists"
        if all(text.lower().endswith(IMAGE_SUFFIXES) for text in texts):
            return "image files"
        if all(map(_DATE.fullmatch, texts)):
            return "dates"
        return "numbers" if numbers_in(texts) else "texts"

    def shown(self) -> dict[str, Any]:
        """A line about it."""
        listing = self.kind in {"lists", "objects"}
        example = repr(self.values[0]) if listing else next(iter(self.texts), "")
        return {
            "column": self.name,
            "holds": self.kind,
            "distinct": len(set(map(repr, self.values))),
            "missing": len(self.cells) - len(self.values),
            "example": "" if self.kind == "images" else example[:60],
        }


def _is_picture(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and value.keys() <= {"bytes", "path"}
    return isinstance(value, bytes) and image_format(value) is not None


def columns_of(path: Path, section: DataSection) -> list[Column]:
    """The columns of a table that have a name of their own, with the cells of its first rows."""
    text = text_options(section)
    written = column_names(path, **text)
    if not written:  # what is wrong with the first row says why
        told = next((f": {row}" for row in each_row(path, Columns(""), **text)), "")
        raise DataError(f"{path} has no row that can be read{told}.")
    counts = Counter(filter(None, written))
    if twice := [name for name, number in counts.items() if number > 1]:
        _LOG.warning("%s: columns of one name cannot be read: %s", path, listed(twice))
    names = [name for name in counts if name not in twice]
    if not names:
        raise DataError(f"{path}: no column has a name of its own.")

    def cells(*wanted: str) -> Iterator[tuple[Any, ...]]:
        columns = Columns(
            wanted[0], wanted[1:], several=True, picture=lambda cell: cell, sparse=True
        )
        for row in islice(each_row(path, columns, **text), LOOKED_AT):
            if isinstance(row, Row):
                yield (row.input, *row.label)

    if table_suffix(path) in SHARD_SUFFIXES:  # not all of their columns can be read
        found, faults = [], []
        for name in names:
            try:
                found.append(Column(name, [row[0] for row in cells(name)]))
            except DataError as fault:
                faults.append(fault)
        if faults and not found:
            raise faults[0]
        return found
    rows = list(cells(*names))
    return [Column(name, [row[i] for row in rows]) for i, name in enumerate(names)]


def guess(
    columns: Sequence[Column],
    table: Path,
    section: DataSection,
    spec: TaskSpec | None,
    *,
    beside: bool,
) -> tuple[dict[str, Any], str]:
    """The fields that read a table, and its task.

    Raises:
        DataError: No column looks like inputs or like labels, or they are tags of single words.
    """
    if not any(column.cells for column in columns):
        raise DataError(f"{table} has no rows that can be read.")
    fields: dict[str, Any] = {}
    named = {column.name: column for column in columns}
    modality: Modality | None = None if spec is None else spec.modality
    if known := known_task({name: column.cells for name, column in named.items()}, spec):
        task, input_name, label_name = known
        return {"input_column": input_name, "label_column": label_name}, task
    if beside:
        inputs, modality = _those_of([section.input_column or FILE_NAME], named), "image"
    elif pair := _pair(named, section, modality):
        inputs, modality = _those_of(pair, named), "text_pair"
    else:
        one, modality, fields = _input(columns, table, section, modality)
        inputs = [one] if one else []
    if not inputs:
        raise _no_column(
            f"{table}: no column looks like texts or images",
            section.input_column,
            named,
            "data.input_column, or data.input_columns for pairs of texts",
        )
    names = tuple(column.name for column in inputs)
    if not beside and names != INPUT_COLUMNS[modality]:
        fields |= {"input_columns": list(names)} if len(names) > 1 else {"input_column": names[0]}
    taken = {*names, section.split_column, section.group_column}
    others = [column for column in columns if column.name not in taken and column.values]
    if split := _split(others, section):
        fields["split_column"] = split
        others = [column for column in others if column.name != split]
    of_files = spec is not None and spec.target.file_labels
    cells, labels = ([], {}) if of_files else _labels(others, section)
    files = None if cells else _label_files(others, section)
    if files is not None and (likely := task_of_files(modality)):
        if files.name != TASKS[likely].target.label_column:
            fields["label_column"] = files.name
        return fields, likely
    texts = _like_texts(columns, section) if spec is None or spec.of_texts else ()
    if texts and (not cells or (spec is not None and are_numbers(cells))):
        return _of_texts(texts, others, section, spec, fields, labels)
    if not cells:
        raise _no_column(
            f"{table}: no column looks like labels",
            section.label_column,
            named,
            "data.label_column",
        )
    return {**fields, **labels}, _task_of(modality, cells, table) if spec is None else spec.name


def _task_of(modality: Modality, cells: Sequence[Any], table: Path) -> str:
    """The task that labels look made for."""
    if modality == "text" and (tagging := task_of_words(cells)):
        raise DataError(
            f"{table}: the labels look like tags of words ({listed(sorted(set(cells)), 5)}), which "
            f"{tagging} does not read from a table with a row for each.",
            hint="write CoNLL, a word and its tag a line with a tab between, an empty line after "
            "each sentence (docs/tags.md); or name the task, as for other labels",
        )
    return likely_task(modality, cells)


def _no_column(
    told: str, wanted: str | None, named: Mapping[str, Column], option: str
) -> DataError:
    """That no column can be guessed, or that the one that is wanted is not there or is empty."""
    there = f"its columns are {', '.join(named)}."
    if wanted is None:
        return DataError(f"{told}; {there}", hint=f"name it: {option}")
    table = told.partition(": no column")[0]
    if wanted in named:
        return DataError(f"{table}: the column {wanted!r} is empty.")
    return DataError(f"{table}: there is no column {wanted!r}; {there}")


def _like_texts(columns: Sequence[Column], section: DataSection) -> Sequence[str]:
    """The columns of texts that are like each other in a row, two or with one unlike; or none."""
    if section.input_columns or section.input_column:
        return section.input_columns or ()
    texts = [column for column in columns if column.kind == "texts"]
    written = {column.name.strip().lower(): column.name for column in reversed(texts)}
    for pair in _LIKE_NAMES:
        if all(name in written for name in pair):
            unlike = [written[name] for name in _UNLIKE_NAMES if name in written]
            return [*(written[name] for name in pair), *unlike[:1]]
    return [column.name for column in texts[:2]] if len(texts) > 1 else ()


def _of_texts(
    texts: Sequence[str],
    others: Sequence[Column],
    section: DataSection,
    spec: TaskSpec | None,
    fields: Mapping[str, Any],
    labels: Mapping[str, Any],
) -> tuple[dict[str, Any], str]:
    """The fields and the task of rows of several texts, without a label or with a number."""
    found = {key: value for key, value in fields.items() if key == "split_column"}
    found["input_columns"] = list(texts)
    number = next(filter(_is_measured, others), None) if len(texts) == 2 else None
    if labels or section.label_column:
        found |= labels or {"label_column": section.label_column}
    elif number is not None:
        found["label_column"] = number.name
    if spec is None and "label_column" in found and number is not None:
        return found, likely_task("text_pair", number.values)
    return found, task_of_texts()


def _is_measured(column: Column) -> bool:
    """Whether it holds numbers that are no mere counting of the rows."""
    numbers = numbers_in(column.texts)
    return 1 < len(set(numbers)) < len(numbers) or not all(map(float.is_integer, numbers))


def _those_of(names: Iterable[str], named: Mapping[str, Column]) -> list[Column]:
    return [named[name] for name in names if name in named]


def _pair(
    named: Mapping[str, Column], section: DataSection, modality: Modality | None
) -> Sequence[str] | None:
    """The columns of a pair of texts, where there is one; one that is asked for may be any two."""
    if modality not in (None, "text_pair") or section.input_column is not None:
        return None
    if section.input_columns:
        return section.input_columns
    written = {name.strip().lower(): name for name in reversed(list(named))}
    for pair in _PAIR_NAMES:
        if all(name in written for name in pair):
            return [written[name] for name in pair]
    texts = [column.name for column in named.values() if column.kind == "texts"]
    return texts[:2] if modality == "text_pair" and len(texts) > 1 else None


def _input(
    columns: Sequence[Column], table: Path, section: DataSection, modality: Modality | None
) -> tuple[Column | None, Modality, dict[str, Any]]:
    if section.input_column is not None:
        columns = [column for column in columns if column.name == section.input_column]
    if modality != "text":
        known = _preferred(columns, _IMAGE_NAMES)
        columns = [*([known] if known else []), *(one for one in columns if one is not known)]
        for column in columns:
            if column.kind == "images":
                return column, "image", {}
        for column in columns:
            if column.kind != "nothing" and (where := _where(column, table, section)) is not None:
                return column, "image", where
        for column in columns:
            if column.kind == "image files":
                return column, "image", {}
    texts = [column for column in columns if column.kind == "texts"]
    preferred = _preferred(texts, _TEXT_NAMES)
    if preferred is None and section.input_column is not None:  # whatever it looks like
        of_files = modality is None and (section.image_root or section.image_suffix)
        return next(iter(columns), None), "image" if of_files else modality or "text", {}
    if preferred is None and texts:
        preferred = max(texts, key=lambda column: sum(map(len, column.texts)) / len(column.texts))
    return preferred, modality or "text", {}


def _where(column: Column, table: Path, section: DataSection) -> dict[str, Any] | None:
    """Folder and suffix by which the cells are files that exist; None where there are none.

    Those that are given are not guessed.
    """
    tried = column.texts[:_TRIED_PATHS]
    if not tried:
        return None
    root, end = section.image_root, section.image_suffix
    folders = [Path(root).expanduser()] if root else [table.parent, *subfolders(table.parent)]
    for folder in folders:
        for suffix in [end] if end else ["", *IMAGE_SUFFIXES]:
            paths = [Path(picture_in(text, folder, suffix)) for text in tried]
            known = all(path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
            if known and all(map(_is_file, paths)):
                found = {} if root or folder == table.parent else {"image_root": str(folder)}
                return found | ({"image_suffix": suffix} if suffix and not end else {})
    return None


def _is_file(path: Path) -> bool:
    """Whether there is such a file; long texts name none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _split(columns: Sequence[Column], section: DataSection) -> str | None:
    found = _preferred(columns, _SPLIT_NAMES)
    if section.split_column or found is None:
        return None
    splits = {split_named(text.strip()) for text in found.texts}
    return found.name if "train" in splits and None not in splits else None


def _labels(columns: Sequence[Column], section: DataSection) -> tuple[list[Any], dict[str, Any]]:
    """Cells of the labels, none where no column looks like it; and what names their columns."""
    columns = [column for column in columns if column.kind not in _PICTURES]
    named = {column.name: column for column in columns}
    if given := section.label_columns or (section.label_column and (section.label_column,)):
        return _cells([named[name] for name in given if name in named]), {}
    preferred = _preferred(columns, _LABEL_NAMES)
    marks = [column for column in columns if all(map(is_mark, column.values))]
    if preferred is None and len(marks) > 1:
        return _cells(marks), {"label_columns": [column.name for column in marks]}
    repeated = [column for column in columns if column.kind != "dates"
                and 1 < len(set(column.texts)) <= len(column.texts) / 2]  # fmt: skip
    if preferred is None and repeated:
        preferred = min(reversed(repeated), key=lambda column: len(set(column.texts)))
    if preferred is None:
        preferred = next((column for column in columns if column.kind == "lists"), None)
    if preferred is None:
        return [], {}
    name = {} if preferred.name == "label" else {"label_column": preferred.name}
    return preferred.values, name


def _label_files(columns: Sequence[Column], section: DataSection) -> Column | None:
    """The column of pictures that are labels, such as masks."""
    files = [column for column in columns if column.kind in _PICTURES]
    if section.label_column is not None:
        files = [column for column in files if column.name == section.label_column]
    return _preferred(files, _MASK_NAMES) or next(iter(files), None)


def _cells(columns: Sequence[Column]) -> list[Any]:
    if len(columns) == 1:
        return columns[0].values
    return list(zip(*(column.cells for column in columns), strict=False))


def _preferred(columns: Iterable[Column], names: Sequence[str]) -> Column | None:
    """The column with the first of some names that there is."""
    known = {column.name.strip().lower(): column for column in reversed(list(columns))}
    return next((known[name] for name in names if name in known), None)


def remarks_on(
    columns: Sequence[Column], fields: Mapping[str, Any], task: str, section: DataSection
) -> list[str]:
    """What a user should know of the columns beside the fields that read them."""
    return [
        *_reading_remarks(columns, fields, task),
        *_split_remarks(columns, section),
        *_group_remarks(columns, section),
    ]


def _reading_remarks(
    columns: Sequence[Column], fields: Mapping[str, Any], task: str
) -> Iterator[str]:
    """How else the columns can be read."""
    spec = TASKS[task]
    named = {column.name: column for column in columns}
    label = named.get(fields.get("label_column", spec.target.label_column))
    if spec.modality == "text_pair" and label is not None and are_numbers(label.values):
        names = ", ".join(fields.get("input_columns", INPUT_COLUMNS["text_pair"]))
        yield (
            f"{task} gives the number. For vectors of texts that are the nearer the larger it is, "
            f"set task: {task_of_texts()} and data.input_columns: [{names}]."
        )
    if (pairs := paired(task)) and "input_columns" not in fields:
        own = fields.get("input_column", INPUT_COLUMNS["text"][0])
        others = [column.name for column in columns
                  if column is not label and _mostly_differs(column)]  # fmt: skip
        if own in others and len(others) == 2:
            yield (
                f"Of two columns of texts {own!r} is read. If each row is a pair of them, set "
                f"task: {pairs} and data.input_columns: [{', '.join(others)}]."
            )


def _mostly_differs(column: Column) -> bool:
    return column.kind == "texts" and 2 * len(set(column.texts)) > len(column.texts)


def _split_remarks(columns: Sequence[Column], section: DataSection) -> Iterator[str]:
    """Of a column that would say the splits, but for some of its words."""
    found = _preferred(columns, _SPLIT_NAMES)
    if section.split_column or found is None:
        return
    words = {text.strip() for text in found.texts}
    unknown = sorted(word for word in words if split_named(word) is None)
    if unknown and any(split_named(word) == "train" for word in words):
        yield (
            f"The column {found.name!r} says {listed(unknown, 5)} beside train, which is no split: "
            "name the parts train, validation and test for data.split_column."
        )


def _group_remarks(columns: Sequence[Column], section: DataSection) -> Iterator[str]:
    for column in columns:
        words = column.name.lower().replace("-", "_").split("_")
        shared = 1 < len(set(column.texts)) < len(column.texts)
        if section.group_column is None and shared and set(words) & set(_GROUP_WORDS):
            yield (
                f"Rows share values of {column.name!r}: data.group_column={column.name} keeps "
                "them on one side of the splits."
            )

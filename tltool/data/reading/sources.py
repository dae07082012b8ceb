"""Reads labelled data from disk into `Examples`: folders, tables and samples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from pydantic import ValidationError

from tltool.data.examples import Examples, Split
from tltool.data.reading.assemble import examples_of, join_rows
from tltool.data.reading.csv_records import Quoting
from tltool.data.reading.folders import (
    FILE_NAME,
    IMAGE_SUFFIXES,
    ROBOFLOW_TABLE,
    label_tables,
    read_class_folder,
    split_folders,
    split_of,
)
from tltool.data.reading.in_memory import examples_from_python, label_columns
from tltool.data.reading.rows import Broken, OnError, Row
from tltool.data.reading.samples import SAMPLES, fetch_sample, sample
from tltool.data.reading.tables import TABLE_SUFFIXES, Columns, column_names, read_table
from tltool.data.reading.walk import exists, files_below, subfolders, tell_omitted
from tltool.recipe.faults import faults_from
from tltool.support.errors import DataError, did_you_mean
from tltool.support.items import items_of
from tltool.support.words import listed as names_listed
from tltool.tasks.table import Modality, TaskSpec
from tltool.tasks.target import LabelColumns

if TYPE_CHECKING:
    from tltool.recipe.recipe import DataSection

__all__ = [
    "SAMPLE_PREFIX",
    "examples_from_python",
    "load_examples",
    "load_labelled",
    "resolve",
]

_LOG = logging.getLogger(__name__)

SAMPLE_PREFIX = "sample:"


def load_examples(section: DataSection, spec: TaskSpec) -> Examples:
    """Reads `train`, `validation` and `test` of a data section.

    Args:
        section: Where the data is, and what to do about broken rows.
        spec: The task; its modality says what inputs are, its kind of target what labels are.

    Returns:
        The rows in a fixed order. Separately given splits are named; the rows
        of `train` stay undecided (None) while validation or test is missing,
        for `split_examples` to divide.

    Raises:
        DataError: Something cannot be found, read or used; the message names
            it, and all broken rows at once.
    """
    if section.train is None:
        raise DataError(
            "data.train is not set.",
            hint="give a folder, a table or sample:NAME, e.g. data.train=photos/",
        )
    columns, parts = _read_source(section.train, section, spec, "data.train")
    separate: tuple[tuple[Split, str | None], ...]
    separate = (("validation", section.validation), ("test", section.test))
    for split, source in separate:
        if source is None:
            continue
        if split in parts:
            raise DataError(
                f"data.{split} is given, and data.train={section.train} has a {split} folder too.",
                hint="drop one; or point data.train at the train folder itself",
            )
        parts[split] = _read_one(source, section, spec, f"data.{split}", columns)
    return examples_of(parts, spec, section.on_error, _labels(section, columns))


def reading(
    section: DataSection,
    *,
    input_column: str | None = None,
    label_columns: Sequence[str] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
    quoting: Quoting | None = None,
    on_error: OnError | None = None,
) -> DataSection:
    """A data section to read other data by: what is not given stays as in `section`.

    Args:
        section: That of a run, or the default one.
        input_column, delimiter, encoding, quoting, on_error: The section's fields.
        label_columns: Its `label_column`, or several columns in its place.

    Raises:
        DataError: What is given is not allowed; the message names all of it.
    """
    given: dict[str, Any] = {
        "input_column": input_column,
        "delimiter": delimiter,
        "encoding": encoding,
        "quoting": quoting,
        "on_error": on_error,
    }
    labels = items_of(label_columns, "label_columns", DataError)
    if len(labels) > 1 or (labels and section.label_columns is not None):
        given["label_columns"] = labels
    elif labels:
        given["label_column"] = labels[0]
    known = {key: value for key, value in given.items() if value is not None}
    try:
        return type(section).model_validate({**section.model_dump(), **known})
    except ValidationError as error:
        faults = faults_from(error, type(section))
        told = [str(replace(fault, path=f"data.{fault.path}")) for fault in faults]
        raise DataError("\n  ".join(["the data cannot be read as asked:", *told])) from None


def load_labelled(source: str | Path, section: DataSection, spec: TaskSpec) -> Examples:
    """Reads labelled data to measure a model on: every row becomes "test".

    Args:
        source: A folder, a table, or `sample:NAME`; of a folder with `train/`
            and `test/` folders, the test folder.
        section: Column names, and what to do about broken rows.
        spec: The task.

    Raises:
        DataError: It can't be found, read or used, or holds no usable row.
    """
    columns, parts = _read_source(str(source), section, spec, "data")
    rows = parts["test"] if "test" in parts else parts["train"]
    examples = join_rows({"test": rows}, spec, section.on_error, _labels(section, columns))
    if not len(examples):
        raise DataError(f"{source} holds no usable row.")
    return examples


def resolve(source: str | Path, field_name: str) -> Path:
    """The existing path that a recipe means, with `~` expanded.

    Raises:
        DataError: There is no such file or folder; the hint offers the closest.
    """
    path = Path(source).expanduser()
    if exists(path):
        return path
    raise DataError(
        f"{field_name}: there is no file or folder {str(source)!r}.",
        hint=_nearest(path) or f"relative paths are looked up from {Path.cwd()}",
    )


def _nearest(path: Path) -> str | None:
    """A hint with the closest sibling of the first part of `path` that does not exist."""
    missing = path
    while missing.parent != missing and not exists(missing.parent):
        missing = missing.parent
    if not missing.parent.is_dir():
        return None
    names = [p.name for p in missing.parent.iterdir()]
    near = did_you_mean(missing.name, names)
    if near is None:
        return None
    name = near.split("`")[1]
    return f"did you mean `{missing.parent / name / path.relative_to(missing)}`?"


def _named(section: DataSection, inputs: str) -> Columns:
    labels = label_columns(section)
    return Columns(section.input_column or inputs, labels.names, labels.several)


class _Table(NamedTuple):
    """A table beside the images of a folder, and its columns."""

    path: Path
    columns: Columns


def _table_in(folder: Path, section: DataSection, spec: TaskSpec) -> _Table | None:
    """The table that says what the images in a folder are, and its columns.

    Roboflow's table is read where a row can have several labels: its first
    column names the files, and all others are labels. A metadata table is read
    where it names the files, and the labels too or there are no class folders.
    """
    tables = label_tables(folder) if spec.modality == "image" else []
    if spec.target.many_columns and folder / ROBOFLOW_TABLE in tables:
        table = folder / ROBOFLOW_TABLE
        first, *others = column_names(table, encoding=section.encoding)
        labels = section.label_columns or tuple(others)
        return _Table(table, Columns(section.input_column or first, labels, True))
    tables = [table for table in tables if table.name != ROBOFLOW_TABLE]
    if len(tables) > 1:
        raise DataError(
            f"{folder} has several tables: {', '.join(table.name for table in tables)}.",
            hint="keep one of them, or name it in place of the folder",
        )
    for table in tables:
        names = column_names(
            table,
            delimiter=section.delimiter,
            encoding=section.encoding,
            quoting=section.quoting,
        )
        columns = _named(section, FILE_NAME)
        classes = len(subfolders(folder)) > 1
        if columns.input in names and (not classes or set(columns.labels) <= set(names)):
            return _Table(table, columns)
    return None


def _labels(section: DataSection, columns: Columns) -> LabelColumns:
    """Where the labels stand that `columns` has, which a table may have named itself."""
    return replace(label_columns(section), names=columns.labels, several=columns.several)


def _read_source(
    source: str, section: DataSection, spec: TaskSpec, field_name: str
) -> tuple[Columns, dict[Split, list[Row | Broken]]]:
    """Reads `data.train`, which may be a folder of split folders.

    Returns:
        The columns that hold inputs and labels, here and in whatever is read beside it: those
        that the section names, or those of the table in a folder of images; and the rows.
    """
    path = _locate(source, spec, field_name)
    columns = _named(section, spec.modality)
    if not path.is_dir():
        return columns, {"train": _read_file(path, section, spec, columns)}
    folders = split_folders(path)
    tables = {split: _table_in(folder, section, spec) for split, folder in folders.items()}
    if found := tables["train"]:
        columns = found.columns
    parts = {
        split: _read_folder(
            folder, tables[split], section, spec, columns, complete=split == "train"
        )
        for split, folder in folders.items()
    }
    if found and folders["train"] == path:
        parts = _by_split(parts["train"], path)
    return columns, parts


def _by_split(rows: list[Row | Broken], folder: Path) -> dict[Split, list[Row | Broken]]:
    """The rows of a table that stands above the folders of splits, by the folder of their image.

    Raises:
        DataError: Some images lie in such a folder and others in none.
    """
    splits = [split_of(row.input, folder) if _names_a_file(row) else None for row in rows]
    if "train" not in splits:
        return {"train": rows}
    parts: dict[Split, list[Row | Broken]] = {}
    for row, split in zip(rows, splits, strict=True):
        if split is None and _names_a_file(row):
            raise DataError(
                f"{row.origin}: {row.input} lies in no folder of a split, as others do.",
                hint="move the images of all rows into train/, validation/ and test/, or of none",
            )
        parts.setdefault(split or "train", []).append(row)
    return parts


def _names_a_file(row: Row | Broken) -> TypeGuard[Row]:
    """Whether a row has the path of an image; one that has none is told of as broken later."""
    return isinstance(row, Row) and isinstance(row.input, str) and bool(row.input.strip())


def _read_one(
    source: str, section: DataSection, spec: TaskSpec, field_name: str, columns: Columns
) -> list[Row | Broken]:
    path = _locate(source, spec, field_name)
    if path.is_dir():
        table = _table_in(path, section, spec)
        return _read_folder(path, table, section, spec, columns, complete=False)
    return _read_file(path, section, spec, columns)


def _locate(source: str, spec: TaskSpec, field_name: str) -> Path:
    if not source.startswith(SAMPLE_PREFIX):
        return resolve(source, field_name)
    chosen = sample(source.removeprefix(SAMPLE_PREFIX))
    if chosen.modality != spec.modality:
        raise DataError(
            f"{field_name}: the sample {chosen.name!r} is for {chosen.task}, not for {spec.name}.",
            hint=f"samples for {spec.name}: "
            + (", ".join(s.name for s in SAMPLES.values() if s.task == spec.name) or "none"),
        )
    return fetch_sample(chosen.name) / chosen.data


def _read_folder(
    folder: Path,
    table: _Table | None,
    section: DataSection,
    spec: TaskSpec,
    columns: Columns,
    *,
    complete: bool,
) -> list[Row | Broken]:
    if table is not None:
        rows = _read_file(table.path, section, spec, columns)
        _tell_unlisted(folder, table.path, rows)
        return rows
    if not spec.target.from_folders:
        raise DataError(
            f"{folder} is a folder; {spec.name} needs a table with a {spec.target.noun} for each "
            "row.",
            hint=f"make a CSV with the columns {' and '.join(columns.names)}",
        )
    return read_class_folder(folder, spec.modality, encoding=section.encoding, complete=complete)


def _tell_unlisted(folder: Path, table: Path, rows: Sequence[Row | Broken]) -> None:
    """Warns of images in a folder that its table does not name."""
    listed = {str(row.input) for row in rows if isinstance(row, Row)}
    omitted: list[Path] = []
    images = [file for file in files_below(folder, omitted) if isinstance(file, Path)]
    images = [file for file in images if file.suffix.lower() in IMAGE_SUFFIXES]
    tell_omitted(omitted, IMAGE_SUFFIXES)
    if unlisted := [file for file in images if str(file) not in listed]:
        names = [str(file.relative_to(folder)) for file in unlisted]
        _LOG.warning(
            "%d of the %d images in %s are not in %s and are left out: %s",
            len(unlisted), len(images), folder, table.name, names_listed(names, 5),
        )  # fmt: skip


def _read_file(
    path: Path, section: DataSection, spec: TaskSpec, columns: Columns
) -> list[Row | Broken]:
    if path.suffix.lower() not in TABLE_SUFFIXES and spec.modality == "image":
        raise DataError(
            f"{path} is neither a folder of images nor a table ({', '.join(TABLE_SUFFIXES)}).",
            hint="name the folder that holds the class folders",
        )
    return read_rows(path, columns, section, spec.modality)


def read_rows(
    path: Path, columns: Columns, section: DataSection, modality: Modality
) -> list[Row | Broken]:
    """The rows of a table, with the paths of images as seen from here.

    Args:
        path: As for `read_table`.
        columns: The columns to read.
        section: Delimiter, quoting and encoding.
        modality: What inputs are.

    Raises:
        DataError: As `read_table`.
    """
    rows = read_table(
        path,
        columns,
        delimiter=section.delimiter,
        encoding=section.encoding,
        quoting=section.quoting,
    )
    if modality == "text":
        return rows
    return [_beside(row, path.parent) if isinstance(row, Row) else row for row in rows]


def _beside(row: Row, folder: Path) -> Row:
    """Takes an image path of a table as relative to the table's folder."""
    if not _names_a_file(row):
        return row
    return row._replace(input=str(folder / row.input.strip()))

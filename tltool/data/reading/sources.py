"""Reads labelled data from disk into `Examples`: folders, tables and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tltool.data.examples import Examples, Split
from tltool.data.reading.assemble import examples_of, join_rows
from tltool.data.reading.encoding import decode
from tltool.data.reading.folders import read_class_folder, split_folders
from tltool.data.reading.image_tables import (
    ImageTable,
    by_split,
    named_columns,
    names_a_file,
    table_in,
    tell_unlisted,
)
from tltool.data.reading.in_memory import examples_from_python, label_columns
from tltool.data.reading.layouts import own_layout
from tltool.data.reading.rows import Broken, Row
from tltool.data.reading.samples import SAMPLES, fetch_sample, sample
from tltool.data.reading.tables import (
    PARQUET_SUFFIXES,
    TABLE_SUFFIXES,
    Columns,
    column_names,
    read_table,
)
from tltool.data.reading.walk import exists
from tltool.recipe.faults import faults_from
from tltool.recipe.schema import OnError, Quoting
from tltool.support.errors import DataError, did_you_mean
from tltool.support.items import items_of
from tltool.support.words import listed
from tltool.tasks.table import Modality, TaskSpec
from tltool.tasks.target import LabelColumns, Target

if TYPE_CHECKING:
    from tltool.recipe.recipe import DataSection

__all__ = [
    "SAMPLE_PREFIX",
    "examples_from_python",
    "load_examples",
    "load_labelled",
    "resolve",
]

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
        parts[split] = _read_one(source, section, spec, split, columns)
    return examples_of(parts, spec, section.on_error, _labels(section, spec, columns))


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
    _check_same_classes(str(source), columns.classes, section.mask_classes)
    rows = parts["test"] if "test" in parts else parts["train"]
    examples = join_rows({"test": rows}, spec, section.on_error, _labels(section, spec, columns))
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


def _labels(section: DataSection, spec: TaskSpec, columns: Columns) -> LabelColumns:
    """Where the labels stand that `columns` has, which a table may have named itself."""
    found = label_columns(section, spec)
    return replace(
        found,
        names=columns.labels,
        several=columns.several,
        classes=found.classes or columns.classes,
    )


def _read_source(
    source: str, section: DataSection, spec: TaskSpec, field_name: str
) -> tuple[Columns, dict[Split, list[Row | Broken]]]:
    """Reads `data.train`, which may be a folder of split folders.

    Returns:
        The columns that hold inputs and labels, here and in whatever is read beside it: those
        that the section names, or those of the table in a folder of images; and the rows.
    """
    path = _locate(source, spec, field_name)
    columns = named_columns(section, spec)
    if (own := own_layout(path, spec, section.mask_classes)) is not None:
        return replace(columns, classes=own.classes), own.parts
    if not path.is_dir():
        return columns, {"train": _read_file(path, section, spec, columns)}
    folders = split_folders(path)
    tables = {split: table_in(folder, section, spec) for split, folder in folders.items()}
    if found := tables["train"]:
        columns = found.columns
    parts = {
        split: _read_folder(
            folder, tables[split], section, spec, columns, complete=split == "train"
        )
        for split, folder in folders.items()
    }
    if found and folders["train"] == path:
        parts = by_split(parts["train"], path)
    return columns, parts


def _read_one(
    source: str, section: DataSection, spec: TaskSpec, split: Split, columns: Columns
) -> list[Row | Broken]:
    path = _locate(source, spec, f"data.{split}")
    if (found := own_layout(path, spec, columns.classes or section.mask_classes)) is not None:
        _check_same_classes(source, found.classes, columns.classes)
        return found.parts.get(split) or found.parts["train"]
    if path.is_dir():
        table = table_in(path, section, spec)
        return _read_folder(path, table, section, spec, columns, complete=False)
    return _read_file(path, section, spec, columns)


def _check_same_classes(
    source: str, found: Mapping[str, Any] | None, known: Mapping[str, Any] | None
) -> None:
    """Raises DataError where data says itself what its classes are, and they are others."""
    if found is not None and known is not None and dict(found) != dict(known):
        raise DataError(
            f"{source} has the classes {listed(list(found))}; those of the training data are "
            f"{listed(list(known))}.",
            hint="annotations of all parts need the same categories in the same order",
        )


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
    table: ImageTable | None,
    section: DataSection,
    spec: TaskSpec,
    columns: Columns,
    *,
    complete: bool,
) -> list[Row | Broken]:
    if table is not None:
        rows = _read_file(table.path, section, spec, columns)
        tell_unlisted(folder, table.path, rows)
        return rows
    if not spec.target.from_folders:
        raise DataError(
            f"{folder} is a folder; {spec.name} needs a table with a {spec.target.noun} for each "
            "row.",
            hint=spec.target.folder_hint
            or f"make a CSV with the columns {' and '.join(columns.names)}",
        )
    return read_class_folder(folder, spec.modality, encoding=section.encoding, complete=complete)


def _read_file(
    path: Path, section: DataSection, spec: TaskSpec, columns: Columns
) -> list[Row | Broken]:
    if path.suffix.lower() not in TABLE_SUFFIXES and spec.modality == "image":
        raise DataError(
            f"{path} is neither a folder of images nor a table ({', '.join(TABLE_SUFFIXES)}).",
            hint="name the folder that holds the class folders",
        )
    columns = known_columns(path, columns, section, spec.target)
    rows = read_rows(path, columns, section, spec.modality, spec.target)
    if not spec.target.file_labels:
        return rows
    return [_label_beside(row, path.parent) if isinstance(row, Row) else row for row in rows]


def read_rows(
    path: Path,
    columns: Columns,
    section: DataSection,
    modality: Modality,
    kind: type[Target] | None = None,
) -> list[Row | Broken]:
    """The rows of a table, with the paths of images as seen from here.

    Args:
        path: As for `read_table`.
        columns: The columns to read.
        section: Delimiter, quoting and encoding.
        modality: What inputs are.
        kind: Of targets, which may have files of its own; None reads inputs alone.

    Raises:
        DataError: As `read_table`.
    """
    if kind is not None and (found := _own_rows(path, columns, section, kind)) is not None:
        return found
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


def _own_rows(
    path: Path, columns: Columns, section: DataSection, kind: type[Target]
) -> list[Row | Broken] | None:
    """The rows of a file in a form of a kind's own; None where it is a table."""
    named = [name if name in _given(section) else None for name in columns.names[:2]]
    text = "" if path.suffix.lower() in PARQUET_SUFFIXES else decode(path, section.encoding)
    rows = kind.file_rows(path, text, named)
    if rows is None:
        return None
    return [
        Broken(origin, str(label)) if isinstance(label, Exception) else Row(value, label, origin)
        for value, label, origin in rows
    ]


def _given(section: DataSection) -> set[str]:
    """The columns that a section names."""
    named = (section.input_column, section.label_column, *(section.label_columns or ()))
    return {name for name in named if name is not None}


def known_columns(
    path: Path, columns: Columns, section: DataSection, kind: type[Target]
) -> Columns:
    """The columns of a table of which none is named, by what its kind of target knows them."""
    if not kind.known_columns or _given(section) or path.suffix.lower() not in TABLE_SUFFIXES:
        return columns
    names = column_names(
        path, delimiter=section.delimiter, encoding=section.encoding, quoting=section.quoting
    )
    for inputs, labels in kind.known_columns:
        found = [label for label in labels if label in names]
        if inputs in names and found:
            return Columns(inputs, (found[0],))
    return columns


def _label_beside(row: Row, folder: Path) -> Row:
    """Takes a path in place of a label as relative to the table's folder."""
    if not isinstance(row.label, str) or not row.label.strip():
        return row
    return row._replace(label=str(folder / row.label.strip()))


def _beside(row: Row, folder: Path) -> Row:
    """Takes an image path of a table as relative to the table's folder."""
    if not names_a_file(row):
        return row
    return row._replace(input=str(folder / row.input.strip()))

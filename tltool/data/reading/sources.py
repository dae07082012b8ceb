"""Reads labelled data from disk into `Examples`: folders, tables and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tltool.data.decisions import apply_to_parts
from tltool.data.examples import Examples, Split
from tltool.data.reading import hub_data
from tltool.data.reading.assemble import check_labels, join_rows
from tltool.data.reading.columns import Columns, file_in, picture_in
from tltool.data.reading.encoding import decode, is_binary
from tltool.data.reading.folders import label_tables, read_class_folder, split_folders
from tltool.data.reading.image_tables import (
    ImageTable,
    by_split,
    table_in,
    tell_unlisted,
)
from tltool.data.reading.in_memory import (
    by_column,
    examples_from_python,
    given_columns,
    input_columns,
    known_columns,
    label_columns,
    named_columns,
)
from tltool.data.reading.layouts import own_layout
from tltool.data.reading.rows import Broken, KeptRows, Row
from tltool.data.reading.samples import SAMPLES, fetch_sample, sample
from tltool.data.reading.shards import Tables, matches, tables_in, tables_of
from tltool.data.reading.tables import (
    TABLE_SUFFIXES,
    column_names,
    is_text_table,
    read_table,
    table_suffix,
    text_options,
)
from tltool.data.reading.walk import exists
from tltool.recipe.faults import faults_from
from tltool.recipe.reading import refuse_two
from tltool.recipe.schema import OnError, Quoting
from tltool.support.errors import DataError, did_you_mean
from tltool.support.items import items_of
from tltool.support.words import listed
from tltool.tasks.table import Modality, TaskSpec
from tltool.tasks.target import LabelColumns, Target
from tltool.tasks.values import BadValueError

if TYPE_CHECKING:
    from tltool.recipe.recipe import DataSection

__all__ = [
    "SAMPLE_PREFIX",
    "examples_from_python",
    "load_added",
    "load_examples",
    "load_labelled",
    "load_parts",
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
    return load_parts(section.model_copy(update={"added": ()}), spec)[0]


def load_parts(section: DataSection, spec: TaskSpec) -> list[Examples]:
    """Reads all that a data section names: first as `load_examples`, then each of `added`.

    Raises:
        DataError: As `load_examples`. Labels that rows of `added` alone have are not looked at.
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
                f"data.{split} is given, and data.train={section.train} has rows of {split} too.",
                hint="drop one; or point data.train at its train part itself",
            )
        parts[split] = _read_one(source, section, spec, split, replace(columns, shared=True))
    labels = _labels(section, spec, columns)
    rows = join_rows(parts, spec, section.on_error, labels)
    classes = columns.classes or section.mask_classes
    found = [rows, *(_read_added(source, section, spec, classes) for source in section.added)]
    if section.decisions is not None:
        found = apply_to_parts(found, resolve(section.decisions, "data.decisions"))
    check_labels(found[0], spec)
    return found


def load_added(section: DataSection, spec: TaskSpec) -> list[Examples]:
    """Reads each of `added` alone; see `load_parts`."""
    return [_read_added(source, section, spec, section.mask_classes) for source in section.added]


def _read_added(
    source: str, section: DataSection, spec: TaskSpec, classes: Mapping[str, Any] | None
) -> Examples:
    """The rows of one of `added`, undecided where it is not divided itself."""
    columns, parts = _read_source(source, section, spec, "data.added", splits_needed=False)
    _check_same_classes(source, columns.classes, classes)
    return join_rows(parts, spec, section.on_error, _labels(section, spec, columns))


def reading(
    section: DataSection,
    *,
    input_columns: Sequence[str] = (),
    label_columns: Sequence[str] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
    quoting: Quoting | None = None,
    on_error: OnError | None = None,
    fields: Mapping[str, Any] | None = None,
) -> DataSection:
    """A data section to read other data by: what is not given stays as in `section`.

    Args:
        section: That of a run, or the default one.
        delimiter, encoding, quoting, on_error: The section's fields.
        input_columns: Its `input_column`, or the two of a pair in its place.
        label_columns: Its `label_column`, or several columns in its place.
        fields: Others of the section.

    Raises:
        DataError: What is given is not allowed; the message names all of it.
        RecipeError: One of the fields is given as an argument too, and is not the same.
    """
    given: dict[str, Any] = {
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
    if inputs := items_of(input_columns, "input_columns", DataError):
        one = len(inputs) == 1
        known |= {"input_column": inputs[0] if one else None}
        known |= {"input_columns": None if one else inputs}
    others = fields or {}
    for field in known.keys() & others.keys():
        refuse_two((f"data.{field}", known[field], f"data.{field}", others[field]))
    try:
        return type(section).model_validate({**section.model_dump(), **known, **others})
    except ValidationError as error:
        faults = faults_from(error, type(section))
        told = [str(replace(fault, path=f"data.{fault.path}")) for fault in faults]
        raise DataError("\n  ".join(["the data cannot be read as asked:", *told])) from None


def load_labelled(source: str | Path, section: DataSection, spec: TaskSpec) -> Examples:
    """Reads labelled data to measure a model on: every row becomes "test".

    Args:
        source: As `data.train`; of data that is divided, such as by `train/` and `test/`
            folders or by `split_column` where there is such a column, the test part.
        section: Column names, and what to do about broken rows.
        spec: The task.

    Raises:
        DataError: It can't be found, read or used, or holds no usable row; or it is divided,
            and no part is to test on.
    """
    section = section.model_copy(update={"group_column": None})
    columns, parts = _read_source(str(source), section, spec, "data", splits_needed=False)
    _check_same_classes(str(source), columns.classes, section.mask_classes)
    if "test" not in parts and len(parts) > 1:
        raise DataError(
            f"{source} is divided into {' and '.join(parts)}, and no part is to test on.",
            hint="name one of its parts, or data that is not divided",
        )
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
    source: str,
    section: DataSection,
    spec: TaskSpec,
    field_name: str,
    *,
    splits_needed: bool = True,
) -> tuple[Columns, dict[Split, Sequence[Row | Broken]]]:
    """Reads `data.train`, which may be a folder of split folders.

    Args:
        source, section, spec, field_name: What is read, how, as what, and who names it.
        splits_needed: Whether a table must have the section's `split_column`.

    Returns:
        The columns that hold inputs and labels, here and in whatever is read beside it: those
        that the section names, or those of the table in a folder of images; and the rows.
    """
    found = _locate(source, spec, field_name)
    known = section.mask_classes
    layout = own_layout(found[0], spec, known) if len(found) == 1 else None
    tables = {} if layout else tables_at(source, found, spec.target)
    if not splits_needed:
        files = [file for part in tables.values() for file in part]
        section = _known_split(section, files or label_tables(found[0]))
    columns = replace(named_columns(section, spec), shared=field_name == "data.added")
    if layout is not None:
        _refuse_columns(columns, source)
        return replace(columns, classes=layout.classes), layout.parts
    if tables:
        parts = {split: _rows_of(files, columns, section, spec) for split, files in tables.items()}
        if "train" not in parts and (splits_needed or "test" not in parts):
            raise DataError(f"{field_name}: {source} has files of {' and '.join(parts)} alone.")
        return columns, _by_column(parts, columns, source)
    (path,) = found
    folders = split_folders(path)
    beside = {split: table_in(folder, section, spec) for split, folder in folders.items()}
    if found_table := beside["train"]:
        columns = found_table.columns
    parts = {
        split: _read_folder(
            folder, beside[split], section, spec, columns, complete=split == "train"
        )
        for split, folder in folders.items()
    }
    if found_table and folders["train"] == path and columns.split is None:
        parts = by_split(parts["train"], path)
    return columns, _by_column(parts, columns, source)


def _known_split(section: DataSection, files: Sequence[Path]) -> DataSection:
    """The section without its `split_column` where the first of some tables has none."""
    named = section.split_column
    tables = [file for file in files[:1] if named is not None and table_suffix(file)]
    if any(named in column_names(table, **text_options(section)) for table in tables):
        return section
    return section.model_copy(update={"split_column": None})


def _refuse_columns(columns: Columns, place: str | Path) -> None:
    """Raises DataError where a column is named of what is no table."""
    for field, column in (("split_column", columns.split), ("group_column", columns.group)):
        if column is not None:
            raise DataError(
                f"data.{field}={column} names a column, and {place} has no table.",
                hint="give a table with the paths of the files, their classes and that column",
            )


def _by_column(
    parts: dict[Split, Sequence[Row | Broken]], columns: Columns, source: str
) -> dict[Split, Sequence[Row | Broken]]:
    """The rows of `train` by what their column says of splits, where there is one."""
    if columns.split is None:
        return parts
    if len(parts) > 1:
        raise DataError(
            f"data.split_column={columns.split} is given, and {source} is divided into "
            f"{' and '.join(parts)} already.",
            hint="drop data.split_column, or name one of the parts",
        )
    return by_column(parts["train"])


def _read_one(
    source: str, section: DataSection, spec: TaskSpec, split: Split, columns: Columns
) -> Sequence[Row | Broken]:
    found = _locate(source, spec, f"data.{split}")
    columns = replace(columns, split=None)
    known = columns.classes or section.mask_classes
    layout = own_layout(found[0], spec, known) if len(found) == 1 else None
    if layout is not None:
        _check_same_classes(source, layout.classes, columns.classes)
        return layout.parts.get(split) or layout.parts["train"]
    if tables := tables_at(source, found, spec.target):
        if len(tables) > 1:
            raise DataError(
                f"data.{split}: {source} has files of {' and '.join(tables)}.",
                hint="name those of one of them by a pattern",
            )
        (files,) = tables.values()
        return _rows_of(files, columns, section, spec)
    (path,) = found
    table = table_in(path, section, spec)
    return _read_folder(path, table, section, spec, columns, complete=False)


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


def _rows_of(
    files: Sequence[Path], columns: Columns, section: DataSection, spec: TaskSpec
) -> Sequence[Row | Broken]:
    parts = (read_rows(file, columns, section, spec.modality, spec.target) for file in files)
    return next(parts) if len(files) == 1 else KeptRows.of(chain.from_iterable(parts))


def located(source: str, field_name: str) -> list[Path]:
    """The path that a recipe means, or those that its pattern matches.

    Args:
        source: As `data.train`; what is not on this machine is fetched.
        field_name: Who names it, for messages.

    Raises:
        DataError: There is no such data, or it cannot be fetched.
    """
    if source.startswith(SAMPLE_PREFIX):
        chosen = sample(source.removeprefix(SAMPLE_PREFIX))
        return [fetch_sample(chosen.name) / chosen.data]
    if source.startswith(hub_data.PREFIX):
        return hub_data.fetch_hub_data(source)
    there = exists(Path(source).expanduser())
    return (not there and matches(source)) or [resolve(source, field_name)]


def _locate(source: str, spec: TaskSpec, field_name: str) -> list[Path]:
    """As `located`, but for samples of another modality than the task's."""
    if not source.startswith(SAMPLE_PREFIX):
        return located(source, field_name)
    chosen = sample(source.removeprefix(SAMPLE_PREFIX))
    if chosen.modality != spec.modality:
        raise DataError(
            f"{field_name}: the sample {chosen.name!r} is for {chosen.task}, not for {spec.name}.",
            hint=f"samples for {spec.name}: "
            + (", ".join(s.name for s in SAMPLES.values() if s.task == spec.name) or "none"),
        )
    return located(source, field_name)


def own_form(
    path: Path, section: DataSection, spec: TaskSpec, *, guessed: bool, certain: bool = False
) -> str:
    """What data is in a form that only the task's kind of target has, in words; else nothing.

    Args:
        path: A folder or a file.
        section: How it is read.
        spec: The task.
        guessed: Nobody said that the data is for this task.
        certain: No table may look like it.

    Raises:
        DataError: It looks like such data and cannot be used.
    """
    if (layout := own_layout(path, spec, section.mask_classes)) is not None:
        return f"{'folder' if path.is_dir() else 'file'} of {spec.name}" if layout.parts else ""
    if path.is_dir() or not spec.target.own_files or is_binary(path):
        return ""
    rows = _own_rows(path, named_columns(section, spec), section, spec.target) or []
    labels = [row.label for row in rows if isinstance(row, Row)]
    fits = len(labels) * 2 > len(rows) and (
        not guessed or spec.target.likely_in(labels, certain=certain)
    )
    return f"file of {spec.name} ({path.suffix})" if fits else ""


def tables_at(source: str, found: Sequence[Path], kind: type[Target] | None = None) -> Tables:
    """The tables that data consists of, by their split; none where the files are the inputs.

    Args:
        source: As `data.train`, for messages.
        found: What `located` found for it.
        kind: Of targets, which may have files of its own.

    Raises:
        DataError: They are no tables, or not of one data set.
    """
    if len(found) > 1:
        return tables_of(source, found)
    (path,) = found
    if path.is_dir():
        return tables_in(path)
    if table_suffix(path) is None and not (kind and kind.own_files):
        raise DataError(
            f"{path} is neither a folder nor a table ({', '.join(TABLE_SUFFIXES)}).",
            hint="name the folder that holds the class folders, or a table; save an old "
            "spreadsheet as CSV (UTF-8)",
        )
    return {"train": [path]}


def _read_folder(
    folder: Path,
    table: ImageTable | None,
    section: DataSection,
    spec: TaskSpec,
    columns: Columns,
    *,
    complete: bool,
) -> Sequence[Row | Broken]:
    if table is not None:
        rows = read_rows(table.path, columns, section, spec.modality, spec.target)
        tell_unlisted(folder, table.path, rows)
        return rows
    _refuse_columns(columns, folder)
    if not spec.from_folders:
        raise DataError(
            f"{folder} is a folder; {spec.name} needs a table with a {spec.target.noun} for each "
            "row.",
            hint=spec.target.folder_hint
            or f"make a CSV with the columns {' and '.join(columns.names)}",
        )
    return read_class_folder(folder, spec.modality, encoding=section.encoding, complete=complete)


def read_rows(
    path: Path, columns: Columns, section: DataSection, modality: Modality, kind: type[Target]
) -> Sequence[Row | Broken]:
    """The rows of a table, with the paths of images as seen from here.

    Args:
        path: As for `read_table`.
        columns: The columns to read.
        section: Delimiter, quoting and encoding, and where images are.
        modality: What inputs are.
        kind: Of targets, which may have files of its own.

    Raises:
        DataError: As `read_table`.
    """
    if kind.own_files and (found := _own_rows(path, columns, section, kind)) is not None:
        return found
    columns = _known_columns(path, columns, section, kind)
    if kind.file_labels:
        columns = replace(columns, label_file=partial(file_in, folder=path.parent))
    columns = wanted(columns, path, section, modality)
    return read_table(path, columns, **text_options(section))


def read_inputs(path: Path, section: DataSection, spec: TaskSpec) -> Sequence[Row | Broken]:
    """The inputs of a table, or of a file as `read_rows` reads it; labels mean nothing.

    Where rows have several texts that the model reads one by one, each text is a row.

    Args:
        path: The file.
        section: How it is read.
        spec: The task.

    Raises:
        DataError: As `read_table`.
    """
    kind = spec.target
    texts = section.input_columns if kind.of_texts else None
    first, *more = texts or input_columns(section, spec.modality)
    columns = Columns(first, more=tuple(more))
    rows = _own_rows(path, columns, section, kind) if kind.own_files else None
    if rows is None:
        columns = _known_columns(path, columns, section, kind)
        columns = wanted(columns, path, section, spec.modality)
        rows = read_table(path, columns, **text_options(section))
    if texts:
        return KeptRows.of(chain.from_iterable(map(_texts_alone, rows)))
    return KeptRows.of(_alone(row, kind) for row in rows) if kind.own_files else rows


def _texts_alone(row: Row | Broken) -> Sequence[Row | Broken]:
    """Each text of a row as one of its own."""
    return [row] if isinstance(row, Broken) else [Row(text, None, row.origin) for text in row.input]


def _alone(row: Row | Broken, kind: type[Target]) -> Row | Broken:
    """The row as `Target.alone` makes it of its one cell."""
    if isinstance(row, Broken):
        return row
    try:
        return Row(kind.alone(row.input), None, row.origin)
    except BadValueError as error:
        return Broken(row.origin, str(error))


def _own_rows(
    path: Path, columns: Columns, section: DataSection, kind: type[Target]
) -> Sequence[Row | Broken] | None:
    """The rows of a file in a form of a kind's own; None where it is a table."""
    if table_suffix(path) and not is_text_table(path):
        return None
    given = given_columns(section)
    label = columns.labels[0] if columns.labels else None
    named = [name if name in given else None for name in (columns.input, label)]
    text = decode(path, section.encoding)
    rows = kind.file_rows(path, text, named, labelled=bool(columns.labels))
    if rows is None:
        return None
    _refuse_columns(columns, path)
    return [
        Broken(origin, str(label)) if isinstance(label, Exception) else Row(value, label, origin)
        for value, label, origin in rows
    ]


def _known_columns(
    path: Path, columns: Columns, section: DataSection, kind: type[Target]
) -> Columns:
    """As `known_columns`, of a table."""
    if not kind.known_columns or given_columns(section):
        return columns
    return known_columns(column_names(path, **text_options(section)), columns, section, kind)


def wanted(columns: Columns, path: Path, section: DataSection, modality: Modality) -> Columns:
    """The columns of a table, with what turns cells into the paths of images.

    Raises:
        DataError: There is no folder `data.image_root`.
    """
    if modality != "image":
        return columns
    root = section.image_root
    folder = path.parent if root is None else resolve(root, "data.image_root")
    picture = partial(picture_in, folder=folder, suffix=section.image_suffix or "")
    return replace(columns, picture=picture)

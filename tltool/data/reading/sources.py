"""Reads labelled data from disk into `Examples`: folders, tables and samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tltool.data.examples import Examples, Split
from tltool.data.reading.assemble import examples_of, join_rows
from tltool.data.reading.folders import label_table, read_class_folder, split_folders
from tltool.data.reading.in_memory import examples_from_python
from tltool.data.reading.rows import Broken, Row
from tltool.data.reading.samples import SAMPLES, fetch_sample, sample
from tltool.data.reading.tables import TABLE_SUFFIXES, Columns, column_names, read_table
from tltool.support.errors import DataError, did_you_mean
from tltool.tasks.table import TaskSpec
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
    columns = _columns(section.train, section, spec, "data.train")
    parts = _read_source(section.train, section, spec, "data.train", columns)
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
    columns = _columns(str(source), section, spec, "data")
    parts = _read_source(str(source), section, spec, "data", columns)
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
    if path.exists():
        return path
    raise DataError(
        f"{field_name}: there is no file or folder {str(source)!r}.",
        hint=_nearest(path) or f"relative paths are looked up from {Path.cwd()}",
    )


def _nearest(path: Path) -> str | None:
    """A hint with the closest sibling of the first part of `path` that does not exist."""
    missing = path
    while missing.parent != missing and not missing.parent.is_dir():
        missing = missing.parent
    if not missing.parent.is_dir():
        return None
    names = [p.name for p in missing.parent.iterdir()]
    near = did_you_mean(missing.name, names)
    if near is None:
        return None
    name = near.split("`")[1]
    return f"did you mean `{missing.parent / name / path.relative_to(missing)}`?"


def _columns(source: str, section: DataSection, spec: TaskSpec, field_name: str) -> Columns:
    """The columns that hold inputs and labels, here and in whatever is read beside it.

    Those that the section names; of a table of labels in a folder the first,
    and all others.
    """
    several = section.label_columns is not None
    labels = section.label_columns or (section.label_column,)
    named = Columns(section.input_column or spec.modality, labels, several)
    path = _locate(source, spec, field_name)
    if not (spec.target.many_columns and spec.modality == "image" and path.is_dir()):
        return named
    table = label_table(split_folders(path)["train"])
    if table is None:
        return named
    first, *others = column_names(table, encoding=section.encoding)
    return Columns(section.input_column or first, section.label_columns or tuple(others), True)


def _labels(section: DataSection, columns: Columns) -> LabelColumns:
    return LabelColumns(columns.labels, section.label_separator, columns.several)


def _read_source(
    source: str, section: DataSection, spec: TaskSpec, field_name: str, columns: Columns
) -> dict[Split, list[Row | Broken]]:
    """Reads `data.train`, which may be a folder of split folders."""
    path = _locate(source, spec, field_name)
    if not path.is_dir():
        return {"train": _read_file(path, section, spec, columns)}
    return {
        split: _read_folder(folder, section, spec, columns, complete=split == "train")
        for split, folder in split_folders(path).items()
    }


def _read_one(
    source: str, section: DataSection, spec: TaskSpec, field_name: str, columns: Columns
) -> list[Row | Broken]:
    path = _locate(source, spec, field_name)
    if path.is_dir():
        return _read_folder(path, section, spec, columns, complete=False)
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
    folder: Path, section: DataSection, spec: TaskSpec, columns: Columns, *, complete: bool
) -> list[Row | Broken]:
    table = label_table(folder) if spec.target.many_columns else None
    if table is not None and spec.modality == "image":
        return _read_file(table, section, spec, columns)
    if not spec.target.from_folders:
        raise DataError(
            f"{folder} is a folder; {spec.name} needs a table with a {spec.target.noun} for each "
            "row.",
            hint=f"make a CSV with the columns {' and '.join(columns.names)}",
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
    rows = read_table(
        path,
        columns,
        delimiter=section.delimiter,
        encoding=section.encoding,
        quoting=section.quoting,
    )
    if spec.modality == "text":
        return rows
    return [_beside(row, path.parent) if isinstance(row, Row) else row for row in rows]


def _beside(row: Row, folder: Path) -> Row:
    """Takes an image path of a table as relative to the table's folder."""
    if not isinstance(row.input, str) or not row.input.strip():
        return row
    return row._replace(input=str(folder / row.input.strip()))

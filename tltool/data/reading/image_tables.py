"""Tables beside images: Roboflow's, and those of Hugging Face's image folders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeGuard

from tltool.data.examples import Split
from tltool.data.reading.columns import Columns
from tltool.data.reading.folders import (
    FILE_NAME,
    IMAGE_SUFFIXES,
    ROBOFLOW_TABLE,
    label_tables,
    split_of,
)
from tltool.data.reading.in_memory import named_columns
from tltool.data.reading.rows import Broken, Row, RowsBuilder
from tltool.data.reading.tables import column_names, text_options
from tltool.data.reading.walk import files_below, subfolders, tell_omitted
from tltool.recipe.schema import DataSection
from tltool.support.errors import DataError
from tltool.support.words import listed
from tltool.tasks.table import TaskSpec

_LOG = logging.getLogger(__name__)


class ImageTable(NamedTuple):
    """A table beside the images of a folder, and its columns."""

    path: Path
    columns: Columns


def table_in(folder: Path, section: DataSection, spec: TaskSpec) -> ImageTable | None:
    """The table that says what the images in a folder are, and its columns.

    Roboflow's table is read where a row can have several labels: its first
    column names the files, and all others are labels. A metadata table is read
    where it names the files, and the labels too or there are no class folders.
    """
    tables = label_tables(folder) if spec.modality == "image" else []
    if spec.target.many_columns and folder / ROBOFLOW_TABLE in tables:
        table = folder / ROBOFLOW_TABLE
        first, *others = column_names(table, **text_options(section))
        beside = {section.split_column, section.group_column}
        labels = section.label_columns or tuple(name for name in others if name not in beside)
        columns = replace(named_columns(section, spec, (first,)), labels=labels, several=True)
        return ImageTable(table, columns)
    tables = [table for table in tables if table.name != ROBOFLOW_TABLE]
    if len(tables) > 1:
        raise DataError(
            f"{folder} has several tables: {', '.join(table.name for table in tables)}.",
            hint="keep one of them, or name it in place of the folder",
        )
    for table in tables:
        names = column_names(table, **text_options(section))
        columns = named_columns(section, spec, (section.input_column or FILE_NAME,))
        classes = len(subfolders(folder)) > 1
        if columns.input in names and (not classes or set(columns.labels) <= set(names)):
            return ImageTable(table, columns)
    return None


def by_split(rows: Sequence[Row | Broken], folder: Path) -> dict[Split, Sequence[Row | Broken]]:
    """The rows of a table that stands above the folders of splits, by the folder of their image.

    Raises:
        DataError: Some images lie in such a folder and others in none.
    """
    splits = [split_of(row.input, folder) if names_a_file(row) else None for row in rows]
    if "train" not in splits:
        return {"train": rows}
    parts: dict[Split, RowsBuilder] = {}
    for row, split in zip(rows, splits, strict=True):
        if split is None and names_a_file(row):
            raise DataError(
                f"{row.origin}: {row.input} lies in no folder of a split, as others do.",
                hint="move the images of all rows into train/, validation/ and test/, or of none",
            )
        parts.setdefault(split or "train", RowsBuilder()).append(row)
    return {split: part.finish() for split, part in parts.items()}


def names_a_file(row: Row | Broken) -> TypeGuard[Row]:
    """Whether a row has the path of an image; one that has none is told of as broken later."""
    return isinstance(row, Row) and isinstance(row.input, str) and bool(row.input.strip())


def tell_unlisted(folder: Path, table: Path, rows: Sequence[Row | Broken]) -> None:
    """Warns of images in a folder that its table does not name."""
    named = {str(row.input) for row in rows if isinstance(row, Row)}
    omitted: list[Path] = []
    images, unlisted = 0, []
    for file in files_below(folder, omitted):
        if isinstance(file, Path) and file.suffix.lower() in IMAGE_SUFFIXES:
            images += 1
            if str(file) not in named:
                unlisted.append(file)
    tell_omitted(omitted, IMAGE_SUFFIXES)
    if unlisted:
        names = [str(file.relative_to(folder)) for file in unlisted]
        _LOG.warning(
            "%d of the %d images in %s are not in %s and are left out: %s",
            len(unlisted), images, folder, table.name, listed(names, 5),
        )  # fmt: skip

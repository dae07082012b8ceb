"""Folders and files in a form that only one kind of target has, such as pairs of folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltool.data.examples import Split, split_named
from tltool.data.reading.rows import Broken, Row
from tltool.data.reading.walk import subfolders
from tltool.support.errors import DataError
from tltool.tasks.table import TaskSpec
from tltool.tasks.target import Layout


@dataclass(frozen=True)
class FoundLayout:
    """What was found in a folder or file.

    Attributes:
        parts: The rows of each split, "train" at least.
        classes: As in `Layout`.
    """

    parts: dict[Split, Sequence[Row | Broken]]
    classes: Mapping[str, Any] | None


def own_layout(path: Path, spec: TaskSpec, known: Mapping[str, Any] | None) -> FoundLayout | None:
    """The rows of data in a form that the task's kind of target has; None for other forms.

    Splits are folders with such data in each, or folders in it, as in
    `images/train/` and `masks/train/`.

    Args:
        path: The folder or file.
        spec: The task.
        known: The classes, as in `Layout`, where they are known.

    Raises:
        DataError: Two folders are of one split, or their classes differ; or some rows lie in
            folders of splits, and others in none.
    """
    layout = spec.target.layout(path, known)
    if layout is not None:
        return FoundLayout(_by_folder(layout), layout.classes)
    if not path.is_dir():
        return None
    parts: dict[Split, Sequence[Row | Broken]] = {}
    classes: list[Mapping[str, Any] | None] = []
    for folder in subfolders(path):
        split = split_named(folder.name)
        layout = None if split is None else spec.target.layout(folder, known)
        if split is None or layout is None:
            continue
        if split in parts:
            raise DataError(f"{path} has several folders for {split}.")
        parts[split] = _rows(layout)
        classes.append(layout.classes)
    if "train" not in parts:
        return None
    if any(found != classes[0] for found in classes):
        raise DataError(
            f"The classes in the folders of {path} differ.",
            hint="annotations of all parts need the same categories in the same order",
        )
    return FoundLayout(parts, classes[0])


def _by_folder(layout: Layout) -> dict[Split, Sequence[Row | Broken]]:
    """The rows by the split that their folder is named after, where all of them have one.

    Raises:
        DataError: Some lie in folders of several splits, and others in none.
    """
    splits = [split_named(folder) for *_, folder in layout.rows]
    named = {*splits} - {None}
    if None in splits and "train" in named and len(named) > 1:
        raise DataError(
            f"{layout.rows[splits.index(None)][2]} lies in no folder of a split, as others do.",
            hint="move all of them into train/, validation/ and test/, or none",
        )
    if None in splits or "train" not in splits:
        return {"train": _rows(layout)}
    parts: dict[Split, list[Row | Broken]] = {}
    for split, (value, label, origin, _) in zip(splits, layout.rows, strict=True):
        parts.setdefault(split or "train", []).append(Row(value, label, origin))
    parts["train"] += [Broken(*pair) for pair in layout.broken]
    return dict(parts)


def _rows(layout: Layout) -> list[Row | Broken]:
    rows = [Row(value, label, origin) for value, label, origin, _ in layout.rows]
    return [*rows, *(Broken(*pair) for pair in layout.broken)]

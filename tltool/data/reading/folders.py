"""Folders whose subfolders are the classes, alone or below `train/`, `validation/`, `test/`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tltool.data.examples import Split
from tltool.data.reading.encoding import decode
from tltool.data.reading.rows import Broken, Row
from tltool.data.reading.tables import TABLE_SUFFIXES
from tltool.support.errors import DataError
from tltool.support.words import natural_key
from tltool.tasks.table import Modality

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
TEXT_SUFFIXES = (".txt",)
SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
_JUNK = {"__macosx", "thumbs.db", "desktop.ini"}


def split_folders(folder: Path) -> dict[Split, Path]:
    """The split folders of `folder`, or `{"train": folder}` if it holds the classes itself.

    A folder is taken for one of splits where it has a `train/` (or
    `training/`) that itself holds folders or a table of labels, so classes may
    be called "train".

    Raises:
        DataError: Folders beside `train/` that are no split, two for one split,
            or folders of another layout than one folder a class.
    """
    found = {path.name.lower(): path for path in _subfolders(folder)}
    train = next((found[name] for name in SPLIT_FOLDERS["train"] if name in found), None)
    if train is None or not (_subfolders(train) or label_table(train)):
        _refuse_parts(folder)
        _refuse_bare_splits(folder)
        return {"train": folder}
    known = {name for names in SPLIT_FOLDERS.values() for name in names}
    if strange := sorted(set(found) - known):
        raise DataError(
            f"{folder} has {train.name}/ and other folders that are no split: "
            f"{', '.join(strange)}.",
            hint=f"move them elsewhere, or point data.train at {train} itself",
        )
    if label_table(train) is None:
        _refuse_parts(train)
    return {split: found[name] for split in SPLIT_FOLDERS if (name := _one(folder, found, split))}


LABEL_TABLE = "_classes.csv"
"""A table beside images: their file names, and a 0/1 column for each label, as Roboflow has it."""
# What folders are called that hold no class, but a part of data of another kind.
_PARTS = {
    "detection": {"images", "image", "annotations", "labels", "bboxes", "xml", "annotation"},
    "segmentation": {"images", "image", "masks", "mask", "segmentations", "labels"},
}


def label_table(folder: Path) -> Path | None:
    """The table of labels in a folder of images, if it has one."""
    table = folder / LABEL_TABLE
    return table if table.is_file() else None


def _refuse_parts(folder: Path) -> None:
    """Raises DataError where folders are named as parts of other data, and not as classes."""
    names = sorted(path.name for path in _subfolders(folder))
    for kind, parts in _PARTS.items():
        if len(names) > 1 and {name.lower() for name in names} <= parts:
            raise DataError(
                f"{folder} holds {_with_slashes(names)}, which looks like data for {kind}, not "
                "like one folder for each class.",
                hint=f"there is no task for {kind} in this version; for classes, make one folder "
                "for each",
            )


def _refuse_bare_splits(folder: Path) -> None:
    """Raises DataError where there are folders of splits without folders of classes in them."""
    names = sorted(path.name for path in _subfolders(folder))
    splits = {name for known in SPLIT_FOLDERS.values() for name in known}
    if len(names) > 1 and {name.lower() for name in names} <= splits:
        raise DataError(
            f"{folder} holds {_with_slashes(names)} with the files directly in them, which looks "
            "like splits without folders for the classes.",
            hint="put one folder for each class into each of them, or name a table of labels",
        )


def _with_slashes(names: Sequence[str]) -> str:
    return ", ".join(f"{name}/" for name in names)


def read_class_folder(
    folder: Path, modality: Modality, *, encoding: str | None = None, complete: bool = True
) -> list[Row | Broken]:
    """Reads a folder with one subfolder a class, nested folders included.

    Hidden files and those that macOS and Windows leave behind are ignored.

    Args:
        folder: The folder that holds the class folders.
        modality: "image" gives file paths, "text" the contents of .txt files.
        encoding: Of the texts; None finds it out.
        complete: Whether a class folder without files is an error.

    Returns:
        One item a file, sorted by class and path; files of another format,
        and images outside any class folder, are `Broken`.

    Raises:
        DataError: No class folders, or an empty one.
    """
    suffixes = IMAGE_SUFFIXES if modality == "image" else TEXT_SUFFIXES
    classes = _subfolders(folder)
    if not classes:
        raise _no_classes(folder, modality)
    rows: list[Row | Broken] = []
    empty = []
    for path in classes:
        items = [_item(file, path.name, suffixes, encoding) for file in _files(path)]
        rows.extend(items)
        if not any(isinstance(item, Row) for item in items):
            empty.append(path.name)
    if empty and complete:
        raise DataError(
            f"{folder}: no {modality} files ({', '.join(suffixes)}) in the class folders "
            f"{', '.join(map(repr, empty))}.",
            hint="fill them or remove them",
        )
    if modality == "image":
        rows.extend(
            Broken(str(path), "lies outside any class folder")
            for path in _entries(folder)
            if path.is_file() and path.suffix.lower() in suffixes
        )
    return rows


def check_image_path(path: Path) -> str | None:
    """Why a path cannot be an image tltool reads, or None where it can."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return f"not an image format tltool reads ({', '.join(IMAGE_SUFFIXES)})"
    return None if path.is_file() else "there is no such file"


def _item(path: Path, label: str, suffixes: tuple[str, ...], encoding: str | None) -> Row | Broken:
    if path.suffix.lower() not in suffixes:
        formats = ", ".join(suffixes)
        return Broken(str(path), f"not a format tltool reads here ({formats})")
    if suffixes is IMAGE_SUFFIXES:
        return Row(str(path), label, str(path))
    try:
        return Row(decode(path, encoding), label, str(path))
    except DataError as error:
        return Broken(str(path), error.message.removeprefix(f"{path} "))


def _no_classes(folder: Path, modality: Modality) -> DataError:
    tables = [path for path in _entries(folder) if path.suffix.lower() in TABLE_SUFFIXES]
    if label_table(folder):
        hint = f"{LABEL_TABLE} has a column for each label: task={modality}-multi-label reads it"
    elif tables:
        hint = f"to use a table, name the file, e.g. {tables[0]}"
    else:
        hint = "make one subfolder a class and put its files there, or name a table (CSV)"
    return DataError(f"{folder} has no class folders with {modality}s.", hint=hint)


def _one(folder: Path, found: dict[str, Path], split: Split) -> str | None:
    names = [name for name in SPLIT_FOLDERS[split] if name in found]
    if len(names) > 1:
        raise DataError(f"{folder} has several folders for {split}: {', '.join(names)}.")
    return names[0] if names else None


def _entries(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}.") from error
    return sorted((p for p in entries if not _is_junk(p.name)), key=lambda p: natural_key(p.name))


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted((f for f in folders if not _is_junk(f)), key=natural_key)
        for name in sorted((n for n in names if not _is_junk(n)), key=natural_key):
            yield Path(parent) / name


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK

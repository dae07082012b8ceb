"""Folders whose subfolders are the classes, alone or below `train/`, `validation/`, `test/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tltool.data.examples import SPLIT_WORDS, Split, split_named
from tltool.data.images.kept import TIFF_SUFFIXES
from tltool.data.reading.encoding import decode
from tltool.data.reading.rows import Broken, KeptRows, Row, RowsBuilder
from tltool.data.reading.tables import table_suffix
from tltool.data.reading.walk import entries, files_below, is_folder, subfolders, tell_omitted
from tltool.support.errors import DataError
from tltool.tasks.table import Modality

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"),
    *TIFF_SUFFIXES,
)
TEXT_SUFFIXES = (".txt",)
SUFFIXES: dict[Modality, tuple[str, ...]] = {
    "image": IMAGE_SUFFIXES,
    "text": TEXT_SUFFIXES,
    "text_pair": (),
    "text_triplet": (),
}
"""How the names of files end that are one input each."""


def split_folders(folder: Path) -> dict[Split, Path]:
    """The split folders of `folder`, or `{"train": folder}` if it holds the classes itself.

    A folder is taken for one of splits where it has a `train/` (or
    `training/`) that itself holds folders or a table of labels, so classes may
    be called "train". Where one table stands above `train/` and `test/` with
    the pictures, the table is read, and `split_of` says where its rows belong.

    Raises:
        DataError: Folders beside `train/` that are no split, two for one split,
            or folders of another layout than one folder a class.
    """
    found = {path.name.lower(): path for path in subfolders(folder)}
    train = next((found[name] for name in SPLIT_WORDS["train"] if name in found), None)
    if train is None or not (subfolders(train) or label_tables(train)):
        if not label_tables(folder):
            _refuse_parts(folder)
            _refuse_bare_splits(folder)
        return {"train": folder}
    if strange := sorted(name for name in found if split_named(name) is None):
        raise DataError(
            f"{folder} has {train.name}/ and other folders that are no split: "
            f"{', '.join(strange)}.",
            hint=f"move them elsewhere, or point data.train at {train} itself",
        )
    if not label_tables(train):
        _refuse_parts(train)
    return {split: found[name] for split in SPLIT_WORDS if (name := _one(folder, found, split))}


ROBOFLOW_TABLE = "_classes.csv"
"""A table beside images: their file names, and a 0/1 column for each label, as Roboflow has it."""
METADATA_TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables beside images as `datasets` of Hugging Face reads them: the images, and other columns
(https://huggingface.co/docs/datasets/image_dataset)."""
FILE_NAME = "file_name"
"""Their column with the images, relative to the table's folder."""
# What folders are called that hold no class, but a part of data of another kind.
_PARTS = {
    "detection": {"images", "image", "annotations", "labels", "bboxes", "xml", "annotation"},
    "segmentation": {"images", "image", "masks", "mask", "segmentations", "labels"},
}


_PARTS_HINTS = {
    "detection": "there is no task for detection in this version",
    "segmentation": "task=image-segmentation trains on pictures and masks",
}


def label_tables(folder: Path) -> list[Path]:
    """The tables of labels that a folder of images has: there should be one at most."""
    tables = [folder / name for name in (ROBOFLOW_TABLE, *METADATA_TABLES)]
    return [table for table in tables if table.is_file()]


def split_of(image: str, folder: Path) -> Split | None:
    """The split whose folder in `folder` holds an image; None where it lies in none of them."""
    path = Path(image)
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    return split_named(parts[0]) if len(parts) > 1 else None


def _refuse_parts(folder: Path) -> None:
    """Raises DataError where folders are named as parts of other data, and not as classes."""
    names = sorted(path.name for path in subfolders(folder))
    for kind, parts in _PARTS.items():
        if len(names) > 1 and {name.lower() for name in names} <= parts:
            raise DataError(
                f"{folder} holds {_with_slashes(names)}, which looks like data for {kind}, not "
                "like one folder for each class.",
                hint=f"{_PARTS_HINTS[kind]}; for classes, make one folder for each",
            )


def _refuse_bare_splits(folder: Path) -> None:
    """Raises DataError where there are folders of splits without folders of classes in them."""
    names = sorted(path.name for path in subfolders(folder) if not subfolders(path))
    if names and all(split_named(path.name) for path in subfolders(folder)):
        raise DataError(
            f"{folder} holds {_with_slashes(names)} with the files directly in them, which looks "
            "like splits without folders for the classes.",
            hint="put one folder for each class into each of them, or name a table of labels",
        )


def _with_slashes(names: Sequence[str]) -> str:
    return ", ".join(f"{name}/" for name in names)


def read_class_folder(
    folder: Path, modality: Modality, *, encoding: str | None = None, complete: bool = True
) -> KeptRows:
    """Reads a folder with one subfolder a class, nested folders included.

    Hidden files and those that systems leave behind are left out; a warning
    names those that could have been read.

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
    suffixes = SUFFIXES[modality]
    omitted: list[Path] = []
    found = entries(folder, omitted)
    classes = [path for path in found if is_folder(path)]
    rows = RowsBuilder()
    empty = []
    for path in classes:
        sound = 0
        for file in files_below(path, omitted):
            row = file_row(file, modality, label=path.name, encoding=encoding)
            rows.append(row)
            sound += isinstance(row, Row)
        if not sound:
            empty.append(path.name)
    tell_omitted(omitted, suffixes)
    if not classes:
        raise _no_classes(folder, modality)
    if empty and complete:
        raise DataError(
            f"{folder}: no {modality} files ({', '.join(suffixes)}) in the class folders "
            f"{', '.join(map(repr, empty))}.",
            hint="fill them or remove them",
        )
    if modality == "image":
        for path in found:
            if path.suffix.lower() in suffixes and not is_folder(path):
                rows.append(Broken(str(path), "lies outside any class folder"))
    return rows.finish()


def check_image_path(path: Path) -> str | None:
    """Why a path cannot be an image tltool reads, or None where it can."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return f"not an image format tltool reads ({', '.join(IMAGE_SUFFIXES)})"
    try:
        return None if path.is_file() else "there is no such file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def file_row(
    path: Path | Broken,
    modality: Modality,
    *,
    label: str | None = None,
    encoding: str | None = None,
) -> Row | Broken:
    """The row of a file that is one input.

    Args:
        path: From `files_below`; what is broken already stays as it is.
        modality: "image" gives the file's path, "text" its contents.
        label: Of the row.
        encoding: Of a text; None finds it out.
    """
    if isinstance(path, Broken):
        return path
    if path.suffix.lower() not in SUFFIXES[modality]:
        formats = ", ".join(SUFFIXES[modality])
        return Broken(str(path), f"not a format tltool reads here ({formats})")
    if modality == "image":
        return Row(str(path), label, str(path))
    try:
        return Row(decode(path, encoding), label, str(path))
    except DataError as error:
        return Broken(str(path), error.message.removeprefix(f"{path} "))


def _no_classes(folder: Path, modality: Modality) -> DataError:
    tables = [path for path in entries(folder, []) if table_suffix(path)]
    if (folder / ROBOFLOW_TABLE).is_file():
        hint = f"{ROBOFLOW_TABLE} has a column for each label: task={modality}-multi-label reads it"
    elif tables:
        hint = f"to use a table, name the file, e.g. {tables[0]}"
    else:
        hint = "make one subfolder a class and put its files there, or name a table (CSV)"
    return DataError(f"{folder} has no class folders with {modality}s.", hint=hint)


def _one(folder: Path, found: dict[str, Path], split: Split) -> str | None:
    names = [name for name in SPLIT_WORDS[split] if name in found]
    if len(names) > 1:
        raise DataError(f"{folder} has several folders for {split}: {', '.join(names)}.")
    return names[0] if names else None

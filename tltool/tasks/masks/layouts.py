"""Where masks lie beside their pictures: pairs of folders, and what annotation programs write."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tltool.support.errors import DataError, NoTaskError
from tltool.support.files import is_of_system
from tltool.support.words import count, listed, natural_key
from tltool.tasks.masks.boxes import BOXES_HINT, refuse_boxes
from tltool.tasks.masks.cvat import CVAT_FILE, LABEL_MAP, cvat_layout, label_map
from tltool.tasks.masks.label_studio import label_studio_layout
from tltool.tasks.masks.shapes import (
    DrawnClasses,
    beside,
    number_of_pixels,
    pixels_of,
    runs_of,
    size_in,
)
from tltool.tasks.target import Layout

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "annotations",
    "segmentation",
    "segmentations",
    "segmentationclass",
)
ROBOFLOW_COCO = "_annotations.coco.json"
"""Annotations beside the pictures, as Roboflow exports them."""
# What programs add to the name of a picture to name its mask.
_ENDINGS = ("_mask", "-mask", "_seg", "_label")


def layout_of(source: Path, classes: Mapping[str, Any] | None = None) -> Layout | None:
    """The pairs of pictures and masks in a folder, or in a file of annotations.

    Args:
        source: A folder with `images/` and `masks/` (or what others call
            them), with `ROBOFLOW_COCO` or with `CVAT_FILE`; a .json file of COCO or of
            Label Studio; or an .xml file of CVAT.
        classes: What stands for which class, where that is known.

    Raises:
        DataError: It looks like one of these and cannot be used.
    """
    if not source.is_dir():
        if source.suffix.lower() == ".xml":
            return cvat_layout(source, classes)
        return _json(source, classes) if source.suffix.lower() == ".json" else None
    if (source / ROBOFLOW_COCO).is_file():
        return _json(source / ROBOFLOW_COCO, classes)
    if (source / CVAT_FILE).is_file():
        return cvat_layout(source / CVAT_FILE, classes)
    folders = {path.name.lower(): path for path in source.iterdir() if path.is_dir()}
    images, masks = (
        [folders[name] for name in names if name in folders]
        for names in (IMAGE_FOLDERS, MASK_FOLDERS)
    )
    if not images or not masks:
        refuse_boxes(sorted(source.iterdir()))
        return None
    for found, what in ((images, "pictures"), (masks, "masks")):
        if len(found) > 1:
            names = ", ".join(f"{path.name}/" for path in found)
            raise DataError(f"{source} has several folders for {what}: {names}.")
    inside = sorted(masks[0].rglob("*"))
    refuse_boxes(inside)
    files = [path for path in inside if path.is_file() and not is_of_system(path.name)]
    if files and all(path.suffix.lower() == ".json" for path in files):
        raise DataError(
            f"{masks[0]} holds no masks but {listed([path.name for path in files], 5)}.",
            hint=f"name the file of annotations in place of the folder, such as {files[0]}",
        )
    pairs = _pairs(images[0], masks[0])
    file = source / LABEL_MAP
    return replace(pairs, classes=label_map(file)) if file.is_file() and not classes else pairs


def without_masks(files: Sequence[Path], folder: Path) -> list[Path]:
    """Files below a folder but those in folders of masks that lie beside folders of pictures."""
    above = {file: set(file.relative_to(folder).parents) for file in files}
    folders = set[Path]().union(*above.values())
    beside = {path.parent for path in folders if path.name.lower() in IMAGE_FOLDERS}
    masks = {p for p in folders if p.name.lower() in MASK_FOLDERS and p.parent in beside}
    return [file for file in files if masks.isdisjoint(above[file])]


def _pairs(images: Path, masks: Path) -> Layout:
    """Pictures and masks of the same name, whatever their suffixes, below two folders."""
    pictures, found = _by_stem(images), _by_stem(masks)
    for stem in [stem for stem in found if stem not in pictures]:
        plain = next((stem.removesuffix(e) for e in _ENDINGS if stem.endswith(e)), None)
        if plain in pictures:
            found.setdefault(plain, []).extend(found.pop(stem))
    rows: list[tuple[Any, Any, str, str]] = []
    broken: list[tuple[str, str]] = []
    for stem in sorted({*pictures, *found}, key=natural_key):
        mine, theirs = pictures.get(stem, []), found.get(stem, [])
        place = str((mine or theirs)[0])
        if len(mine) == len(theirs) == 1:
            parts = mine[0].relative_to(images).parts
            rows.append((str(mine[0]), str(theirs[0]), place, parts[0] if parts[1:] else ""))
        elif not theirs:
            broken.append((place, f"there is no mask of this name in {masks}"))
        elif not mine:
            broken.append((place, f"there is no picture of this name in {images}"))
        else:
            names = ", ".join(path.name for path in (*mine, *theirs))
            broken.append((place, f"which mask is of which picture? {names} have one name"))
    return Layout(rows, broken)


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """The files below a folder by their relative path without suffix."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(map(is_of_system, relative.parts)):
            found[relative.with_suffix("").as_posix()].append(path)
    return dict(found)


def _json(file: Path, classes: Mapping[str, Any] | None) -> Layout:
    """COCO's annotations, or a list of tasks of Label Studio."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON: {error}.") from error
    if isinstance(content, list):
        return label_studio_layout(file, content, classes)
    return _coco(file, content, classes)


def _coco(file: Path, content: Any, known: Mapping[str, Any] | None) -> Layout:
    """COCO's annotations (https://cocodataset.org/#format-data) as masks of categories.

    Pixels of no annotation are background. Where annotations overlap, the
    smaller one is on top.
    """
    try:
        images, shapes = list(content["images"]), content["annotations"]
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = {_id(category["id"]): str(category["name"]) for category in categories}
        by_image: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for shape in shapes:
            by_image[_id(shape["image_id"])].append(shape)
    except (LookupError, TypeError) as error:
        raise DataError(
            f"{file} is no file of COCO's annotations: {type(error).__name__} {error}.",
            hint="it needs `images`, `annotations` and `categories`",
        ) from error
    if len(set(names.values())) < len(categories):
        raise DataError(f"{file}: its {len(categories)} categories need names of their own.")
    if by_image and not any(s.get("segmentation") for part in by_image.values() for s in part):
        raise NoTaskError(f"{file} holds boxes, no outlines.", hint=BOXES_HINT)
    classes = DrawnClasses.of(file, names.values(), known)
    rows: list[tuple[Any, Any, str, str]] = []
    broken: list[tuple[str, str]] = []
    unknown = dict(by_image)
    for number, image in enumerate(images, start=1):
        place = f"{file}: image {image.get('id') if isinstance(image, dict) else number}"
        try:
            unknown.pop(_id(image["id"]), None)
            picture = beside(file, str(image["file_name"]))
            size = size_in(image)
            drawn = by_image.get(_id(image["id"]), [])
            areas = [_area(shape, names, classes, size) for shape in drawn]
            # The largest first; and one alone is pixels at a time.
            areas.sort(key=lambda area: -number_of_pixels(area[1]))
            mask = classes.mask(((one, pixels_of(runs, size)) for one, runs in areas), size)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            broken.append((place, _told(error)))
            continue
        rows.append((picture, mask, place, ""))
    for one, drawn in unknown.items():
        told = f"is not among `images`, but named by {count(len(drawn), 'annotation')}"
        broken.append((f"{file}: image {one}", told))
    return Layout(rows, broken, classes.codes)


def _id(value: Any) -> str:
    """A number that names something, which some programs write as text or as 7.0."""
    if not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is no id")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _area(
    shape: Mapping[str, Any],
    names: Mapping[str, str],
    classes: DrawnClasses,
    size: tuple[int, int],
) -> tuple[int, Any]:
    """The class and the packed pixels of an annotation.

    Raises:
        ValueError: It is no outline of a class in a picture of this size.
    """
    try:
        if (category := _id(shape["category_id"])) not in names:
            raise ValueError(f"is of category {category}, which is not among `categories`")
        if not shape.get("segmentation"):
            raise ValueError("has no outline, which a box alone is not")
        return classes.number(names[category]), runs_of(shape["segmentation"], size)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"annotation {shape.get('id')} {_told(error)}") from error


def _told(error: Exception) -> str:
    """What is wrong, in words."""
    if isinstance(error, KeyError):
        return f"has no {error}"
    if isinstance(error, ValueError):
        return str(error)
    return f"cannot be used: {type(error).__name__} {error}"

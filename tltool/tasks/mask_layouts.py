"""Where masks lie beside their pictures: pairs of folders, and annotations in COCO's form."""

from __future__ import annotations

import importlib
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.support.errors import DataError
from tltool.support.files import is_of_system
from tltool.support.words import natural_key
from tltool.tasks.mask_files import MOST_CLASSES, png_of
from tltool.tasks.target import Layout

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

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
BACKGROUND = "background"
# What programs add to the name of a picture to name its mask.
_ENDINGS = ("_mask", "-mask", "_seg", "_label")


def layout_of(source: Path) -> Layout | None:
    """The pairs of pictures and masks in a folder, or in a file of COCO's annotations.

    Args:
        source: A folder with `images/` and `masks/` (or what others call
            them), or with `ROBOFLOW_COCO`; or a .json file.

    Raises:
        DataError: It looks like one of these and cannot be used.
    """
    if not source.is_dir():
        return _coco(source) if source.suffix.lower() == ".json" else None
    if (source / ROBOFLOW_COCO).is_file():
        return _coco(source / ROBOFLOW_COCO)
    folders = {path.name.lower(): path for path in source.iterdir() if path.is_dir()}
    images, masks = (
        [folders[name] for name in names if name in folders]
        for names in (IMAGE_FOLDERS, MASK_FOLDERS)
    )
    if not images or not masks:
        return None
    for found, what in ((images, "pictures"), (masks, "masks")):
        if len(found) > 1:
            names = ", ".join(f"{path.name}/" for path in found)
            raise DataError(f"{source} has several folders for {what}: {names}.")
    return _pairs(images[0], masks[0])


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


def _coco(file: Path) -> Layout:
    """COCO's annotations (https://cocodataset.org/#format-data) as masks of categories.

    Pixels of no annotation are background. Where annotations overlap, the
    smaller one is on top.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images, shapes = content["images"], content["annotations"]
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = [str(category["name"]) for category in categories]
        numbers = {category["id"]: place for place, category in enumerate(categories, start=1)}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{file} is no file of COCO's annotations: {type(error).__name__} {error}.",
            hint="it needs `images`, `annotations` and `categories`",
        ) from error
    if len(set(names)) < len(names) or BACKGROUND in names or len(names) >= MOST_CLASSES:
        raise DataError(
            f"{file}: its {len(names)} categories need names of their own, none of them "
            f"{BACKGROUND!r}, and {MOST_CLASSES - 1} at most."
        )
    by_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for shape in shapes:
        by_image[shape.get("image_id")].append(shape)
    rows: list[tuple[Any, Any, str, str]] = []
    broken: list[tuple[str, str]] = []
    for image in images:
        place = f"{file}: image {image.get('id')}"
        try:
            picture = _beside(file, str(image["file_name"]))
            size = int(image["height"]), int(image["width"])
            mask = png_of(_painted(by_image[image["id"]], size, numbers))
        except (ValueError, LookupError, TypeError) as error:
            broken.append((place, f"cannot be used: {type(error).__name__} {error}"))
            continue
        rows.append((picture, mask, place, ""))
    return Layout(rows, broken, {BACKGROUND: 0, **dict(zip(names, numbers.values(), strict=True))})


def _beside(file: Path, name: str) -> str:
    """The path of a picture that annotations name."""
    folders = (file.parent, file.parent / "images", file.parent.parent / "images")
    found = (folder / name for folder in folders if (folder / name).is_file())
    return str(next(found, file.parent / name))


def _painted(
    shapes: Sequence[Mapping[str, Any]], size: tuple[int, int], numbers: Mapping[Any, int]
) -> Array:
    """The number of the category of each pixel, uint8 (*size); 0 for none."""
    import numpy as np

    painted = np.zeros(size, np.uint8)
    areas = [(numbers[shape["category_id"]], _area(shape["segmentation"], size))
             for shape in shapes if shape.get("segmentation")]  # fmt: skip
    for number, inside in sorted(areas, key=lambda pair: -int(pair[1].sum())):
        painted[inside] = number
    return painted


def _area(segmentation: Any, size: tuple[int, int]) -> Array:
    """The pixels of one annotation, bool (*size): polygons, or run lengths, packed or not."""
    import numpy as np

    coding = _coding()
    height, width = size
    if isinstance(segmentation, list):
        parts = coding.frPyObjects(list(_polygons(segmentation)), height, width)
        packed = coding.merge(parts)
    elif isinstance(segmentation["counts"], list):
        packed = coding.frPyObjects(segmentation, height, width)
    else:
        packed = {"size": segmentation["size"], "counts": segmentation["counts"].encode()}
    with warnings.catch_warnings():
        # pycocotools 2.0.11 makes arrays in a way that NumPy 2 warns of.
        warnings.simplefilter("ignore", DeprecationWarning)
        inside: Array = np.asarray(coding.decode(packed), bool)
    if inside.shape != size:
        raise ValueError(f"an annotation has {inside.shape} pixels, its image {size}")
    return inside


def _polygons(points: Sequence[Any]) -> Iterator[list[float]]:
    """Polygons (x, y, x, y, …) with three corners at least, of which there are some in one list."""
    for polygon in points if isinstance(points[0], list) else [points]:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} numbers, not two for each of 3 corners")
        yield list(map(float, polygon))


def _coding() -> Any:
    try:
        return importlib.import_module("pycocotools.mask")
    except ImportError as error:
        raise DataError(
            "COCO's annotations are read by the package pycocotools, which is not installed.",
            hint="install it with: pip install 'tltool[coco]'",
        ) from error

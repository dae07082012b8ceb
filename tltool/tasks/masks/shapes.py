"""What people drew on pictures, as pixels: polygons, run lengths, and how they cover each other."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.support.errors import DataError
from tltool.support.words import count, listed
from tltool.tasks.masks.files import MOST_CLASSES, ClassTable
from tltool.tasks.masks.pictures import coded_png

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
else:
    Array = Any

BACKGROUND = "background"
"""The class of pixels on which nothing was drawn."""
_MOST_PIXELS = 2**28  # What is read of a picture, too.


@dataclass(frozen=True)
class DrawnClasses:
    """The classes of what people drew.

    Attributes:
        codes: What stands for each in masks, as in `data.mask_classes`.
    """

    codes: Mapping[str, Any]

    @classmethod
    def of(cls, file: Path, labels: Iterable[str], known: Mapping[str, Any] | None) -> DrawnClasses:
        """Those that are known, or else `BACKGROUND` and the labels of a file.

        Args:
            file: Of the annotations.
            labels: That it draws with, in their order.
            known: What stands for which class, where that is known.

        Raises:
            DataError: There are too many, or none is background.
        """
        if known and BACKGROUND not in known:
            raise DataError(
                f"data.mask_classes has no {BACKGROUND!r}, the class of what nobody drew on in "
                f"{file}.",
                hint=f"name that class {BACKGROUND}",
            )
        names = (BACKGROUND, *(name for name in dict.fromkeys(labels) if name != BACKGROUND))
        if not known and len(names) > MOST_CLASSES:
            raise DataError(
                f"{file} has {count(len(names), 'class')}; {MOST_CLASSES} at most can be told apart"
            )
        return cls(known or {name: number for number, name in enumerate(names)})

    @cached_property
    def _table(self) -> ClassTable:
        return ClassTable.given(self.codes)

    def number(self, label: Any) -> int:
        """The class number of a label.

        Raises:
            ValueError: It is none of the classes.
        """
        if label not in self._table.names:
            raise ValueError(f"has the label {label!r}; known are {listed(self._table.names)}")
        return self._table.names.index(label)

    def mask(self, areas: Iterable[tuple[int, Array]], size: tuple[int, int]) -> bytes:
        """A PNG of the classes of pixels.

        Args:
            areas: Class numbers and pixels, bool (*size); later ones are on top.
            size: Height and width.
        """
        import numpy as np

        numbers = np.full(size, self.number(BACKGROUND), np.uint8)
        for number, inside in areas:
            numbers[inside] = number
        return coded_png(numbers, self._table)


def beside(file: Path, *names: str) -> str:
    """The path of a picture that a file of annotations names, in one way or another."""
    folders = (file.parent, file.parent / "images", file.parent.parent / "images")
    found = (f / name for name in names for f in folders if (f / name).is_file())
    return str(next(found, file.parent / names[0]))


def size_in(values: Mapping[str, Any]) -> tuple[int, int]:
    """The `height` and `width` that annotations say of a picture.

    Raises:
        LookupError, TypeError, ValueError: They are missing or can be of no picture.
    """
    height, width = int(values["height"]), int(values["width"])
    if min(height, width) < 1 or height * width > _MOST_PIXELS:
        raise ValueError(f"there is no picture of {width} x {height} pixels")
    return height, width


def area_of(segmentation: Any, size: tuple[int, int]) -> Array:
    """The pixels of one annotation, bool (*size); see `runs_of` and `pixels_of`."""
    return pixels_of(runs_of(segmentation, size), size)


def runs_of(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """One annotation of COCO as packed run lengths, which take few bytes.

    Args:
        segmentation: Polygons (x, y, x, y, …), of which there are some in one list, or run
            lengths, packed or not.
        size: Height and width of the picture.

    Raises:
        ValueError: It is no such annotation.
        DataError: pycocotools is not installed.
    """
    coding = _coding()
    height, width = size
    if isinstance(segmentation, list):
        parts = coding.frPyObjects(list(_polygons(segmentation)), height, width)
        packed: dict[str, Any] = coding.merge(parts)
    elif isinstance(segmentation["counts"], list):
        packed = coding.frPyObjects(segmentation, height, width)
    else:
        packed = {"size": segmentation["size"], "counts": segmentation["counts"].encode()}
    if tuple(packed["size"]) != size:
        raise ValueError(f"has {tuple(packed['size'])} pixels, its image {size}")
    return packed


def number_of_pixels(runs: dict[str, Any]) -> int:
    """Of what `runs_of` gives."""
    return int(_coding().area(runs))


def pixels_of(runs: dict[str, Any], size: tuple[int, int]) -> Array:
    """The pixels of what `runs_of` gives, bool (*size)."""
    import numpy as np

    with warnings.catch_warnings():
        # pycocotools 2.0.11 makes arrays in a way that NumPy 2 warns of.
        warnings.simplefilter("ignore", DeprecationWarning)
        inside: Array = np.asarray(_coding().decode(runs), bool)
    return inside


def _polygons(points: Sequence[Any]) -> Iterator[list[float]]:
    """Polygons with three corners at least."""
    for polygon in points if isinstance(points[0], list) else [points]:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"has a polygon of {len(polygon)} numbers, not two for each of 3 corners"
            )
        yield list(map(float, polygon))


def _coding() -> Any:
    try:
        return importlib.import_module("pycocotools.mask")
    except ImportError as error:
        raise DataError(
            "Polygons and COCO's annotations are read by the package pycocotools, which is not "
            "installed.",
            hint="install it with: pip install 'tltool[coco]'",
        ) from error

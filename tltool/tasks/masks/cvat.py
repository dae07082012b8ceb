"""What CVAT exports: polygons and masks as "CVAT for images", colours of a "Segmentation mask".

https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/, format-smask/ and
https://docs.cvat.ai/docs/other/xml_format/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax import ContentHandler, SAXException, SAXParseException, parse

from tltool.support.errors import DataError
from tltool.tasks.masks.files import code_of, told
from tltool.tasks.masks.shapes import Array, DrawnClasses, area_of, beside, size_in
from tltool.tasks.target import Layout
from tltool.tasks.values import BadValueError

CVAT_FILE = "annotations.xml"
"""The annotations in a folder that was exported with its images."""
LABEL_MAP = "labelmap.txt"
"""What colours stand for, beside `SegmentationClass/`."""
# What says something of a whole picture.
_OF_PICTURES = {"tag"}


@dataclass(frozen=True)
class _Element:
    """An element of XML.

    Attributes:
        name: Of its kind.
        line: Where it stands.
        values: Its attributes.
        inner: Those in it.
    """

    name: str
    line: int
    values: Mapping[str, str]
    inner: list[_Element] = field(default_factory=list)


class _Reader(ContentHandler):
    """Collects labels, and images with what was drawn on them."""

    _locator: Any

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []
        self.images: list[_Element] = []
        self.root = ""
        self._open: list[str] = []
        self._text = ""

    def startElement(self, name: str, attrs: Any) -> None:  # noqa: N802
        self.root = self.root or name
        element = _Element(name, self._locator.getLineNumber(), dict(attrs.items()))
        if name == "track":
            raise _unusable(element, "is a track of a video; export as `CVAT for images 1.1`")
        if self._open == ["annotations"] and name == "image":
            self.images.append(element)
        elif self._open == ["annotations", "image"]:
            self.images[-1].inner.append(element)
        self._open.append(name)
        self._text = ""

    def characters(self, content: str) -> None:
        self._text += content

    def endElement(self, name: str) -> None:  # noqa: N802
        if self._open[-3:] == ["labels", "label", "name"]:
            self.labels.append(self._text.strip())
        self._open.pop()


def cvat_layout(file: Path, known: Mapping[str, Any] | None) -> Layout:
    """The pictures of a file of CVAT with masks of its labels.

    Pixels of nothing that was drawn are background. What has the higher
    `z_order` is on top, then what was drawn later.

    Args:
        file: The annotations; pictures lie beside it or in `images/` there.
        known: What stands for which class, where that is known.

    Raises:
        DataError: It is no such file.
    """
    reader = _Reader()
    try:
        parse(str(file), reader)
    except SAXParseException as error:
        raise DataError(f"{file}:{error.getLineNumber()}: {error.getMessage()}.") from error
    except (SAXException, OSError) as error:
        raise DataError(f"{file} cannot be read as XML: {error}.") from error
    except BadValueError as error:
        raise DataError(f"{file}: {error}.") from error
    if reader.root != "annotations" or not reader.labels:
        raise DataError(
            f"{file} is no export of CVAT: it has no <annotations> with <labels>.",
            hint="export from CVAT as `CVAT for images 1.1`",
        )
    classes = DrawnClasses.of(file, reader.labels, known)
    rows: list[tuple[Any, Any, str, str]] = []
    broken: list[tuple[str, str]] = []
    for image in reader.images:
        place = f"{file}:{image.line}"
        faults: list[str] = []
        try:
            name, size = image.values["name"], size_in(image.values)
        except (LookupError, ValueError) as error:
            broken.append((place, str(_unusable(image, error))))
            continue
        mask = classes.mask(_areas(image, size, classes, faults), size)
        if faults:
            broken.append((place, "; ".join(faults)))
        else:
            picture = beside(file, name, f"{image.values.get('subset', '')}/{name}")
            rows.append((picture, mask, place, ""))
    return Layout(rows, broken, classes.codes)


def label_map(file: Path) -> dict[str, str]:
    """The colour of each class in lines as `car:250,50,83::`.

    Raises:
        DataError: A line is none; names it.
    """
    colours: dict[str, str] = {}
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        levels = rest.partition(":")[0].split(",")
        try:
            colours[name.strip()] = told(code_of([int(level) for level in levels]))
        except (BadValueError, ValueError) as error:
            raise DataError(f"{file}:{number}: {line!r} is no class with its colour.") from error
    return colours


def _areas(
    image: _Element, size: tuple[int, int], classes: DrawnClasses, faults: list[str]
) -> Iterator[tuple[int, Array]]:
    """The class and the pixels of each shape, the lowest first; what cannot be goes to `faults`."""
    shapes = [shape for shape in image.inner if shape.name not in _OF_PICTURES]
    try:
        shapes.sort(key=lambda shape: int(shape.values.get("z_order", 0)))
    except ValueError as error:
        faults.append(f"z_order: {error}")
    for shape in shapes:
        try:
            number = classes.number(shape.values["label"])
            if shape.name == "polygon":
                corners = [pair.split(",") for pair in shape.values["points"].split(";")]
                area = area_of([float(place) for x, y in corners for place in (x, y)], size)
            elif shape.name == "mask":
                area = _mask(shape, size)
            else:
                raise ValueError("is neither a polygon nor a mask")
            yield number, area
        except (LookupError, ValueError) as error:
            faults.append(str(_unusable(shape, error)))


def _mask(shape: _Element, size: tuple[int, int]) -> Array:
    """The pixels of a `<mask>`, bool (*size): run lengths of its box, row by row, from "not" on."""
    import numpy as np

    top, left, height, width = _whole(shape, "top", "left", "height", "width")
    runs = np.array([int(run) for run in shape.values["rle"].split(",")])
    if min(top, left) < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError(f"has a box that reaches out of the picture of {size[1]} x {size[0]}")
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"has runs of {runs.sum()} pixels in a box of {height * width}")
    inside: Array = np.zeros(size, bool)
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    inside[top : top + height, left : left + width] = pixels.reshape(height, width)
    return inside


def _whole(element: _Element, *names: str) -> Any:
    return tuple(int(element.values[name]) for name in names)


def _unusable(element: _Element, why: object) -> BadValueError:
    reason = f"has no {why}" if isinstance(why, KeyError) else why
    return BadValueError(f"line {element.line}: <{element.name}> {reason}")

"""Brushes and polygons in what Label Studio exports as JSON (https://labelstud.io/guide/export)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tltool.support.errors import DataError
from tltool.support.words import count, listed
from tltool.tasks.label_studio import results_of
from tltool.tasks.masks.files import upright_size
from tltool.tasks.masks.shapes import Array, DrawnClasses, area_of, beside
from tltool.tasks.target import Layout
from tltool.tasks.values import BadValueError, sort_labels

# What Label Studio puts before the names of files that are uploaded: 8 hexadecimal digits.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_HEADER_BITS = 53


def label_studio_layout(
    file: Path, tasks: Sequence[Any], known: Mapping[str, Any] | None
) -> Layout:
    """The pictures of tasks with masks of what was drawn on them.

    Pixels of nothing that was drawn are background, and later regions are on
    top. Of several annotations the last counts that was not cancelled.

    Args:
        file: That the tasks are of; pictures lie beside it or in `images/` there.
        tasks: Its content.
        known: What stands for which class, where that is known; the file itself
            does not say which labels there are but those that were used.

    Raises:
        DataError: It is no such file.
    """
    labels = sort_labels({name for task in tasks for name in _labels(task)})
    if not labels:
        raise DataError(
            f"{file} is a list without anything that was drawn.",
            hint="export tasks with brushes or polygons from Label Studio as JSON (not JSON-MIN)",
        )
    classes = DrawnClasses.of(file, labels, known)
    rows: list[tuple[Any, Any, str, str]] = []
    broken: list[tuple[str, str]] = []
    for number, task in enumerate(tasks, start=1):
        place = f"{file}: task {task.get('id', number) if isinstance(task, dict) else number}"
        try:
            picture = _picture(file, task)
            size = upright_size(picture)
            if size is None:
                raise BadValueError(f"its picture {picture} is missing or cannot be read")
            faults: list[str] = []
            mask = classes.mask(_areas(results_of(task), size, classes, faults), size)
            if faults:
                raise BadValueError("; ".join(faults))
        except BadValueError as error:
            broken.append((place, str(error)))
        else:
            rows.append((picture, mask, place, ""))
    return Layout(rows, broken, classes.codes)


def _names(result: Mapping[str, Any]) -> Any:
    """The labels of a region; None of what is no region, or one without its label."""
    kind = str(result.get("type"))
    return result["value"].get(kind, ()) if kind.endswith("labels") else None


def _labels(task: Any) -> set[str]:
    try:
        return {str(name) for _, one in results_of(task) for name in _names(one) or ()}
    except BadValueError:
        return set()


def _picture(file: Path, task: Any) -> str:
    """The path of a task's picture: uploaded, on a server's disk, or anywhere else."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise BadValueError("is no task of Label Studio: it has no data")
    texts = {key: text for key, text in data.items() if isinstance(text, str)}
    address = texts.get("image", next(iter(texts.values())) if len(texts) == 1 else None)
    if address is None:
        raise BadValueError(f"which of its data is the picture: {listed(list(data))}?")
    parts = urlsplit(address)
    given = parse_qs(parts.query).get("d", [unquote(parts.path)])[0].replace("\\", "/")
    name = PurePosixPath(given).name
    return beside(file, name, _UPLOAD.sub("", name, count=1), given.lstrip("/"))


def _areas(
    results: Sequence[tuple[int, dict[str, Any]]],
    size: tuple[int, int],
    classes: DrawnClasses,
    faults: list[str],
) -> Iterator[tuple[int, Array]]:
    """The class and the pixels of each region; what cannot be goes to `faults`."""
    labelled = {one.get("id") for _, one in results if _names(one) is not None}
    for number, one in results:
        names = _names(one)
        try:
            if names is None:
                # Where shapes and labels are apart, both have the shape.
                if one["value"].keys() & {"rle", "points", "x"} and one.get("id") not in labelled:
                    raise ValueError("has no label")
                continue
            if not isinstance(names, list) or len(names) != 1:
                raise ValueError(f"has the labels {names}, where one is needed")
            yield classes.number(names[0]), _area(one, size)
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else error
            faults.append(f"result {number}, {one.get('type')}, {reason}")


def _area(result: Mapping[str, Any], size: tuple[int, int]) -> Array:
    """The pixels of one region, bool (*size).

    Raises:
        ValueError: It is no such region of such a picture.
    """
    value, (height, width) = result["value"], size
    drawn_on = result["original_height"], result["original_width"]
    if drawn_on != size:
        raise ValueError(
            f"is of a picture of {drawn_on[1]} x {drawn_on[0]}, not {width} x {height}"
        )
    if result.get("image_rotation"):
        raise ValueError(f"was drawn on a picture turned by {result['image_rotation']} degrees")
    if value.get("format") == "rle":
        return brush(value["rle"], size)
    if "points" not in value or value.get("closed") is False:
        raise ValueError("is neither a brush nor a closed polygon")
    return area_of(
        [part for x, y in value["points"] for part in (x * width / 100, y * height / 100)], size
    )


def brush(packed: Sequence[int], size: tuple[int, int]) -> Array:
    """The pixels of a brush that are not wholly transparent, bool (*size).

    Its bytes are bits of @thi.ng/rle-pack
    (https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack): the number of
    values in 32, bits of a value less 1 in 5, four sizes less 1 in 4 each; then runs,
    each of a bit (1: all values are the same), two that say which of the sizes the
    number of values less 1 has, that number, and the value or the values. They are
    red, green, blue and opacity of the pixels, row by row.

    Args:
        packed: Numbers 0..255.
        size: Height and width of the picture.

    Raises:
        ValueError: It is damaged, or of another picture.
    """
    import numpy as np

    bits = np.unpackbits(np.array(packed, np.uint8))
    digits = (bits + ord("0")).tobytes()
    values = np.zeros(4 * size[0] * size[1], np.uint8)
    if len(digits) < _HEADER_BITS:
        raise ValueError("is damaged: it has no header")
    total, word = int(digits[:32], 2), int(digits[32:37], 2) + 1
    sizes = [int(digits[at : at + 4], 2) + 1 for at in range(37, _HEADER_BITS, 4)]
    if (total, word) != (values.size, 8):
        raise ValueError(f"has {total:,} values of {count(word, 'bit')}, not {values.size:,} of 8")
    at, done = _HEADER_BITS, 0
    while done < total:
        start = at + 3 + sizes[int(digits[at + 1 : at + 3] or b"0", 2)]
        length = int(digits[at + 3 : start] or b"0", 2) + 1
        same = digits[at : at + 1] == b"1"
        at = start + 8 * (1 if same else length)
        if at > len(digits) or done + length > total:
            raise ValueError(f"is damaged: it ends after {done:,} of {total:,} values")
        values[done : done + length] = np.packbits(bits[start:at])
        done += length
    return values.reshape(*size, 4)[..., 3] > 0

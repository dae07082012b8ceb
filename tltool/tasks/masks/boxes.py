"""Tells files of boxes, which are no masks, and which no task of tltool reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tltool.support.errors import NoTaskError

BOXES_HINT = (
    "tltool has no task for boxes (detection); for masks export outlines in COCO's form, or "
    "pictures of masks"
)
_TRIED = 20
_NUMBERS_OF_BOX = 5


def refuse_boxes(files: Sequence[Path]) -> None:
    """Refuses a folder whose annotations are Pascal VOC's or YOLO's.

    Args:
        files: Of the folder, in their order. A table among them says what the pictures are;
            the others of its suffixes that are looked at are the first few.

    Raises:
        NoTaskError: The `.xml` files have boxes, or the lines of the `.txt` files a class and
            four numbers (a box) or more (an outline).
    """
    if any(file.suffix.lower() in {".csv", ".tsv", ".jsonl", ".parquet"} for file in files):
        return
    for suffix, what_is_in in ((".xml", _in_xml), (".txt", _in_lines)):
        tried = [file for file in files if file.suffix.lower() == suffix][:_TRIED]
        found = [(file, what) for file in tried if (what := what_is_in(file))]
        if found and len(found) * 2 > len(tried):
            file, what = found[0]
            raise NoTaskError(f"{file} and the like hold {what}, no masks.", hint=BOXES_HINT)


def _in_xml(file: Path) -> str:
    return "boxes (Pascal VOC)" if "<bndbox>" in _content(file) else ""


def _in_lines(file: Path) -> str:
    """What stands in lines of a class and numbers from 0 to 1, as YOLO's are."""
    try:
        rows = [[float(value) for value in line.split()] for line in _content(file).splitlines()]
    except ValueError:
        return ""
    lengths = {len(row) for row in rows if row}
    sound = all(
        row[0].is_integer() and all(0 <= one <= 1 for one in row[1:]) for row in rows if row
    )
    if not lengths or not sound:
        return ""
    if lengths == {_NUMBERS_OF_BOX}:
        return "boxes (YOLO)"
    outlines = all(length > _NUMBERS_OF_BOX and length % 2 for length in lengths)
    return "outlines as YOLO writes them" if outlines else ""


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""

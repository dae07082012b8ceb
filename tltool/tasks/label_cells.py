"""The labels that one cell of data holds: a list, a text with separators, 0/1 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltool.tasks.values import (
    BadValueError,
    as_text,
    choices_in,
    is_missing,
    label_text,
    sort_labels,
)

SEPARATORS = ("|", ";", ",")
"""Between labels in one cell, in the order in which they are tried."""
_YES, _NO = {"1", "true", "yes", "1.0"}, {"0", "false", "no", "0.0"}


def found_separator(cells: Sequence[Any]) -> str | None:
    """What stands between labels in these cells; None where each has one label at most.

    Of several that occur, the one that leaves the fewest different labels.
    """
    found = [cell.decode(errors="replace") if isinstance(cell, bytes) else cell for cell in cells]
    texts = [text for text in found if isinstance(text, str) and text.strip()[:1] not in ("[", "{")]
    present = [mark for mark in SEPARATORS if any(mark in text for text in texts)]
    if not present:
        return None

    def labels_by(mark: str) -> int:
        return len({part.strip() for text in texts for part in text.split(mark)})

    return min(present, key=labels_by)


def labels_of(cell: Any, separator: str | None) -> tuple[str, ...]:
    """The labels of one cell: a list, JSON of one, or text with separators; empty is none."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, bytes):  # as TensorFlow has texts
        cell = as_text(cell)
    if is_missing(cell):
        return ()
    parts = choices_in(cell)
    if parts is None:
        text = as_text(cell)
        if text.strip()[:1] + text.strip()[-1:] == "[]":
            raise BadValueError(f"the labels {text[:60]!r} are no JSON list")
        written = text.split(separator) if separator else [text]
        parts = [part for part in written if part.strip()]
    return sort_labels(map(label_text, parts))


def values_of(cell: Any) -> Sequence[Any]:
    """The values of a row of several columns, or of an array."""
    values = cell.tolist() if hasattr(cell, "tolist") else cell
    if not isinstance(values, list | tuple):
        raise BadValueError(f"the labels are not a row of 0 and 1 but {cell!r}")
    return values


def array_width(cells: Sequence[Any]) -> int | None:
    """Columns of a multi-hot array whose rows these are; None where they are something else."""
    widths = {
        cell.shape[0]
        for cell in cells
        if getattr(cell, "ndim", 0) == 1 and cell.dtype.kind in "biuf"
    }
    return widths.pop() if len(widths) == 1 else None


def marked(names: Sequence[str], values: Sequence[Any]) -> tuple[str, ...]:
    """The names of columns that hold 1."""
    if len(values) != len(names):
        raise BadValueError(f"there are {len(values)} values for {len(names)} labels")
    found = []
    for name, value in zip(names, values, strict=True):
        try:
            text = as_text(value).strip().lower()
        except BadValueError as error:
            raise BadValueError(f"the column {name!r} {error}") from None
        if text not in _YES | _NO:
            raise BadValueError(f"the column {name!r} holds {text!r}, not 0 or 1")
        if text in _YES:
            found.append(label_text(name))
    return sort_labels(found)

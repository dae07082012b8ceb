"""Which task the labels of some data look made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tltool.tasks.classes import ClassTarget
from tltool.tasks.label_cells import found_separator
from tltool.tasks.table import Modality
from tltool.tasks.values import BadValueError, choices_in, label_text

_SEPARATED = 0.05
"""Share of cells with a separator from which it separates labels."""


def likely_task(modality: Modality, cells: Sequence[Any]) -> str:
    """The name of a task, such as `text-classification`.

    Args:
        modality: What goes in.
        cells: The labels of some rows as a table has them, tuples of several columns.
    """
    return f"{modality}-{_kind(cells)}"


def is_mark(cell: Any) -> bool:
    """Whether a cell says yes or no by 1 or 0."""
    return _text(cell) in {"0", "1"}


def _kind(cells: Sequence[Any]) -> str:
    several = [cell for cell in cells if isinstance(cell, tuple)]
    if several:
        marks = all(is_mark(value) for cell in several for value in cell)
        return "multi-label" if marks else "regression"
    lists = [choices_in(cell) for cell in cells]
    if any(found is not None and len(found) != 1 for found in lists):
        return "multi-label"
    texts = [text for cell in cells if (text := _text(cell))]
    mark = found_separator([text for text in texts if "," not in text])
    apart = [text for text in texts if mark and mark in text]
    if mark and len(apart) >= _SEPARATED * len(texts):
        parts = {part.strip() for text in texts for part in text.split(mark)}
        if len(parts) < len(set(texts)):
            return "multi-label"
    return "regression" if texts and ClassTarget.remarks_on(texts, "") else "classification"


def _text(cell: Any) -> str:
    try:
        return label_text(cell)
    except BadValueError:
        return ""

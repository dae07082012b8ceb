"""Which task the labels of some data look made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from tltool.tasks.classes import ClassTarget
from tltool.tasks.label_cells import found_separator
from tltool.tasks.table import TASKS, Modality, TaskSpec
from tltool.tasks.tags.schemes import OUTSIDE
from tltool.tasks.values import BadValueError, choices_in, finite_number, is_missing, label_text

_SEPARATED = 0.05
"""Share of cells with a separator from which it separates labels."""
_TRIED = 20
_ODD = 0.1
"""Share of cells up to which those that are no numbers are faults among numbers."""
_NO_VALUE = {"na", "n/a", "nan", "null", "none", "-", "?"}


def likely_task(modality: Modality, cells: Sequence[Any]) -> str:
    """The name of a task, such as `text-classification`.

    Args:
        modality: What goes in.
        cells: The labels of some rows as a table has them, tuples of several columns.
    """
    inputs = modality.replace("_", "-")
    likely = f"{inputs}-{_kind(cells)}"
    return likely if likely in TASKS else f"{inputs}-classification"


def known_task(
    columns: Mapping[str, Sequence[Any]], spec: TaskSpec | None = None
) -> tuple[str, str, str] | None:
    """The task of a table with columns that a kind of target knows, and those columns.

    Args:
        columns: Cells of some rows by the names of the columns.
        spec: The one task that counts; None for all.

    Returns:
        Task, column of inputs and column of labels; None where no such pair is there, or
        most of its cells do not fit each other.
    """
    for one in TASKS.values() if spec is None else [spec]:
        for inputs, labels in one.target.known_columns:
            label = next((name for name in labels if name in columns), None)
            if label is not None and inputs in columns:
                cells = zip(columns[inputs], columns[label], strict=False)
                if _mostly_join(one, list(islice(cells, _TRIED))):
                    return one.name, inputs, label
    return None


def _mostly_join(spec: TaskSpec, pairs: Sequence[tuple[Any, Any]]) -> bool:
    """Whether most rows that have a label can be read; the others are faults."""
    there = [pair for pair in pairs if not is_missing(pair[1])]
    labels = []
    for pair in there:
        with suppress(BadValueError):
            spec.target.joined(*pair)
            labels.append(pair[1])
    return 2 * len(labels) > len(there) and any(map(len, labels))


def task_of_files(modality: Modality) -> str | None:
    """The task whose labels are files, such as masks; None where there is none."""
    found = (s.name for s in TASKS.values() if s.modality == modality and s.target.file_labels)
    return next(found, None)


def task_of_words(cells: Sequence[Any]) -> str | None:
    """The task that tags the words of a text, where labels are such tags, one a row; else None."""
    texts = [text for cell in cells if (text := _text(cell))]
    found = (
        spec.name
        for spec in TASKS.values()
        if spec.target.by_words and spec.target.likely_in([texts], certain=True)
    )
    return next(found, None) if OUTSIDE in texts else None


def task_of_texts() -> str:
    """The task that reads rows of several texts without a label."""
    return next(spec.name for spec in TASKS.values() if spec.of_texts)


def are_numbers(cells: Sequence[Any]) -> bool:
    """Whether labels look like numbers and not like classes."""
    return _kind(cells) == "regression"


def numbers_in(texts: Sequence[str]) -> list[float]:
    """The numbers that nearly all of some texts are, a comma taken for a point; else none.

    The others are then faults, such as `NA`. Among whole numbers, which may be classes, only words
    for nothing are.
    """
    found = list(map(_number, texts))
    numbers = [number for number in found if number is not None]
    odd = [text for text, number in zip(texts, found, strict=True) if number is None]
    if len(odd) > _ODD * len(texts):
        return []
    faults = all(text.strip().lower() in _NO_VALUE for text in odd)
    return numbers if faults or not all(map(float.is_integer, numbers)) else []


def _number(text: str) -> float | None:
    try:
        return finite_number(text.replace(",", ".", 1))
    except BadValueError:
        return None


def paired(task: str) -> str | None:
    """The task for pairs of what a task reads one by one, where there is one."""
    spec = TASKS[task]
    pairs = (s.name for s in TASKS.values() if (s.modality, s.target) == ("text_pair", spec.target))
    return next(pairs, None) if spec.modality == "text" else None


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
    numbers = [repr(number) for number in numbers_in(texts)]
    return "regression" if numbers and ClassTarget.remarks_on(numbers, "") else "classification"


def _text(cell: Any) -> str:
    try:
        return label_text(cell)
    except BadValueError:
        return ""

"""Joins the rows of all sources into one checked `Examples` table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from tltool.data.examples import SPLITS, Examples, Split
from tltool.data.reading.folders import check_image_path
from tltool.data.reading.rows import (
    BadValueError,
    Broken,
    OnError,
    Row,
    input_of,
    settle,
    target_of,
)
from tltool.support.errors import DataError, did_you_mean
from tltool.tasks.table import TaskSpec


@dataclass
class _Columns:
    """The columns of `Examples` while they fill."""

    inputs: list[object] = field(default_factory=list)
    targets: list[str | float | None] = field(default_factory=list)
    splits: list[Split | None] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)


def examples_of(
    parts: Mapping[Split, Sequence[Row | Broken]], spec: TaskSpec, on_error: OnError
) -> Examples:
    """Checks every row and joins the parts into one table.

    Args:
        parts: The rows of each split that is given; "train" at least.
        spec: The task.
        on_error: "stop" raises one error with all broken rows, "skip" records them.

    Raises:
        DataError: Broken rows, nothing left, one class only, or a class in
            validation or test that train lacks.
    """
    examples = join_rows(parts, spec, on_error)
    check_classes(examples, spec)
    return examples


def join_rows(
    parts: Mapping[Split, Sequence[Row | Broken]], spec: TaskSpec, on_error: OnError
) -> Examples:
    """As `examples_of`, for rows that need not be enough to train on.

    Raises:
        DataError: Broken rows.
    """
    decided = {"validation", "test"} <= set(parts)
    columns, broken = _Columns(), []
    for split in SPLITS:
        for row in parts.get(split, []):
            checked = _check(row, spec)
            if isinstance(checked, Broken):
                broken.append(checked)
                continue
            value, target = checked
            columns.inputs.append(value)
            columns.targets.append(target)
            columns.splits.append(None if split == "train" and not decided else split)
            columns.origins.append(row.origin)
    skipped = settle(broken, on_error)
    return Examples(
        spec.modality, columns.inputs, columns.targets, columns.splits, columns.origins, skipped
    )


def check_classes(examples: Examples, spec: TaskSpec) -> None:
    """Checks that there is something to train on, of two classes at least.

    Raises:
        DataError: No training rows, one class only, or a class in validation
            or test that train lacks.
    """
    training = [t for t, s in zip(examples.targets, examples.splits, strict=True) if _trains(s)]
    if not training:
        raise DataError(
            "There are no usable training examples."
            + (f" {len(examples.skipped)} were left out." if examples.skipped else "")
        )
    if spec.kind == "regression":
        return
    known = Counter(map(str, training))
    if len(known) == 1:
        raise DataError(
            f"All {len(training)} training examples have the same label, {training[0]!r}; "
            f"{spec.name} needs two classes at least."
        )
    for target, split, origin in zip(
        examples.targets, examples.splits, examples.origins, strict=True
    ):
        if str(target) not in known:
            raise DataError(
                f"{origin}: the label {target!r} is in {split} but not in train, so it cannot "
                f"be learnt. {_listing(sorted(known))}",
                hint=did_you_mean(str(target), known),
            )


def _trains(split: Split | None) -> bool:
    return split in {None, "train"}


def _listing(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:10]))
    rest = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"The labels of train are {shown}{rest}."


def _check(row: Row | Broken, spec: TaskSpec) -> tuple[object, str | float] | Broken:
    if isinstance(row, Broken):
        return row
    try:
        value = input_of(row.input, spec.modality)
        target = target_of(row.label, spec.kind)
    except BadValueError as error:
        return Broken(row.origin, str(error))
    problem = check_image_path(Path(value)) if _is_path(value, spec) else None
    if problem is not None:
        return Broken(row.origin, problem if row.origin == value else f"{value}: {problem}")
    return value, target


def _is_path(value: object, spec: TaskSpec) -> TypeGuard[str]:
    return spec.modality == "image" and isinstance(value, str)

"""Joins the rows of all sources into one checked `Examples` table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tltool.data.examples import SPLITS, Examples, Split
from tltool.data.images.kept import TIFF_SUFFIXES, kept_image
from tltool.data.packed import CodedBuilder, TextBuilder, coded
from tltool.data.reading.folders import check_image_path
from tltool.data.reading.rows import Broken, Row, broken_file, input_of, settle
from tltool.recipe.schema import OnError
from tltool.support.errors import DataError, did_you_mean
from tltool.support.words import listed
from tltool.tasks.table import Modality, TaskSpec
from tltool.tasks.target import LabelColumns, Reader
from tltool.tasks.values import BadValueError

Parts = Mapping[Split, Sequence[Row | Broken]]


class _Columns:
    """The columns of `Examples` while they fill."""

    def __init__(self) -> None:
        self.inputs, self.origins = TextBuilder(), TextBuilder()
        self.targets, self.splits, self.groups = CodedBuilder(), CodedBuilder(), CodedBuilder()


def examples_of(
    parts: Parts, spec: TaskSpec, on_error: OnError, columns: LabelColumns | None = None
) -> Examples:
    """Checks every row and joins the parts into one table.

    Args:
        parts: The rows of each split that is given; "train" at least.
        spec: The task.
        on_error: "stop" raises one error with all broken rows, "skip" records them.
        columns: Where the labels stand; None takes the defaults.

    Raises:
        DataError: Broken rows, nothing left, one class only, or a label in
            validation or test that train lacks.
    """
    examples = join_rows(parts, spec, on_error, columns)
    check_labels(examples, spec)
    return examples


def join_rows(
    parts: Parts, spec: TaskSpec, on_error: OnError, columns: LabelColumns | None = None
) -> Examples:
    """As `examples_of`, for rows that need not be enough to train on.

    Raises:
        DataError: Broken rows.
    """
    decided = {"validation", "test"} <= set(parts)
    joined = (_joined(row, spec) for rows in parts.values() for row in rows)
    cells = coded(row.label for row in joined if isinstance(row, Row))
    columns = columns or LabelColumns()
    read = spec.target.reader(columns, cells)
    filled, broken = _Columns(), []
    for split in SPLITS:
        for row in parts.get(split, []):
            checked = _check(_joined(row, spec), spec, read)
            if isinstance(checked, Broken):
                broken.append(checked)
                continue
            value, target = checked
            filled.inputs.append(value)
            filled.targets.append(target)
            filled.splits.append(None if split == "train" and not decided else split)
            filled.origins.append(row.origin)
            if isinstance(row, Row) and row.group is not None:
                filled.groups.append(row.group)
    skipped = settle(broken, on_error)
    return Examples(
        spec.modality,
        filled.inputs.finish(),
        filled.targets.finish(),
        filled.splits.finish(),
        filled.origins.finish(),
        skipped,
        spec.target,
        columns.names,
        note=spec.target.noted(cells),
        groups=filled.groups.finish(),
    )


def check_labels(examples: Examples, spec: TaskSpec) -> None:
    """Checks that there is something to train on, with two classes at least.

    Raises:
        DataError: No training rows, nothing to tell apart in them, or a label
            in validation or test that train lacks.
    """
    training = [t for t, s in zip(examples.targets, examples.splits, strict=True) if _trains(s)]
    if not training:
        raise DataError(
            "There are no usable training examples."
            + (f" {len(examples.skipped)} were left out." if examples.skipped else "")
        )
    spec.target.fit(training, examples.columns)
    if spec.target.open_names:
        return
    names_in = spec.target.names_in
    known = sorted({name for target in training for name in names_in(target)})
    learnt = set(known)
    unknown: dict[str, str] = {}
    for target, split, origin in zip(
        examples.targets, examples.splits, examples.origins, strict=True
    ):
        for name in names_in(target):
            if name not in learnt:
                unknown.setdefault(name, f"{origin}: the label {name!r} is in {split}")
    if unknown:
        first, more = next(iter(unknown.values())), list(unknown)[1:]
        raise DataError(
            f"{first} but not in train, so it cannot be learnt"
            + (f"; neither can {listed(more)}" if more else "")
            + f". The labels of train are {listed(known)}.",
            hint=did_you_mean(next(iter(unknown)), known),
        )


def _trains(split: Split | None) -> bool:
    return split in {None, "train"}


def _joined(row: Row | Broken, spec: TaskSpec) -> Row | Broken:
    """The row as `Target.joined` makes it of its cells."""
    if isinstance(row, Broken):
        return row
    try:
        value, label = spec.target.joined(row.input, row.label)
    except BadValueError as error:
        return Broken(row.origin, str(error))
    return row._replace(input=value, label=label)


def _check(row: Row | Broken, spec: TaskSpec, read: Reader) -> tuple[object, Any] | Broken:
    row = usable(row, spec.modality)
    if isinstance(row, Broken):
        return row
    try:
        return row.input, spec.target.fitted_to(read(row.label), row.input)
    except BadValueError as error:
        return Broken(row.origin, str(error))


def usable(row: Row | Broken, modality: Modality) -> Row | Broken:
    """The row with an input that can be used: a text, an image, or the path of a file there is.

    Of a TIFF, which the decoder does not read, it is the path of what is kept of it.
    """
    if isinstance(row, Broken):
        return row
    try:
        value = input_of(row.input, modality)
    except BadValueError as error:
        return Broken(row.origin, str(error))
    if modality == "image" and isinstance(value, str):
        path = Path(value)
        problem = check_image_path(path)
        if problem is not None:
            return broken_file(row.origin, value, problem)
        if path.suffix.lower() in TIFF_SUFFIXES:
            try:
                value = str(kept_image(path.read_bytes()))
            except (OSError, BadValueError) as error:
                return broken_file(row.origin, value, str(error))
    return row._replace(input=value)

"""Labelled data that is already in Python: lists, NumPy arrays, pandas frames, tf.data."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import SPLITS, Examples, Split
from tltool.data.reading.assemble import examples_of, join_rows
from tltool.data.reading.columns import Columns, check_columns, picture_in
from tltool.data.reading.rows import (
    Broken,
    KeptRows,
    Row,
    RowsBuilder,
    input_of,
    refused,
    texts_in,
)
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError, did_you_mean
from tltool.support.items import CHANNELS, items_of
from tltool.tasks.table import INPUT_COLUMNS, Modality, TaskSpec
from tltool.tasks.target import LabelColumns, Target
from tltool.tasks.values import BadValueError, as_text

if TYPE_CHECKING:
    import pandas as pd


def examples_from_python(data: Any, spec: TaskSpec, section: DataSection | None = None) -> Examples:
    """Makes `Examples` of Python objects; everything is read into memory.

    Args:
        data: One of
            - a pair (inputs, labels) of equally long sequences or arrays:
              texts; or uint8 images as one array (n, height, width[, channels]),
              a list of such arrays of any size, or image file paths; or pairs of texts;
            - a pandas DataFrame with the columns that `section` names;
            - a `tf.data.Dataset` of (text, pair of texts or image, label), batched or not;
            - a mapping with "train" and possibly "validation" and "test", each
              one of the above.
        spec: The task.
        section: Column names and `on_error`; None takes the defaults.

    Returns:
        The examples; the origin of a row is `item N` (counted from 0, as
        Python does), preceded by the split where a mapping was given.

    Raises:
        DataError: As for `load_examples`.
    """
    section = section or DataSection()
    parts: dict[Split, Sequence[Row | Broken]] = {}
    if isinstance(data, Mapping):
        _check_keys(data)
        section = section.model_copy(update={"split_column": None})
        for split in SPLITS:
            if split in data:
                parts[split] = KeptRows.of(_rows(data[split], spec, section, f"{split} item"))
    else:
        parts = by_column(_rows(data, spec, section, "item"))
    return examples_of(parts, spec, section.on_error, label_columns(section, spec))


def inputs_from_python(inputs: Any, modality: Modality, *, encoded: bool = False) -> list[Any]:
    """Inputs without labels: texts; pairs of them; or image paths and uint8 images.

    Args:
        inputs: A list or anything else with an order; see `items_of`.
        modality: What they are.
        encoded: Whether an image may be the bytes of its file.

    Raises:
        DataError: They are one text or image alone, or some of them cannot be used.
    """
    usable: list[Any] = []
    broken = []
    for i, value in enumerate(items_of(inputs, "inputs", DataError)):
        try:
            if modality == "text":
                usable.append(as_text(value))
            elif modality == "text_pair":
                usable.append(texts_in(value, lambda text, _: as_text(text)))
            elif encoded and isinstance(value, bytes):
                usable.append(value)
            else:
                usable.append(input_of(value, modality))
        except BadValueError as error:
            broken.append(Broken(f"item {i}", str(error)))
    if broken:
        raise refused(broken, "inputs", "mend them or leave them out")
    return usable


def labelled_from_python(data: Any, spec: TaskSpec, section: DataSection) -> Examples:
    """Labelled Python objects to measure a model on: every row becomes "test".

    Args:
        data: As for `examples_from_python`, but no mapping.
        spec: The task.
        section: Column names and `on_error`.

    Raises:
        DataError: The data can't be used.
    """
    section = section.model_copy(update={"split_column": None, "group_column": None})
    rows = KeptRows.of(_rows(data, spec, section, "item"))
    return join_rows({"test": rows}, spec, section.on_error, label_columns(section, spec))


def input_columns(section: DataSection, modality: Modality) -> tuple[str, ...]:
    """The columns of a row's input: those that a section names, or the usual ones.

    Raises:
        DataError: The section names more or fewer than a row has.
    """
    given = section.input_columns or ((section.input_column,) if section.input_column else ())
    usual = INPUT_COLUMNS[modality]
    if given and len(given) != len(usual):
        several = len(usual) > 1
        raise DataError(
            f"data.input_columns: {'two columns are' if several else 'one column is'} needed, "
            f"received {' and '.join(map(repr, given))}.",
            hint="name both with data.input_columns"
            if several
            else "name it with data.input_column",
        )
    return given or usual


def label_columns(section: DataSection, spec: TaskSpec) -> LabelColumns:
    """Where the labels stand and how they are read, as a section says it."""
    several = section.label_columns is not None
    one = section.label_column or spec.target.label_column
    names = section.label_columns or ((one,) if one else ())
    separator, classes = section.label_separator, section.mask_classes
    return LabelColumns(names, separator, several, classes, section.mask_ignored)


def named_columns(section: DataSection, spec: TaskSpec, inputs: Sequence[str] = ()) -> Columns:
    """The columns that a section names; those of inputs are `inputs`, where they are given."""
    labels = label_columns(section, spec)
    first, *more = inputs or input_columns(section, spec.modality)
    return Columns(
        first,
        labels.names,
        labels.several,
        section.split_column,
        section.group_column,
        more=tuple(more),
    )


def given_columns(section: DataSection) -> set[str]:
    """The columns of inputs and labels that a section names."""
    one = (section.input_column, section.label_column)
    named = (*one, *(section.input_columns or ()), *(section.label_columns or ()))
    return {name for name in named if name is not None}


def known_columns(
    names: Sequence[str], columns: Columns, section: DataSection, kind: type[Target]
) -> Columns:
    """The columns of a table of which none is named, by what its kind of target knows them."""
    if given_columns(section):
        return columns
    for inputs, labels in kind.known_columns:
        found = [label for label in labels if label in names]
        if inputs in names and found:
            return replace(columns, input=inputs, labels=tuple(found[:1]) if columns.labels else ())
    there = [inputs for inputs, _ in kind.known_columns if inputs in names]
    if columns.labels or columns.input in names or not there:
        return columns
    return replace(columns, input=there[0])


def by_column(rows: Iterable[Row | Broken]) -> dict[Split, Sequence[Row | Broken]]:
    """Rows by the split that their column says, those without one as `train`."""
    parts: dict[Split, RowsBuilder] = {"train": RowsBuilder()}
    for row in rows:
        split = row.split if isinstance(row, Row) else None
        parts.setdefault(split or "train", RowsBuilder()).append(row)
    return {split: part.finish() for split, part in parts.items()}


def _check_keys(data: Mapping[Any, Any]) -> None:
    for key in data:
        if key not in SPLITS:
            raise DataError(
                f"data: {key!r} is not a split; the splits are {', '.join(SPLITS)}.",
                hint=did_you_mean(str(key), SPLITS) or 'e.g. {"train": (texts, labels)}',
            )
    if "train" not in data:
        raise DataError("data: the mapping has no 'train'.")


def _rows(data: Any, spec: TaskSpec, section: DataSection, noun: str) -> Iterator[Row | Broken]:
    if _is_frame(data):
        columns = named_columns(section, spec)
        columns = known_columns(list(map(str, data.columns)), columns, section, spec.target)
        if spec.modality == "image" and (section.image_root or section.image_suffix):
            folder = Path(section.image_root or "").expanduser()
            picture = partial(picture_in, folder=folder, suffix=section.image_suffix or "")
            columns = replace(columns, picture=picture)
        yield from _frame_rows(data, columns, noun)
        return
    for field in ("split_column", "group_column"):
        if column := getattr(section, field):
            raise DataError(
                f"data.{field}={column} names a column, and a {type(data).__name__} has none.",
                hint="give a pandas DataFrame",
            )
    pairs = _dataset_pairs(data, spec) if _is_dataset(data) else _sequence_pairs(data)
    for i, (value, label) in enumerate(pairs):
        yield Row(value, label, f"{noun} {i}")


def _is_dataset(data: Any) -> bool:
    """Without importing TensorFlow: who has a Dataset has imported it."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(data, tensorflow.data.Dataset)


def _is_frame(data: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _frame_rows(frame: pd.DataFrame, columns: Columns, noun: str) -> Iterator[Row | Broken]:
    names = list(map(str, frame.columns))
    check_columns("The data frame", names, columns)
    cells = [frame[name].tolist() for name in columns.names]
    for i, values in enumerate(zip(*cells, strict=True)):
        yield columns.row(values, f"{noun} {i}")


def _sequence_pairs(data: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(data, Sequence) or isinstance(data, str) or len(data) != 2:
        raise DataError(
            f"data: a {type(data).__name__} cannot be used.",
            hint="give (inputs, labels), a pandas DataFrame, a tf.data.Dataset, or a mapping "
            "with 'train', 'validation' and 'test'",
        )
    inputs = items_of(data[0], "data: the inputs", DataError)
    labels = _labels_of(data[1])
    if len(inputs) != len(labels):
        raise DataError(f"data: there are {len(inputs)} inputs but {len(labels)} labels.")
    return zip(inputs, labels, strict=True)


def _labels_of(labels: Any) -> list[Any]:
    """One for each input; an array has a row for each: of labels, of numbers, or of pixels."""
    if getattr(labels, "ndim", 0) >= 2 and not _is_frame(labels):
        return list(labels)
    return items_of(labels, "data: the labels", DataError)


def _dataset_pairs(dataset: Any, spec: TaskSpec) -> Iterator[tuple[Any, Any]]:
    import numpy as np

    # 0: the path of an image
    ranks = {"image": {0, 2, 3}, "text": {0}}.get(spec.modality, {1})
    label_ranks = {0, 1} if spec.target.many_columns else {0}
    if spec.target.file_labels:  # or what is in the file: an array (h, w) or (h, w, 3)
        label_ranks = {0, 2, 3}
    if int(dataset.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise DataError(
            "data: the tf.data.Dataset never ends.", hint="drop its .repeat(), or use .take(n)"
        )
    if not isinstance(dataset.element_spec, tuple) or len(dataset.element_spec) != 2:
        raise DataError(
            "data: the tf.data.Dataset must give (input, label) pairs; "
            f"received {dataset.element_spec}."
        )
    for given, label in dataset.as_numpy_iterator():
        # A pair may come as two tensors, each of one text or of a batch of them.
        value = np.stack(given, axis=-1) if isinstance(given, tuple) else given
        rank, label_rank = getattr(value, "ndim", 0), getattr(label, "ndim", 0)
        single = rank in ranks and label_rank in label_ranks
        batched = rank - 1 in ranks and label_rank - 1 in label_ranks and len(label) == len(value)
        if batched and single:
            # A row of labels as long as an image is high, or a batch of grey images.
            batched = value.shape[-1] not in CHANNELS
        if rank - batched not in ranks or label_rank - batched not in label_ranks:
            raise DataError(
                f"data: the tf.data.Dataset gives inputs of shape {getattr(value, 'shape', ())} "
                f"with labels of shape {getattr(label, 'shape', ())}.",
                hint="give one class name, class number or target for each input (one-hot only "
                "for several labels)",
            )
        if batched:
            yield from zip(value, label, strict=True)
        else:
            yield value, label

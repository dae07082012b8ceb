"""TFRecord files of `tf.train.Example`: a row is a record, a column is a feature."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tltool.data.reading.columns import Columns, names_of_objects, rows_of_objects
from tltool.data.reading.rows import Broken, Row
from tltool.support.errors import DataError, first_line

TFRECORD_SUFFIXES = (".tfrecord", ".tfrecords")


def tfrecord_rows(path: Path, columns: Columns) -> Iterator[Row | Broken]:
    """The rows of a TFRecord file, one after the other; see `read_table`.

    A feature of one value is that value, one of several is a list, an empty one is missing.
    """
    return rows_of_objects(path, _items(path), columns)


def tfrecord_names(path: Path) -> tuple[str, ...]:
    """The features of the first records that can be read."""
    return names_of_objects(_items(path))


def _items(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """The place and the features of each record.

    Raises:
        DataError: It is no TFRecord file, or damaged; names the record.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    number = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            number += 1
            try:
                features = tf.train.Example.FromString(record).features.feature
                item = {name: _value(features[name]) for name in sorted(features)}
            except DecodeError:
                yield f"{path}: record {number}", "not a tf.train.Example"
            else:
                yield f"{path}: record {number}", item or "not a tf.train.Example with features"
    except tf.errors.OpError as error:
        raise DataError(
            f"{path} is not a readable TFRecord file: record {number + 1}: {_reason(error)}.",
            hint="it is cut short or damaged from there on: copy or write it again"
            if number
            else "it must not be compressed",
        ) from error


def _reason(error: Exception) -> str:
    """What is wrong, without where in TensorFlow that was found."""
    return re.sub(r"\{\{.*?\}\} | \[Op:.*", "", first_line(error))


def _value(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    return values[0] if len(values) == 1 else values or None

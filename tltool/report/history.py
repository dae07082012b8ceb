"""Training history as CSV and as TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from tltool.files import atomic_path, write_text

Row = Mapping[str, str | int | float | None]
_NOT_MEASURED = {"phase", "epoch", "total_epoch"}


def write_history(rows: Sequence[Row], table: Path, events: Path) -> None:
    """Writes one row for each epoch to a CSV file, and its numbers as TensorBoard scalars.

    Args:
        rows: In order; may be empty, then only the (empty) CSV is written.
        table: The CSV file.
        events: The folder for TensorBoard; its step is the epoch counted over all phases.
    """
    write_text(table, _csv(rows))
    if rows:
        _write_events(rows, events)


def _csv(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_events(rows: Sequence[Row], folder: Path) -> None:
    import tensorflow as tf

    with atomic_path(folder) as temporary:
        writer = tf.summary.create_file_writer(str(temporary))
        with writer.as_default():
            for row in rows:
                for name, value in row.items():
                    if name not in _NOT_MEASURED and isinstance(value, int | float):
                        tf.summary.scalar(f"epoch_{name}", value, step=int(row["total_epoch"] or 0))
        writer.close()

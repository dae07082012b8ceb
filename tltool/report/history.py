"""Training history as CSV and as TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from tltool.support.files import atomic_path, write_text

Row = Mapping[str, str | int | float | None]
_NOT_MEASURED = {"training", "member", "phase", "epoch", "total_epoch"}


def epoch_words(row: Row) -> str:
    """Which epoch a row is of, such as "epoch 3 of phase 2 (last 2 groups)", or which several."""
    number, _, title = str(row["phase"]).partition(" ")
    which = f"epochs {row['averaged']}" if "averaged" in row else f"epoch {row['epoch']}"
    return f"{which} of phase {number} ({title})"


def weights_words(row: Row) -> str:
    """Which weights a model has, in a sentence, from the row of their epoch or of an ensemble."""
    if "members" in row:
        if row["members"] == 1:
            return f"It is the first model of an ensemble, trained with the seed {row['seed']}."
        last = int(row["seed"] or 0) + int(row["members"] or 0) - 1
        return (
            f"It answers with the mean of {row['members']} models, trained with the seeds "
            f"{row['seed']} to {last}."
        )
    if "averaged" in row:
        return f"Its weights are the mean of those of {epoch_words(row)}."
    which = " of the training on all labelled rows" if row.get("training") == "refit" else ""
    return f"Its weights are those of {epoch_words(row)}{which}."


def write_history(rows: Sequence[Row], table: Path, events: Path | None) -> None:
    """Writes one row for each epoch to a CSV file, and its numbers as TensorBoard scalars.

    Args:
        rows: In order; may be empty, then only the (empty) CSV is written.
        table: The CSV file.
        events: The folder for TensorBoard, or None; its step is the epoch counted over all phases.
    """
    write_text(table, _csv(rows))
    if rows and events is not None:
        _write_events(rows, events)


def measured(row: Row) -> tuple[int, dict[str, float]]:
    """The epoch of a row, counted over all phases, and the numbers that it measured."""
    values = {
        name: value
        for name, value in row.items()
        if name not in _NOT_MEASURED and isinstance(value, int | float)
    }
    return int(row["total_epoch"] or 0), values


def _csv(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_events(rows: Sequence[Row], folder: Path) -> None:
    import tensorflow as tf

    # `tf.summary.scalar` needs the package tensorboard; writing the same record does not.
    kind = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    metadata = tf.compat.v1.SummaryMetadata(plugin_data=kind)
    with atomic_path(folder) as temporary:
        writer = tf.summary.create_file_writer(str(temporary))
        with writer.as_default():
            for row in rows:
                step, values = measured(row)
                for name, value in values.items():
                    scalar = tf.constant(value, tf.float32)
                    tf.summary.write(f"epoch_{name}", scalar, step, metadata)
        writer.close()

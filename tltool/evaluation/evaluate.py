"""From a model's outputs on labelled rows to metrics, mistakes and a table of predictions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tltool.data.examples import Examples
from tltool.support.errors import EvaluationError
from tltool.support.files import atomic_path
from tltool.support.words import excerpt
from tltool.tasks.table import Task
from tltool.tasks.target import Target

CSV_LINE_END = "\r\n"  # RFC 4180
# Between several labels in one cell; JSON where a label has it itself.
_SEPARATOR = "|"
_COLUMNS = ["origin", "input", "target", "prediction"]


@dataclass(frozen=True)
class Mistake:
    """One row the model got wrong.

    Attributes:
        origin: File, or file and line, as in `Examples.origins`.
        excerpt: The text on one line and shortened, the image's path, or its size.
        true, predicted: A target, and what was predicted in its place.
        confidence: Probability of the predicted class; None where there is no single one.
    """

    origin: str
    excerpt: str
    true: Any
    predicted: Any
    confidence: float | None


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on labelled rows.

    Attributes:
        metrics: As the kind of target measures them; ready for JSON.
        mistakes: The worst ones first.
        target: What says how metrics and mistakes are told.
    """

    metrics: Mapping[str, Any]
    mistakes: tuple[Mistake, ...]
    target: Target


def evaluate_outputs(
    outputs: np.ndarray, examples: Examples, task: Task, *, mistakes: int = 10
) -> Evaluation:
    """Measures outputs against the examples' targets.

    Args:
        outputs: From `Task.outputs`.
        examples: The n rows, all labelled.
        task: With its target.
        mistakes: How many mistakes are listed, at most.

    Raises:
        DataError: A row without target or with a label the model does not know.
        EvaluationError: No rows, or outputs that do not fit.
    """
    outputs, target = np.asarray(outputs), task.target
    truth = target.truth(examples.targets, examples.origins)
    metrics = target.metrics(outputs, truth)
    worst = target.worst(outputs, truth)[:mistakes].tolist()
    listed = tuple(_mistake(row, outputs, examples, target) for row in worst)
    return Evaluation(metrics, listed, target)


def predictions_table(outputs: np.ndarray, examples: Examples, task: Task) -> list[dict[str, Any]]:
    """One row an example, labelled or not, in the order of `examples`.

    Returns:
        Rows with `origin`, `input` (text or path), `target` (or None) and
        `prediction`; with labels also `probabilities` (by name), and
        `confidence` where there is one class.

    Raises:
        EvaluationError: Not one output for every example, or one that is not finite.
    """
    outputs = np.asarray(outputs)
    shape = (len(examples), *task.target.result_shape[1:])
    if outputs.shape != shape:
        raise EvaluationError(f"Outputs of shape {shape} are needed. Received: {outputs.shape}.")
    if bad := np.flatnonzero(~np.isfinite(outputs.reshape(len(examples), -1)).all(axis=1)).tolist():
        raise EvaluationError(
            f"The model's output is not a finite number for {len(bad)} of {len(examples)} rows, "
            f"the first is {examples.origins[bad[0]]}."
        )
    rows = []
    for i, output in enumerate(outputs):
        value, target = examples.inputs[i], examples.targets[i]
        row = {
            "origin": examples.origins[i],
            "input": value if isinstance(value, str) else excerpt(value),
            "target": None if target is None else task.target.shown(target),
        }
        rows.append(row | task.target.row(output))
    return rows


def write_predictions(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes `predictions_table` rows as UTF-8 CSV or JSON lines, by the suffix of `path`.

    In CSV the probabilities are columns named `probability_LABEL`, several
    labels stand in one cell with `|` between them, and several numbers in columns
    named `prediction_NAME`. File names that are not valid Unicode are written
    with backslash escapes.

    Raises:
        EvaluationError: Another suffix than `.csv` or `.jsonl`.
    """
    if path.suffix.lower() not in {".csv", ".jsonl"}:
        raise EvaluationError(
            f"Predictions cannot be written to {str(path)!r}: suffix {path.suffix!r}.",
            hint="end the name in .csv or .jsonl",
        )
    csv_rows = path.suffix.lower() == ".csv"
    end = CSV_LINE_END if csv_rows else "\n"
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        file.writelines(line + end for line in format_rows(rows, "csv" if csv_rows else "jsonl"))


def format_rows(rows: Sequence[Mapping[str, Any]], form: Literal["csv", "jsonl"]) -> Iterator[str]:
    """Yields prediction rows as lines of CSV (header first) or JSON, without line ends.

    In CSV each class is a column `probability_CLASS`, empty in rows that lack it.
    """
    if form == "jsonl":
        for row in rows:
            yield json.dumps(row, ensure_ascii=False, allow_nan=False)
        return
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row)) or list(_COLUMNS)
    buffer = io.StringIO()
    # The csv module quotes a lone carriage return just where it is part of the line end.
    writer = csv.DictWriter(buffer, fieldnames=columns, lineterminator=CSV_LINE_END)
    for row in [dict(zip(columns, columns, strict=True)), *flat]:
        writer.writerow(row)
        yield buffer.getvalue().removesuffix(CSV_LINE_END)
        buffer.seek(0)
        buffer.truncate()


def _mistake(row: int, outputs: np.ndarray, examples: Examples, target: Target) -> Mistake:
    found = target.row(outputs[row])
    return Mistake(
        origin=examples.origins[row],
        excerpt=excerpt(examples.inputs[row]),
        true=examples.targets[row],
        predicted=found["prediction"],
        confidence=found.get("confidence"),
    )


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with values alone: a list in one cell, a mapping in a column for each name."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            name = "probability" if key == "probabilities" else key
            flat |= {f"{name}_{inner}": number for inner, number in value.items()}
        else:
            flat[key] = _joined(value) if isinstance(value, list) else value
    return flat


def _joined(labels: Sequence[str]) -> str:
    if any(_SEPARATOR in label for label in labels):
        return json.dumps(labels, ensure_ascii=False)
    return _SEPARATOR.join(labels)

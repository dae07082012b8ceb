"""From a model's outputs on labelled rows to metrics, mistakes and a table of predictions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from tltool.data.examples import Examples
from tltool.data.images.kept import is_kept
from tltool.support.errors import EvaluationError
from tltool.support.files import atomic_path
from tltool.support.items import shape_fits
from tltool.support.words import excerpt
from tltool.tasks.table import INPUT_COLUMNS, Task
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
        true, predicted: What the row is, and what was predicted in its place, for the
            target's `words`.
        confidence: Probability of the predicted class; None where there is no single one.
        row: Its number among the rows that were measured.
    """

    origin: str
    excerpt: str
    true: Any
    predicted: Any
    confidence: float | None
    row: int


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on labelled rows.

    Attributes:
        metrics: As the kind of target measures them, with their `units` in words where they have
            any; ready for JSON.
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
        outputs: From `Task.outputs`, or what `Target.kept` leaves of them.
        examples: The n rows, all labelled.
        task: With its target.
        mistakes: How many mistakes are listed, at most.

    Raises:
        DataError: A row without target or with a label the model does not know.
        EvaluationError: No rows, or outputs that do not fit.
    """
    outputs, target = np.asarray(outputs), task.target
    truth = target.truth(examples.targets, examples.origins)
    metrics = with_units(target.metrics(outputs, truth), target)
    worst = target.worst(outputs, truth)[:mistakes].tolist()
    listed = tuple(_mistake(row, outputs, examples, target) for row in worst)
    return Evaluation(metrics, listed, target)


def with_units(metrics: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Metrics and, where some have a unit, `units`: in words, by name."""
    units = {key: unit for key in metrics if (unit := target.unit(key))}
    return {**metrics, "units": units} if units else dict(metrics)


class PredictionRows(Sequence[dict[str, Any]]):
    """One row an example, labelled or not, in their order; each is made when it is asked for.

    Rows have `origin`, `input` (text, path, or both texts by name; the origin of pictures in
    tables and archives), `target` (or None) and
    `prediction`; with labels also `probabilities` (by name), or of very many
    the `best`, and `confidence` where there is one class.

    Args:
        outputs: From `Task.outputs`, or what `Target.kept` leaves of them.
        examples: The n rows.
        task: With its target.

    Raises:
        EvaluationError: Not one output for every example, or one that is not finite.
    """

    def __init__(self, outputs: np.ndarray, examples: Examples, task: Task) -> None:
        self._outputs, self._examples, self._target = np.asarray(outputs), examples, task.target
        kept = self._outputs.dtype.names is not None
        shape = (len(examples), *(() if kept else task.target.row_shape))
        if not shape_fits(self._outputs.shape, shape):
            raise EvaluationError(
                f"Outputs of shape {shape} are needed. Received: {self._outputs.shape}."
            )
        if bad := np.flatnonzero(~task.target.finite(self._outputs)).tolist():
            raise EvaluationError(
                f"The model's output is not a finite number for {len(bad)} of {len(examples)} "
                f"rows, the first is {examples.origins[bad[0]]}."
            )

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        value, target = input_of(self._examples, index), self._examples.targets[index]
        return {
            "origin": self._examples.origins[index],
            "input": _shown(value),
            "target": None if target is None else self._target.shown(target),
            **self._target.row(self._outputs[index]),
        }


def prediction_columns(task: Task) -> list[str]:
    """The columns of every row that a prediction can give, in CSV, `error` last."""
    usual = INPUT_COLUMNS[task.spec.modality]
    value = _shown("" if len(usual) == 1 else ("", ""))
    return [*_flat({"origin": "", "input": value} | task.target.row(task.target.blank)), "error"]


def input_of(examples: Examples, row: int) -> Any:
    """The input of a row as a user knows it: of a picture that is no file, where it is."""
    value = examples.inputs[row]
    if examples.modality == "image" and isinstance(value, str) and is_kept(value):
        return examples.origins[row]
    return value


def _shown(value: Any) -> Any:
    """An input as a table of predictions shows it."""
    if isinstance(value, tuple):
        return dict(zip(INPUT_COLUMNS["text_pair"], value, strict=True))
    return value if isinstance(value, str) else excerpt(value)


def write_predictions(
    rows: Iterable[Mapping[str, Any]], path: Path, columns: Sequence[str] | None = None
) -> None:
    """Writes `PredictionRows` as UTF-8 CSV or JSON lines, by the suffix of `path`.

    The file gets its name once it is whole; rows are written as they come.

    In CSV the probabilities are columns named `probability_LABEL`, several
    labels stand in one cell with `|` between them, several numbers in columns named
    `prediction_NAME`, and the texts of a pair in `input_text_a` and `input_text_b`.
    File names that are not valid Unicode are written with backslash escapes.

    Args:
        rows: The rows.
        path: The file to write.
        columns: As for `format_rows`.

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
        lines = format_rows(rows, "csv" if csv_rows else "jsonl", columns)
        file.writelines(line + end for line in lines)


def format_rows(
    rows: Iterable[Mapping[str, Any]],
    form: Literal["csv", "jsonl"],
    columns: Sequence[str] | None = None,
) -> Iterator[str]:
    """Yields prediction rows as lines of CSV (header first) or JSON, without line ends.

    In CSV each class is a column `probability_CLASS`, empty in rows that lack it.

    Args:
        rows: The rows.
        form: What lines are.
        columns: Those of CSV; None takes all that the rows have, which are read first.
    """
    if form == "jsonl":
        for row in rows:
            yield json.dumps(row, ensure_ascii=False, allow_nan=False)
        return
    flat: Iterable[dict[str, Any]] = map(_flat, rows)
    if columns is None:
        flat = list(flat)
        columns = list(dict.fromkeys(key for row in flat for key in row)) or _COLUMNS
    buffer = io.StringIO()
    # The csv module quotes a lone carriage return just where it is part of the line end.
    writer = csv.DictWriter(buffer, fieldnames=columns, lineterminator=CSV_LINE_END)
    for row in chain([dict(zip(columns, columns, strict=True))], flat):
        # A broken row has one empty place for several numbers or texts, which have columns each.
        writer.writerow({key: value for key, value in row.items() if value is not None})
        yield buffer.getvalue().removesuffix(CSV_LINE_END)
        buffer.seek(0)
        buffer.truncate()


def _mistake(row: int, outputs: np.ndarray, examples: Examples, target: Target) -> Mistake:
    predicted, confidence = target.mistake(row, outputs, examples.targets)
    return Mistake(
        origin=examples.origins[row],
        excerpt=excerpt(input_of(examples, row)),
        true=target.meant(row, outputs, examples.targets),
        predicted=predicted,
        confidence=confidence,
        row=row,
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


def _joined(labels: Sequence[Any]) -> str:
    if any(not isinstance(label, str) or _SEPARATOR in label for label in labels):
        return json.dumps(labels, ensure_ascii=False)
    return _SEPARATOR.join(labels)

"""From a model's outputs on labelled rows to metrics, mistakes and a table of predictions."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from tltool.data.examples import Examples
from tltool.evaluation.metrics import classification_metrics, regression_metrics
from tltool.support.errors import EvaluationError, did_you_mean
from tltool.support.files import atomic_path
from tltool.tasks.table import Task

EXCERPT_CHARACTERS = 120
CSV_LINE_END = "\r\n"  # RFC 4180
# Characters that reverse the reading order could make a terminal show another text.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Mistake:
    """One row the model got wrong.

    Attributes:
        origin: File, or file and line, as in `Examples.origins`.
        excerpt: The text on one line and shortened, the image's path, or its size.
        true, predicted: Class names, or numbers in the target's units.
        confidence: Probability of the predicted class; None for regression.
    """

    origin: str
    excerpt: str
    true: str | float
    predicted: str | float
    confidence: float | None


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on labelled rows.

    Attributes:
        metrics: As `tltool.evaluation.metrics` returns them; ready for JSON.
        mistakes: The worst ones first: the most confident wrong classes, or
            the largest errors.
    """

    metrics: Mapping[str, Any]
    mistakes: tuple[Mistake, ...] = ()


def evaluate_outputs(
    outputs: np.ndarray, examples: Examples, task: Task, *, mistakes: int = 10
) -> Evaluation:
    """Measures outputs against the examples' targets.

    Args:
        outputs: From `Task.outputs`: probabilities (n, classes), or numbers
            (n, 1) or (n,) in the target's own units.
        examples: The n rows, all labelled.
        task: Labels and kind of task.
        mistakes: How many mistakes are listed, at most.

    Raises:
        EvaluationError: No rows, a row without target or with a class the
            model does not know, or outputs that do not fit.
    """
    outputs = np.asarray(outputs)
    if task.spec.kind == "classification":
        classes = encode_classes(examples.targets, examples.origins, task.labels)
        metrics = classification_metrics(outputs, classes, task.labels)
        worst = _confident_mistakes(outputs, classes)
    else:
        numbers = encode_numbers(examples.targets, examples.origins)
        metrics = regression_metrics(outputs, numbers)
        worst = _largest_errors(outputs.reshape(-1), numbers)
    listed = tuple(_mistake(row, outputs, examples, task) for row in worst[:mistakes].tolist())
    return Evaluation(metrics=metrics, mistakes=listed)


def predictions_table(outputs: np.ndarray, examples: Examples, task: Task) -> list[dict[str, Any]]:
    """One row an example, labelled or not, in the order of `examples`.

    Returns:
        Rows with `origin`, `input` (text or path), `target` (or None) and
        `prediction`; for classification also `confidence` and `probabilities`
        (class name to probability).

    Raises:
        EvaluationError: Not one output for every example, or one that is not finite.
    """
    outputs = np.asarray(outputs)
    if outputs.shape[:1] != (len(examples),) or outputs.size != len(examples) * task.num_outputs:
        raise EvaluationError(
            f"Outputs of shape ({len(examples)}, {task.num_outputs}) are needed. "
            f"Received: {outputs.shape}."
        )
    if bad := np.flatnonzero(~np.isfinite(outputs.reshape(len(examples), -1)).all(axis=1)).tolist():
        raise EvaluationError(
            f"The model's output is not a finite number for {len(bad)} of {len(examples)} rows, "
            f"the first is {examples.origins[bad[0]]}."
        )
    rows = []
    for i, output in enumerate(outputs.reshape(len(examples), task.num_outputs)):
        value = examples.inputs[i]
        row = {
            "origin": examples.origins[i],
            "input": value if isinstance(value, str) else excerpt(value),
            "target": examples.targets[i],
        }
        rows.append(row | _prediction(output, task))
    return rows


def write_predictions(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes `predictions_table` rows as UTF-8 CSV or JSON lines, by the suffix of `path`.

    In CSV the probabilities are columns named `probability_CLASS`. File names
    that are not valid Unicode are written with backslash escapes.

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


def encode_classes(
    targets: Sequence[str | float | None], origins: Sequence[str], labels: Sequence[str]
) -> np.ndarray:
    """Class numbers, int64 (n,), of class names.

    Raises:
        EvaluationError: A target is missing or not one of `labels`; names the row.
    """
    numbers = {label: i for i, label in enumerate(labels)}
    for target, origin in zip(targets, origins, strict=True):
        if target not in numbers:
            what = "has no label" if target is None else f"has the label {target!r}"
            raise EvaluationError(
                f"{origin} {what}; the model knows {len(labels)} classes: {_some(labels)}.",
                hint=did_you_mean(str(target), labels)
                or "leave such rows out, or train a model that has this class",
            )
    return np.array([numbers[str(target)] for target in targets], dtype=np.int64)


def encode_numbers(targets: Sequence[str | float | None], origins: Sequence[str]) -> np.ndarray:
    """Targets of a regression as float64 (n,).

    Raises:
        EvaluationError: A target is missing or not a number; names the row.
    """
    for target, origin in zip(targets, origins, strict=True):
        if not isinstance(target, int | float | np.number):
            raise EvaluationError(f"{origin} has the target {target!r}; a number is needed.")
    return np.array(targets, dtype=np.float64)


def excerpt(value: Any, characters: int = EXCERPT_CHARACTERS) -> str:
    """An input on one line: text shortened at the end, or an image array's size.

    White space becomes single spaces; control characters, which could drive a
    terminal, and characters that reorder text become U+FFFD.
    """
    if not isinstance(value, str):
        height, width = np.shape(value)[:2]
        return f"image of {width} x {height} px"
    line = "".join(map(_harmless, " ".join(value.split())))
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"


_COLUMNS = ["origin", "input", "target", "prediction"]


def _harmless(character: str) -> str:
    harmful = unicodedata.category(character) in {"Cc", "Cs"} or character in _REORDERING
    return "\ufffd" if harmful else character


def _confident_mistakes(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != classes)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]


def _largest_errors(predictions: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    errors = np.abs(predictions - numbers)
    order = np.argsort(-errors, kind="stable")
    return order[errors[order] > 0]


def _mistake(row: int, outputs: np.ndarray, examples: Examples, task: Task) -> Mistake:
    found = _prediction(outputs[row].reshape(-1), task)
    return Mistake(
        origin=examples.origins[row],
        excerpt=excerpt(examples.inputs[row]),
        true=cast(str | float, examples.targets[row]),  # encoding refused None
        predicted=found["prediction"],
        confidence=found.get("confidence"),
    )


def _prediction(output: np.ndarray, task: Task) -> dict[str, Any]:
    if task.spec.kind == "regression":
        return {"prediction": _short(output[0])}
    best = int(output.argmax())
    return {
        "prediction": task.labels[best],
        "confidence": _short(output[best]),
        "probabilities": dict(zip(task.labels, map(_short, output), strict=True)),
    }


def _short(value: Any) -> float:
    """A float32 without the digits it only gets by becoming a Python float."""
    return float(f"{value:.7g}")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: value for key, value in row.items() if key != "probabilities"}
    probabilities = row.get("probabilities", {})
    return flat | {f"probability_{label}": value for label, value in probabilities.items()}


def _some(labels: Sequence[str], count: int = 8) -> str:
    more = f" and {len(labels) - count} more" if len(labels) > count else ""
    return ", ".join(labels[:count]) + more

"""What an exported model gives for a batch of raw inputs, and by which names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.export.contract import LABELS_FILE
from tltool.support.errors import ExportError
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import numpy as np

Outputs = tuple["np.ndarray[Any, Any]", list[str]]
"""Probabilities (n, classes) and the name of each best class; or numbers (n,) and no names."""
Run = Callable[[Sequence[Any]], Outputs]
"""From a batch of raw inputs."""


def result_name(task: Task) -> str:
    """Name of a model's output that users read."""
    return "probabilities" if task.labels else "prediction"


def named_by(path: Path, task: Task) -> Callable[[np.ndarray[Any, Any]], Outputs]:
    """A function that adds the names which the `labels.txt` beside a model has."""
    if not task.labels:
        return lambda values: (values, [])
    labels = _read_labels(path.parent / LABELS_FILE)
    return lambda values: (values, [labels[i] for i in values.argmax(-1)])


def _read_labels(path: Path) -> list[str]:
    if not path.is_file():
        raise ExportError(f"{path} is missing.", hint="keep the export folder together")
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")

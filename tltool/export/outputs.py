"""What an exported model gives for a batch of raw inputs, and by which names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.preprocessing import TextPreprocessing
from tltool.export.contract import LABELS_FILE, Contract
from tltool.export.feeding import BATCH_SIZE
from tltool.support.errors import ExportError
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import numpy as np

Outputs = tuple["np.ndarray[Any, Any]", list[Any]]
"""What a user reads, as `Task.outputs` gives it, and what each row names; numbers name nothing."""
Run = Callable[[Sequence[Any]], Outputs]
"""From a batch of raw inputs."""
Call = Callable[[Mapping[str, "np.ndarray[Any, Any]"]], "np.ndarray[Any, Any]"]
"""From the preprocessed inputs of one example, by name, to its row of the model's result."""


def named_by(path: Path, task: Task) -> Callable[[np.ndarray[Any, Any]], Outputs]:
    """From the one output of a model to what a user reads, by the `labels.txt` beside the model."""
    target = task.target
    labels = _read_labels(path.parent / LABELS_FILE, len(target.labels)) if target.labels else []

    def named(result: np.ndarray[Any, Any]) -> Outputs:
        outputs = target.from_result(result)
        return outputs, target.answers(outputs, labels)

    return named


def run_of(path: Path, contract: Contract, values: Callable[[Sequence[Any]], Any]) -> Run:
    """A function from raw inputs to what a user reads, of a model that gives one tensor.

    Texts that are read word by word are cut into windows here.

    Args:
        path: Of the model.
        contract: Of the model.
        values: From raw inputs to the result of each, an array or several of one shape.
    """
    import numpy as np

    named, preprocessing = named_by(path, contract.task), contract.preprocessing
    if not (isinstance(preprocessing, TextPreprocessing) and preprocessing.by_words):
        return lambda batch: named(np.stack(values(batch)))

    def run_by_words(batch: Sequence[Any]) -> Outputs:
        from tltool.data.texts.windows import windowed

        origins = [f"item {i}" for i in range(len(batch))]
        found = windowed(batch, origins, preprocessing, contract.length)
        parts = [found.inputs[i : i + BATCH_SIZE] for i in range(0, len(found.inputs), BATCH_SIZE)]
        rows = np.empty(len(batch), object)
        rows[:] = found.merged([one for part in parts for one in values(part)])
        return named(rows)

    return run_by_words


def _read_labels(path: Path, count: int) -> list[str]:
    hint = "keep the export folder together, or export again"
    if not path.is_file():
        raise ExportError(f"{path} is missing.", hint=hint)
    try:
        labels = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ExportError(f"{path} is damaged: it is not in UTF-8.", hint=hint) from error
    if len(labels) != count:
        raise ExportError(f"{path} has {len(labels)} labels, the model {count}.", hint=hint)
    return labels

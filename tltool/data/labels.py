"""Labels: their order, their encoding, their weights and their manifest."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tltool.data.examples import SPLITS, Examples
from tltool.data.reading.folders import natural_key
from tltool.support.errors import DataError, RunError, did_you_mean
from tltool.support.files import write_json
from tltool.tasks.table import TASKS, Task, TaskSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MANIFEST_VERSION = 1


def make_task(spec: TaskSpec, examples: Examples) -> Task:
    """The task on this data: its label order, or the scale of its targets.

    Args:
        spec: The row of `TASKS`.
        examples: Split examples; only those of "train" are looked at.

    Returns:
        The task. Labels are in natural order ("2" before "10"; numbers by
        value). For regression the targets' mean and (population) standard
        deviation, or 1.0 where that is 0.

    Raises:
        DataError: There are no training examples, or one class only.
    """
    targets = [target for target in examples.split("train").targets if target is not None]
    if not targets:
        raise DataError("There are no labelled training examples.")
    if spec.kind == "regression":
        numbers = [float(target) for target in targets]
        mean = math.fsum(numbers) / len(numbers)
        variance = math.fsum((number - mean) ** 2 for number in numbers) / len(numbers)
        return Task(spec, target_mean=mean, target_std=math.sqrt(variance) or 1.0)
    labels = sort_labels(map(str, targets))
    if len(labels) < 2:
        raise DataError(f"All training examples have the label {labels[0]!r}; two are needed.")
    return Task(spec, labels=labels)


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels in natural order; by value if all of them are numbers."""
    distinct = set(labels)
    try:
        return tuple(sorted(distinct, key=lambda label: (_number(label), label)))
    except ValueError:
        return tuple(sorted(distinct, key=natural_key))


def encode_targets(
    task: Task, targets: Sequence[str | float | None], origins: Sequence[str] | None = None
) -> npt.NDArray[np.float32]:
    """Turns targets into what the loss compares the model's outputs with.

    Args:
        task: From `make_task`.
        targets: n class names or numbers.
        origins: Where they came from, for messages.

    Returns:
        float32: one-hot (n, number of labels), or `(y - mean) / std` (n, 1).

    Raises:
        DataError: A target is missing or is not one of the labels.
    """
    import numpy as np

    if task.spec.kind == "regression":
        numbers = [_target_number(t, i, origins) for i, t in enumerate(targets)]
        scaled = (np.array(numbers, "float64") - task.target_mean) / task.target_std
        return scaled.astype("float32").reshape(-1, 1)
    encoded = np.zeros((len(targets), len(task.labels)), "float32")
    encoded[np.arange(len(targets)), label_indices(task, targets, origins)] = 1.0
    return encoded


def label_indices(
    task: Task, targets: Sequence[str | float | None], origins: Sequence[str] | None = None
) -> list[int]:
    """The position of each target in `task.labels`.

    Raises:
        DataError: A target is missing or is not one of the labels.
    """
    index = {label: i for i, label in enumerate(task.labels)}
    for i, target in enumerate(targets):
        if target not in index:
            known = ", ".join(map(repr, task.labels[:10]))
            more = ", ..." if len(task.labels) > 10 else ""
            raise DataError(
                f"{_origin(i, origins)}: the label {target!r} is none of the model's "
                f"{len(task.labels)} labels: {known}{more}.",
                hint=did_you_mean(str(target), task.labels),
            )
    return [index[str(target)] for target in targets]


def class_weights(
    task: Task,
    targets: Sequence[str | float | None],
    setting: Literal["balanced"] | Mapping[str, float] | None,
) -> npt.NDArray[np.float32]:
    """The weight of each example in the loss.

    Args:
        task: A classification task, or any task if `setting` is None.
        targets: n class names.
        setting: None for 1.0 everywhere; "balanced" for n / (k * n_class) over
            the k classes present, as scikit-learn's `compute_class_weight`; or
            a weight by class name, 1.0 for those not named.

    Returns:
        float32 (n,).

    Raises:
        DataError: Weights for a regression, for an unknown class, or not
            positive and finite.
    """
    import numpy as np

    if setting is None:
        return np.ones(len(targets), "float32")
    if task.spec.kind == "regression":
        raise DataError(f"Class weights were given, but {task.spec.name} has no classes.")
    if isinstance(setting, Mapping):
        _check_weights(task, setting)
        by_class = {label: float(setting.get(label, 1.0)) for label in task.labels}
    else:
        counts = Counter(map(str, targets))
        by_class = {c: len(targets) / (len(counts) * count) for c, count in counts.items()}
    return np.array([by_class[str(target)] for target in targets], "float32")


def count_targets(examples: Examples) -> dict[str, dict[str, int]]:
    """How many examples each split has of each class (regression: under "all")."""
    counts: dict[str, dict[str, int]] = {}
    for split in (*SPLITS, None):
        targets = [t for t, s in zip(examples.targets, examples.splits, strict=True) if s == split]
        if targets:
            names = Counter(t if isinstance(t, str) else "all" for t in targets)
            counts[split or "undecided"] = {name: names[name] for name in sort_labels(names)}
    return counts


def save_task(task: Task, path: Path, examples: Examples | None = None) -> None:
    """Writes the label manifest (JSON), whole or not at all.

    Args:
        task: What is restored by `load_task`.
        path: The file to write.
        examples: If given, the counts by split and class are noted for the reader.
    """
    manifest = {
        "version": MANIFEST_VERSION,
        "task": task.spec.name,
        "labels": list(task.labels),
        "target_mean": task.target_mean,
        "target_std": task.target_std,
    }
    if examples is not None:
        manifest["examples"] = count_targets(examples)
    write_json(path, manifest)


def load_task(path: Path) -> Task:
    """Reads a label manifest.

    Raises:
        RunError: The file is missing, damaged, or of a newer version.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["version"]
        if version == MANIFEST_VERSION:
            return _task(manifest)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"{path} is not a readable label manifest: {error}.") from error
    raise RunError(
        f"{path} is a label manifest of version {version}; this tltool reads {MANIFEST_VERSION}.",
        hint="use the version of tltool that wrote it, or a newer one",
    )


def _task(manifest: Mapping[str, Any]) -> Task:
    spec = TASKS[manifest["task"]]
    labels = tuple(map(str, manifest["labels"]))
    if spec.kind == "classification" and (len(labels) < 2 or len(set(labels)) < len(labels)):
        raise ValueError(f"its labels are {labels}")
    mean, std = float(manifest["target_mean"]), float(manifest["target_std"])
    return Task(spec, labels, target_mean=mean, target_std=std)


def _number(label: str) -> float:
    number = float(label)
    if not math.isfinite(number):
        raise ValueError(label)
    return number


def _target_number(target: Any, row: int, origins: Sequence[str] | None) -> float:
    if target is None:
        raise DataError(f"{_origin(row, origins)}: there is no target.")
    return float(target)


def _origin(row: int, origins: Sequence[str] | None) -> str:
    return origins[row] if origins is not None else f"item {row}"


def _check_weights(task: Task, setting: Mapping[str, float]) -> None:
    for name, weight in setting.items():
        if name not in task.labels:
            raise DataError(
                f"Class weights: there is no class {name!r}; the classes are "
                f"{', '.join(map(repr, task.labels))}.",
                hint=did_you_mean(name, task.labels),
            )
        if not (math.isfinite(weight) and weight > 0):
            raise DataError(
                f"Class weights: the weight of {name!r} must be positive, received {weight}."
            )

"""The targets of examples: fitted, encoded, counted, and kept in a manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tltool.data.examples import SPLITS, Examples
from tltool.support.errors import COPY_RUN_AGAIN, DataError, RunError
from tltool.support.files import read_json, write_json
from tltool.tasks.table import Task, TaskSpec
from tltool.tasks.values import sort_labels

MANIFEST_VERSION = 2


def make_task(spec: TaskSpec, examples: Examples) -> Task:
    """The task on this data: its label order, or the scale of its targets.

    Args:
        spec: The row of `TASKS`.
        examples: Split examples; only those of "train" are looked at.

    Raises:
        DataError: There are no training examples, or nothing to tell apart in them.
    """
    targets = [target for target in examples.split("train").targets if target is not None]
    if not targets:
        raise DataError("There are no labelled training examples.")
    return Task(spec, spec.target.fit(targets, examples.columns))


def count_targets(examples: Examples) -> dict[str, dict[str, int]]:
    """How many examples each split has of each label (of numbers: under "all")."""
    counts: dict[str, dict[str, int]] = {}
    names_in = examples.kind.names_in
    for split in (*SPLITS, None):
        targets = [t for t, s in zip(examples.targets, examples.splits, strict=True) if s == split]
        if not targets:
            continue
        names = Counter(name for target in targets for name in names_in(target))
        found = {name: names[name] for name in sort_labels(names)}
        counts[split or "undecided"] = found or {"all": len(targets)}
    return counts


def save_task(task: Task, path: Path, examples: Examples | None = None) -> None:
    """Writes the label manifest (JSON), whole or not at all.

    Args:
        task: What is restored by `load_task`.
        path: The file to write.
        examples: If given, the counts by split and label are noted for the reader.
    """
    manifest: dict[str, Any] = {"version": MANIFEST_VERSION, "task": task.to_json()}
    if examples is not None:
        manifest["examples"] = count_targets(examples)
    write_json(path, manifest)


def load_task(path: Path) -> Task:
    """Reads a label manifest.

    Raises:
        RunError: The file is missing, damaged, or of a newer version.
        TargetError: Its kind of target can't be found.
    """
    try:
        manifest = read_json(path)
        version = manifest["version"]
        if version == MANIFEST_VERSION:
            return Task.from_json(manifest["task"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is not a readable label manifest: {error}.",
            hint=COPY_RUN_AGAIN,
        ) from error
    raise RunError(
        f"{path} is a label manifest of version {version}; this tltool reads {MANIFEST_VERSION}.",
        hint="use the version of tltool that wrote it, or train again",
    )

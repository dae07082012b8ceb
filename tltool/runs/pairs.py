"""Two runs on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tltool.data.checks.fingerprints import duplicate_numbers
from tltool.data.examples import Examples, Split
from tltool.evaluation.paired import Paired, pair
from tltool.runs.run import Run
from tltool.support.errors import RunError
from tltool.support.words import listed

_CHOOSE = "name labelled data that both can be measured on: --data"


def paired(
    first: Run, second: Run, data: Any = None, how: Mapping[str, Any] | None = None
) -> Paired:
    """Measures two runs on rows that neither has learnt from.

    Args:
        first, second: Of the same task with the same labels.
        data: As for `Run.rows`; None takes the rows that are in the test splits of both.
        how: How that data is read, as for `Run.rows`.

    Raises:
        RunError: They tell other things apart, or their test splits have no row in common.
        DataError: The data can't be used.
    """
    _check(first, second)
    examples = first.rows(data, **how or {}) if data is not None else _common(first, second)
    before, after = first.outputs(examples), second.outputs(examples)
    return pair(examples, first.task.target, before, after)


def _check(first: Run, second: Run) -> None:
    tasks = [run.task.spec.name for run in (first, second)]
    if tasks[0] != tasks[1]:
        raise RunError(
            f"{first.path} is of the task {tasks[0]}, {second.path} of {tasks[1]}.",
            hint="compare runs of one task",
        )
    names = [run.task.target.labels for run in (first, second)]
    if names[0] != names[1]:
        only = sorted({*names[0]} ^ {*names[1]}) or list(names[1])
        raise RunError(
            f"{first.path} and {second.path} tell other labels apart: {listed(only)}.",
            hint="compare runs of the same labels",
        )


def _common(first: Run, second: Run) -> Examples:
    """The rows that are in the test splits of both."""
    examples, other = first.examples(), second.examples()
    known = set(_keys(other))
    found = examples.take([row for row, key in enumerate(_keys(examples)) if key in known])
    if not len(found):
        raise RunError(
            f"The test splits of {first.path} and {second.path} have no row in common.",
            hint=_CHOOSE,
        )
    return found


def learnt_rows(run: Run, examples: Examples) -> int:
    """How many rows have an input that a run has learnt from.

    Raises:
        RunError: Its data was given from Python.
        DataError: Its data can't be read.
    """
    splits: tuple[Split, ...] = ("train", "validation") if run.recipe.training.refit else ("train",)
    known = np.concatenate([duplicate_numbers(run.examples(split)) for split in splits])
    return int(np.isin(duplicate_numbers(examples), known).sum())


def without(examples: Examples, others: Examples) -> Examples:
    """The rows that are not among others, by where they came from and what they hold."""
    known = set(_keys(others))
    return examples.take([row for row, key in enumerate(_keys(examples)) if key not in known])


def _keys(examples: Examples) -> Iterator[tuple[str, Any]]:
    return zip(examples.origins, map(_key, examples.inputs), strict=True)


def _key(value: Any) -> Any:
    return value.tobytes() if isinstance(value, np.ndarray) else value

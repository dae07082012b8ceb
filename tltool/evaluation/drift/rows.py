"""From rows and a model's answers to the numbers that are watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from tltool.data.examples import Examples
from tltool.evaluation.drift.inputs import Facts
from tltool.tasks.target import Target

Array = np.ndarray[Any, Any]
Group = Literal["inputs", "predictions"]


@dataclass(frozen=True)
class Rows:
    """What is watched of n rows.

    Attributes:
        columns: Group and values (n,) by name: numbers, or names as strings.
        vectors: Group and float64 (n, k) by name.
        wrong: How wrong each answer is, float64 (n,); None where no labels are known.
        names: All that can stand in each column of names.
    """

    columns: Mapping[str, tuple[Group, Array]]
    vectors: Mapping[str, tuple[Group, Array]]
    wrong: Array | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.vectors.values()))[1])

    def take(self, rows: Array) -> Rows:
        """Some of the rows, by their numbers (m,)."""
        return replace(
            self,
            columns={name: (group, values[rows]) for name, (group, values) in self.columns.items()},
            vectors={name: (group, values[rows]) for name, (group, values) in self.vectors.items()},
            wrong=None if self.wrong is None else self.wrong[rows],
        )


def watched_rows(facts: Facts, outputs: Array, target: Target, truth: Array | None = None) -> Rows:
    """What is watched of rows.

    Args:
        facts: Of their inputs, as `tltool.evaluation.drift.inputs.facts_of` gives them.
        outputs: What the model says of them, as `Task.outputs` gives it.
        target: The model's.
        truth: Of the rows, where their labels are known.
    """
    about, looks = facts
    answers = target.watched(outputs)
    columns: dict[str, tuple[Group, Array]] = {}
    columns |= {name: ("inputs", values) for name, values in about.items()}
    columns |= {name: ("predictions", values) for name, values in answers.columns.items()}
    vectors: dict[str, tuple[Group, Array]] = {
        "contents": ("inputs", looks),
        "answers": ("predictions", answers.vectors),
    }
    wrong = None if truth is None else target.wrongness(outputs, truth)
    return Rows(columns, vectors, wrong, answers.names)


def truth_of(rows: Examples, target: Target) -> Array | None:
    """What labelled rows' answers are compared with; None without labels or a use for them.

    Raises:
        DataError: A label is none that the model knows.
    """
    if type(target).wrongness is Target.wrongness or any(one is None for one in rows.targets):
        return None
    return target.truth(rows.targets, rows.origins)

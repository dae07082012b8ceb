"""What targets with labels have in common, whether a row has one of them or several."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tltool.support.errors import DataError, did_you_mean
from tltool.support.words import count, excerpt, listed, plural
from tltool.tasks.reports import Table
from tltool.tasks.target import Target, Translation, in_order

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FEW_ROWS = 30
"""Rows under which a label's own scores say little."""
CLASSES_SHOWN = 20


@dataclass(frozen=True)
class LabelledTarget(Target):
    """A target whose outputs are probabilities of labels, in their order.

    Attributes:
        labels: Names, each once.
    """

    labels: tuple[str, ...] = ()

    table_columns: ClassVar[Mapping[str, str]] = {
        "precision": "Precision",
        "recall": "Recall",
        "f1": "F1",
    }
    """Keys of `per_class` rows that the table of labels has, and the titles of their columns."""

    @property
    def result_name(self) -> str:
        """See `Target.result_name`."""
        return "probabilities"

    @property
    def result_shape(self) -> tuple[int | None, ...]:
        """One probability a label."""
        return (None, len(self.labels))

    @property
    def result_range(self) -> tuple[float, float]:
        """Probabilities."""
        return (0.0, 1.0)

    def result(self, raw: Any) -> Any:
        """The probabilities."""
        return self.outputs(raw)

    def from_result(self, result: Array) -> Array:
        """The same: it is what a user reads."""
        return result

    def translation(self, teacher: Self) -> Translation:
        """Logits in the order of the own labels."""
        order = in_order(teacher.labels, self.labels, self.noun)
        return Translation(order, (1.0,) * len(order), (0.0,) * len(order))

    def softened(self, raw: Any, temperature: float) -> Any:
        """Probabilities of divided logits."""
        return self.outputs(raw / temperature)

    def unknown(self, target: Any, row: int, origins: Sequence[str] | None) -> DataError:
        """The error for a target that is missing or none of the labels."""
        where = origins[row] if origins is not None else f"item {row}"
        what = "there is no label" if target is None else f"the label {target!r} is unknown"
        return DataError(
            f"{where}: {what}; the model knows {count(len(self.labels), 'label')}: "
            f"{listed(self.labels)}.",
            hint=did_you_mean(str(target), self.labels)
            or "leave such rows out, or train a model that has this label",
        )

    def check_names(
        self, setting: Mapping[str, float], field: str = "training.class_weights"
    ) -> None:
        """Raises DataError where a recipe's field by label names others; all of them are told."""
        if unknown := [name for name in setting if name not in self.labels]:
            places = ", ".join(f"{field}.{name}" for name in unknown)
            raise DataError(
                f"{places}: there is no {self.noun} {listed(unknown)}; the {plural(self.noun)} are "
                f"{listed(self.labels)}.",
                hint=did_you_mean(unknown[0], self.labels) or "name one of these, or leave it out",
            )

    def tables(self, metrics: Mapping[str, Any]) -> list[Table]:
        """One row a label; the short form has the weakest by F1 where there are many."""
        header = (self.noun.capitalize(), *self.table_columns.values(), "Rows")
        rows = metrics["per_class"]
        several = plural(self.noun)
        brief = None
        if len(rows) > CLASSES_SHOWN:
            weakest = sorted(rows, key=lambda row: 2.0 if row["f1"] is None else row["f1"])
            left_out = f"and {len(rows) - CLASSES_SHOWN} more {several} in the report"
            shown = [self._cells(row) for row in weakest[:CLASSES_SHOWN]]
            brief = (f"{several.capitalize()} (the weakest)", shown, left_out)
        return [Table(several.capitalize(), header, [self._cells(row) for row in rows], brief)]

    def _cells(self, row: Mapping[str, Any]) -> list[str]:
        shares = ["–" if row[key] is None else f"{row[key]:.3f}" for key in self.table_columns]
        return [excerpt(row["label"], 40), *shares, f"{row['support']:,}"]

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """Which labels have few rows."""
        few = [row["label"] for row in metrics["per_class"] if row["support"] < FEW_ROWS]
        if not few:
            return []
        named = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
        return [
            f"{count(len(few), self.noun)} with fewer than {FEW_ROWS} rows, whose own scores "
            f"are uncertain: {named}."
        ]

    def to_json(self) -> dict[str, Any]:
        """The labels."""
        return {"labels": list(self.labels)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See `Target.from_json`."""
        return cls(labels=checked_labels(values["labels"]))


def checked_labels(values: Sequence[Any]) -> tuple[str, ...]:
    """Labels of a manifest.

    Raises:
        ValueError: One is there twice, or there is none.
    """
    labels = tuple(map(str, values))
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"its labels are {labels}")
    return labels


def at_least_two_folds(count: int) -> int:
    """A number of folds.

    Raises:
        DataError: It is 1 or less.
    """
    if count < 2:
        raise DataError(f"A cross-validation needs two folds at least. Received: {count}.")
    return count


def stratified_folds(strata: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
    """Folds in which each stratum has its share, as scikit-learn's `StratifiedKFold`."""
    from sklearn.model_selection import StratifiedKFold

    with warnings.catch_warnings():
        # A class with fewer rows than folds is missing from some of them, which does no harm.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
        return list(splitter.split(strata, strata))

"""The mean of the weights of several epochs of the last phase, kept where it is no worse.

Of the last epochs at a constant rate it is stochastic weight averaging (Izmailov et al. 2018,
arXiv:1803.05407), of the best ones a uniform soup (Wortsman et al. 2022, arXiv:2203.05482) of
one run.

Statistics of BatchNorm layers that train are averaged as the weights are, not computed anew from
the training rows, which would cost a pass over them: epochs of one run have much the same ones,
and the average is measured with those that it is kept with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from tltool.recipe.schema import BestEpochs, LastEpochs
from tltool.training.best_weights import HistoryRow, Rule


@dataclass(frozen=True, eq=False)
class _Epoch:
    """An epoch's row, and its weights by their places."""

    row: HistoryRow
    weights: dict[int, np.ndarray]


class EpochAverage:
    """The weights of some epochs of a phase.

    Args:
        model: The whole model.
        changing: Paths of what the phase changes.
        which: Epochs to keep.
        rule: Which of two epochs is better.
    """

    def __init__(
        self,
        model: keras.Model,
        changing: frozenset[str],
        which: LastEpochs | BestEpochs,
        rule: Rule,
    ) -> None:
        self._variables = {
            place: variable
            for place, variable in enumerate(model.variables)
            if variable.path in changing and variable.dtype.startswith("float")
        }
        self._which = which
        # By `min_delta`, which early stopping needs, the best ones would be those that came first.
        self._rule = replace(rule, min_delta=0.0)
        self._epochs: list[_Epoch] = []

    def offer(self, row: HistoryRow) -> None:
        """An epoch is done: its weights are in the model."""
        weights = {place: variable.numpy() for place, variable in self._variables.items()}
        self._epochs.append(_Epoch(row, weights))
        if len(self._epochs) > self._which.number:
            self._epochs.remove(self._left_out())

    def _left_out(self) -> _Epoch:
        if isinstance(self._which, LastEpochs):
            return self._epochs[0]
        worst = self._epochs[0]
        for epoch in self._epochs[1:]:
            if not self._rule.is_better(epoch.row, worst.row):
                worst = epoch
        return worst

    def mean_in(self) -> HistoryRow | None:
        """Puts the mean of the epochs into the model.

        Returns:
            What a history's row says of it, without values, and in `averaged` of which epochs
            it is, such as "3, 4 and 5"; None of fewer than two.
        """
        if len(self._epochs) < 2:
            return None
        for place, variable in self._variables.items():
            values = [epoch.weights[place] for epoch in self._epochs]
            mean = np.mean(values, axis=0, dtype=np.float64)
            variable.assign(mean.astype(values[0].dtype))
        last = self._epochs[-1].row
        *others, newest = [str(epoch.row["epoch"]) for epoch in self._epochs]
        same = {key: last[key] for key in ("phase", "epoch", "total_epoch")}
        return {**same, "averaged": f"{', '.join(others)} and {newest}"}

    def state(self) -> tuple[dict[str, np.ndarray], list[HistoryRow]]:
        """What another process needs to go on: tensors by name, and the epochs' rows."""
        tensors = {
            f"epoch/{number}/{place}": value
            for number, epoch in enumerate(self._epochs)
            for place, value in epoch.weights.items()
        }
        return tensors, [epoch.row for epoch in self._epochs]

    def take_back(self, tensors: Mapping[str, np.ndarray], rows: Sequence[Any]) -> None:
        """Takes what `state` gave."""
        self._epochs = [
            _Epoch(row, {place: tensors[f"epoch/{number}/{place}"] for place in self._variables})
            for number, row in enumerate(rows)
        ]

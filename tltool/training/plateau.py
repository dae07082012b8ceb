"""A learning rate that falls where the monitored value stops getting better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from tltool.model.freezing import PhasePlan
from tltool.training.best_weights import HistoryRow, Rule
from tltool.training.optimizers import Plateau


def plateau_scale(rows: Iterable[HistoryRow], rule: Rule, factor: float, patience: int) -> float:
    """What a phase's learning rate is multiplied by after some epochs.

    It follows from their rows alone, so that a training that goes on has the same.

    Args:
        rows: Of the phase's epochs so far, in order.
        rule: Which of two is better.
        factor: By which the rate falls, 0..1.
        patience: Epochs without a better one after which it does, and again after as many.
    """
    scale, waited = 1.0, 0
    best: HistoryRow | None = None
    for row in rows:
        if rule.is_better(row, best):
            best, waited = row, 0
            continue
        waited += 1
        if waited == patience:
            scale, waited = scale * factor, 0
    return scale


class FallOnPlateau(keras.callbacks.Callback):
    """Sets the rate of each epoch; called before what notes it.

    Args:
        plan: The phase.
        schedule: Of its learning rate.
        history: Rows of all phases.
        rule: Which of two epochs is better.
    """

    def __init__(
        self, plan: PhasePlan, schedule: Plateau, history: list[HistoryRow], rule: Rule
    ) -> None:
        super().__init__()
        self._plan = plan
        self._schedule = schedule
        self._history = history
        self._rule = rule

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Looks at the epochs before."""
        own = f"{self._plan.number} {self._plan.title}"
        rows = [row for row in self._history if row["phase"] == own][:epoch]
        phase = self._plan.phase
        scale = plateau_scale(rows, self._rule, phase.plateau_factor, phase.plateau_patience)
        self._schedule.scale.assign(scale)

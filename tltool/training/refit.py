"""A second training from the same start on all labelled rows, for the epochs that were best.

Validation rows are labelled rows that the model never learns from. Once they have chosen the number
of epochs they are free to be learnt from too: the usual last step of a cross-validation
(scikit-learn's `refit`), and in Goodfellow et al. 2016, "Deep Learning", algorithm 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from tltool.data.examples import Examples
from tltool.model.freezing import PhasePlan
from tltool.model.joining import TransferModel
from tltool.training.best_weights import HistoryRow, Rule
from tltool.training.phase import changing, is_contrastive
from tltool.training.preparation import Prepared


def kept_epochs(
    history: Sequence[HistoryRow], plans: Sequence[PhasePlan], rule: Rule
) -> dict[int, int]:
    """Of each phase, by number, the epochs that led to the weights that a training kept.

    A phase begins with the best weights of those before it, so that a phase none of whose epochs
    was better than what it began with has left nothing: 0. Phases that bring rows of a class
    near don't compete, and leave their last epoch.

    Args:
        history: The rows of a training that came to its end.
        plans: Its phases.
        rule: What decided which epoch was best.
    """
    kept = {plan.number: 0 for plan in plans}
    end = len(plans)
    while end:
        if is_contrastive(plans[end - 1]):
            kept[end] = sum(phase_of(row) == end for row in history)
            end -= 1
            continue
        best = rule.best_of(
            row
            for row in history
            if phase_of(row) <= end and not is_contrastive(plans[phase_of(row) - 1])
        )
        if best is None:
            break
        kept[phase_of(best)] = int(best["epoch"] or 0)
        end = phase_of(best) - 1
    return kept


def phase_of(row: HistoryRow) -> int:
    """The number of the phase that an epoch is of."""
    return int(str(row["phase"]).partition(" ")[0])


def stopped(plans: Sequence[PhasePlan], epochs: Mapping[int, int]) -> tuple[PhasePlan, ...]:
    """Phases that end after so many epochs, by number, of the learning rate that they had.

    The rate follows the curve that was planned, up to where the best epoch was: it was this
    curve's epoch that was measured, and what another one would give is not known.
    """
    return tuple(replace(plan, stop=epochs[plan.number]) for plan in plans)


def with_all_rows(prepared: Prepared, plans: tuple[PhasePlan, ...]) -> Prepared:
    """What was prepared, with the validation rows among the training rows, and other plans.

    What was fitted on training rows (labels, the scale of numbers, the length of texts) stays.
    """
    return replace(prepared, examples=_all_training(prepared.examples), plans=plans)


def _all_training(examples: Examples) -> Examples:
    splits = ["train" if split == "validation" else split for split in examples.splits]
    return replace(examples, splits=splits)


class StartingPoint:
    """The weights that a training is about to change, and its generators of random numbers.

    Args:
        transfer: The model.
        plans: All phases.
    """

    def __init__(self, transfer: TransferModel, plans: Sequence[PhasePlan]) -> None:
        changed = frozenset[str]().union(*(changing(transfer, plan) for plan in plans))
        self._values: list[tuple[keras.Variable, Any]] = [
            (variable, variable.numpy())
            for variable in transfer.model.variables
            if variable.path in changed or variable.name == "seed_generator_state"
        ]

    def restore(self) -> None:
        """Gives the model what it had."""
        for variable, value in self._values:
            variable.assign(value)

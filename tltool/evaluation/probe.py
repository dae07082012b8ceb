"""A cross-validated linear probe: what a linear model on frozen features is worth."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from tltool.evaluation.baseline import best_strength, cross_validated
from tltool.support.errors import EvaluationError
from tltool.tasks.table import Task

FOLDS = 5
# Values tried for C, the inverse strength of the penalty.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class ProbeScore:
    """What a linear probe reaches on rows it was not fitted on.

    Attributes:
        value: Mean over the folds of the task's headline score.
        std: Sample standard deviation over the folds.
        folds: Number of folds.
        setting: The strength of the penalty that reached it, the best of those tried.
    """

    value: float
    std: float
    folds: int
    setting: str


def probe(
    features: np.ndarray,
    truth: np.ndarray,
    task: Task,
    folds: int = FOLDS,
    *,
    groups: Sequence[str] = (),
) -> ProbeScore:
    """Fits and scores a linear model on standardised features, fold by fold.

    The folds are stratified as the kind of target does it, and the same for
    all features of the same rows, so that backbones are compared on equal
    terms. The strength of the penalty is the one that scores best over them.

    Args:
        features: (n, channels), finite.
        truth: Of the rows, as the task's target gives it.
        task: With its target.
        folds: At least 2; fewer are taken where no class has so many rows, or where there
            are fewer groups.
        groups: What each row belongs to that folds do not divide, where it is known.

    Raises:
        EvaluationError: There are too few rows.
    """
    target = task.target
    folds = min(folds, target.most_folds(truth), len(set(groups)) or folds)
    if folds < 2:
        raise EvaluationError(
            f"A probe needs at least two rows of a {target.noun}. Received: {len(truth)} rows."
        )
    parts = target.folds_of(truth, folds, 0, groups)
    # The products are thin: several BLAS threads mostly wait for each other (10,000 rows of 384
    # channels in 77 classes on a busy machine with two cores: 13 s a fit with two, 1.5 s with one).
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that stops early counts
        scores = cross_validated(features, truth, target, STRENGTHS, parts, standardise=True)
    best = best_strength(scores, target)
    setting = target.linear_setting(STRENGTHS[best])
    return ProbeScore(float(scores[best].mean()), float(scores[best].std(ddof=1)), folds, setting)

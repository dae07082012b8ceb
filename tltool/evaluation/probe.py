"""A cross-validated linear probe: what a linear model on frozen features is worth."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tltool.evaluation.baseline import linear_model
from tltool.support.errors import EvaluationError
from tltool.tasks.table import Task

FOLDS = 5
# Values tried for C, the inverse strength of the penalty.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class ProbeScore:
    """What a linear probe reaches on rows it was not fitted on.

    Attributes:
        value: Mean over the folds of the task's metric: accuracy, or the mean
            absolute error in the target's own units.
        std: Sample standard deviation over the folds.
        folds: Number of folds.
        setting: The strength of the penalty that reached it, the best of those tried.
    """

    value: float
    std: float
    folds: int
    setting: str


def probe(features: np.ndarray, targets: np.ndarray, task: Task, folds: int = FOLDS) -> ProbeScore:
    """Fits and scores a linear model on standardised features, fold by fold.

    A logistic regression for classes and a ridge regression for numbers. The
    folds are stratified by class, and the same for all features of the same
    rows, so that backbones are compared on equal terms. The strength of the
    penalty is the one that scores best over these folds.

    Args:
        features: (n, channels), finite.
        targets: As `tltool.data.labels.encode_targets` gives them.
        task: Kind of task and scale of its targets.
        folds: At least 2; fewer are taken where no class has so many rows.

    Raises:
        EvaluationError: There are too few rows.
    """
    classify = task.spec.kind == "classification"
    answers = targets.argmax(axis=1) if classify else targets[:, 0] * task.target_std
    most = int(np.bincount(answers).max()) if classify else len(answers)
    folds = min(folds, most)
    if folds < 2:
        raise EvaluationError(
            f"A probe needs at least two rows of a class. Received: {len(answers)} rows, "
            f"{'one of each class' if classify else 'of numbers'}."
        )
    splitter = (StratifiedKFold if classify else KFold)(folds, shuffle=True, random_state=0)
    scoring = "accuracy" if classify else "neg_mean_absolute_error"
    # The products are thin: several BLAS threads mostly wait for each other (10,000 rows of 384
    # channels in 77 classes on a busy machine with two cores: 13 s a fit with two, 1.5 s with one).
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        # Classes with fewer rows than folds are in some folds only; a fit that stops early counts.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = [
            cross_val_score(
                make_pipeline(StandardScaler(), linear_model(strength, classify)),
                features,
                answers,
                cv=splitter,
                scoring=scoring,
            )
            for strength in STRENGTHS
        ]
    best = int(np.argmax([score.mean() for score in scores]))
    name = f"C = {STRENGTHS[best]:g}" if classify else f"alpha = {1 / STRENGTHS[best]:g}"
    # Subtracting from 0 keeps a perfect 0 from becoming -0.
    value = scores[best].mean() if classify else 0.0 - scores[best].mean()
    return ProbeScore(float(value), float(scores[best].std(ddof=1)), folds, name)

"""Simple models on the same rows, to see what the pretrained weights are worth.

A baseline is worth its name when it is a strong one: the regularisation is
chosen by cross-validation on the training rows wherever that is affordable.
The test rows are used once, for the score.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import StandardScaler

from tltool.data.examples import Examples
from tltool.evaluation.evaluate import encode_classes, encode_numbers
from tltool.evaluation.metrics import classification_metrics, regression_metrics
from tltool.support.errors import EvaluationError
from tltool.tasks.table import Task

FOLDS = 3
# Values tried for C, the inverse strength of the penalty; the middle one is
# taken where cross-validation is too dear. Standardised features are larger
# than TF-IDF's unit vectors and need a stronger penalty.
_TEXT_STRENGTHS = (1.0, 10.0, 100.0)
_FEATURE_STRENGTHS = (1e-3, 1e-2, 1e-1)
# Multiplications of one pass over the data (stored values x outputs) up to
# which ten fits take some 10 s on one core. Dense products are about 20 times
# faster than sparse ones (measured: 77 classes, 35,000 sparse columns).
_SPARSE_BUDGET = 2e7
_DENSE_BUDGET = 4e8

Matrix = Any  # a dense array or a scipy.sparse matrix of shape (rows, columns)
Rows = tuple[Matrix, np.ndarray]  # features and encoded targets


@dataclass(frozen=True)
class BaselineResult:
    """The score of a simple model on the test rows.

    Attributes:
        name: For people, such as "TF-IDF + logistic regression".
        value: The task's main metric (`TaskSpec.metric`).
        metrics: Everything measured, as `tltool.evaluation.metrics` returns it.
        setting: The regularisation used and how it was chosen.
        seconds: Time taken, fitting and choosing included.
    """

    name: str
    value: float
    metrics: Mapping[str, Any]
    setting: str
    seconds: float


def text_baseline(train: Examples, test: Examples, task: Task) -> BaselineResult:
    """TF-IDF of words and character n-grams with a linear model.

    Words and runs of punctuation (1- and 2-grams) and characters within word
    bounds (2- to 4-grams), with sublinear term frequencies.

    Args:
        train: The labelled texts to fit, and no others.
        test: The labelled texts to score.
        task: A text task.

    Raises:
        EvaluationError: No rows, only blank texts, fewer than two classes, or
            labels that do not fit the task.
    """
    started = time.perf_counter()
    _check_counts(len(train), len(test))
    if not any(text.strip() for text in train.inputs):
        raise EvaluationError("The TF-IDF baseline needs a training text that is not blank.")
    vectorizer = _tfidf()
    fitted = vectorizer.fit_transform(train.inputs).tocsr()
    metrics, setting = _fit_and_score(
        (fitted, _encode(train.targets, train.origins, task)),
        (vectorizer.transform(test.inputs).tocsr(), _encode(test.targets, test.origins, task)),
        task,
        _TEXT_STRENGTHS,
    )
    return _result(f"TF-IDF + {_model_name(task)}", metrics, setting, task, started)


def features_baseline(
    train_features: np.ndarray,
    train_targets: Sequence[str | float | None],
    test_features: np.ndarray,
    test_targets: Sequence[str | float | None],
    task: Task,
    *,
    name: str = "untrained backbone",
) -> BaselineResult:
    """A linear model on standardised features, such as an untrained backbone's.

    Args:
        train_features, test_features: (rows, features), finite.
        train_targets, test_targets: Class names or numbers, as in `Examples.targets`.
        task: Labels and kind of task.
        name: What made the features; the linear model's name is added.

    Raises:
        EvaluationError: No rows, features that are not finite or do not fit the
            targets, fewer than two classes, or labels that do not fit the task.
    """
    started = time.perf_counter()
    train = _features(train_features, train_targets)
    test = _features(test_features, test_targets)
    scaler = StandardScaler().fit(train)
    metrics, setting = _fit_and_score(
        (scaler.transform(train), _encode(train_targets, _rows("training", train), task)),
        (scaler.transform(test), _encode(test_targets, _rows("test", test), task)),
        task,
        _FEATURE_STRENGTHS,
    )
    return _result(f"{name} + {_model_name(task)}", metrics, setting, task, started)


def _tfidf() -> FeatureUnion:
    words = TfidfVectorizer(
        # Unlike the default pattern, keeps one-letter words and punctuation
        # (banking77: 0.918 instead of 0.913).
        token_pattern=r"(?u)\w+|[^\w\s]+",
        ngram_range=(1, 2),
        sublinear_tf=True,
        dtype=np.float32,  # fits in half the time of float64
    )
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32
    )
    return FeatureUnion([("words", words), ("characters", characters)])


def _check_counts(train: int, test: int) -> None:
    if not train or not test:
        raise EvaluationError(
            f"A baseline needs training and test rows. Received: {train} and {test}."
        )


def _features(features: np.ndarray, targets: Sequence[Any]) -> np.ndarray:
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or len(features) != len(targets) or not len(features):
        raise EvaluationError(
            f"Features of shape ({len(targets)}, features) are needed. Received: {features.shape}."
        )
    if not np.isfinite(features).all():
        raise EvaluationError("The features hold values that are not finite numbers.")
    return features


def _encode(
    targets: Sequence[str | float | None], origins: Sequence[str], task: Task
) -> np.ndarray:
    if task.spec.kind == "classification":
        return encode_classes(targets, origins, task.labels)
    return encode_numbers(targets, origins)


def _rows(called: str, features: np.ndarray) -> list[str]:
    return [f"{called} row {i + 1}" for i in range(len(features))]


def _model_name(task: Task) -> str:
    return "logistic regression" if task.spec.kind == "classification" else "ridge regression"


def _result(
    name: str, metrics: Mapping[str, Any], setting: str, task: Task, started: float
) -> BaselineResult:
    return BaselineResult(
        name=name,
        value=metrics[task.spec.metric],
        metrics=metrics,
        setting=setting,
        seconds=time.perf_counter() - started,
    )


def _fit_and_score(
    train: Rows, test: Rows, task: Task, strengths: tuple[float, ...]
) -> tuple[dict[str, Any], str]:
    """Metrics on the test rows, and what was chosen."""
    (features, targets), (test_features, test_targets) = train, test
    classify = task.spec.kind == "classification"
    if classify and len(np.unique(targets)) < 2:
        raise EvaluationError(
            "A baseline needs training rows of at least two classes. "
            f"Received: only {task.labels[targets[0]]!r}."
        )
    with warnings.catch_warnings():
        # A fit that stops at max_iter is still a fair baseline.
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength, how = _choose(features, targets, strengths, classify)
        model = linear_model(strength, classify).fit(features, targets)
    if not classify:
        metrics = regression_metrics(model.predict(test_features), test_targets)
        return metrics, f"alpha = {1 / strength:g}, {how}"
    # A class without training rows keeps probability 0.
    probabilities = np.zeros((len(test_targets), len(task.labels)))
    probabilities[:, model.classes_] = model.predict_proba(test_features)
    metrics = classification_metrics(probabilities, test_targets, task.labels)
    return metrics, f"C = {strength:g}, {how}"


def linear_model(strength: float, classify: bool) -> Any:
    """A logistic regression, or a ridge regression; `strength` is the inverse of the penalty."""
    if classify:
        return LogisticRegression(C=strength, max_iter=1000)
    return Ridge(alpha=1.0 / strength)


def _choose(
    train: Matrix, targets: np.ndarray, strengths: tuple[float, ...], classify: bool
) -> tuple[float, str]:
    """The best of `strengths` by cross-validation, or the middle one where that is no option."""
    middle = strengths[len(strengths) // 2]
    smallest = int(np.unique(targets, return_counts=True)[1].min()) if classify else len(targets)
    if smallest < FOLDS:
        return middle, "the default: too few rows to cross-validate"
    if _work(train, targets, classify) > 1:
        return middle, "the default: too many rows to cross-validate quickly"
    splitter = StratifiedKFold if classify else KFold
    folds = splitter(FOLDS, shuffle=True, random_state=0)
    scoring = "accuracy" if classify else "neg_mean_absolute_error"
    scores = [
        cross_val_score(linear_model(c, classify), train, targets, cv=folds, scoring=scoring).mean()
        for c in strengths
    ]
    return strengths[int(np.argmax(scores))], f"chosen by {FOLDS}-fold cross-validation"


def _work(train: Matrix, targets: np.ndarray, classify: bool) -> float:
    """Cost of one pass over the data, as a share of the budget."""
    outputs = len(np.unique(targets)) if classify else 1
    if hasattr(train, "nnz"):
        return float(train.nnz * outputs / _SPARSE_BUDGET)
    return float(train.size * outputs / _DENSE_BUDGET)

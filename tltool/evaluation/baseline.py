"""Simple models on the same rows, to see what the pretrained weights are worth.

A baseline is worth its name when it is a strong one: the regularisation is
chosen by cross-validation on the training rows wherever that is affordable.
The test rows are used once, for the score.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import StandardScaler

from tltool.data.examples import Examples, texts_of
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.support.errors import EvaluationError
from tltool.support.files import size_text
from tltool.tasks.table import Task
from tltool.tasks.target import Target

_PICTURES = 32
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
# Of a fit at most; its coefficients and the outputs of all rows are float64.
_MOST_BYTES = 8_000_000_000
_ROW_COPIES = 3

Matrix = Any  # a dense array or a scipy.sparse matrix of shape (rows, columns)
Rows = tuple[Matrix, np.ndarray]  # features and encoded targets


@dataclass(frozen=True)
class BaselineResult:
    """The score of a simple model on the test rows.

    Attributes:
        name: For people, such as "TF-IDF + logistic regression".
        value: The task's main metric (`TaskSpec.metric`); None where the test rows have none.
        metrics: Everything measured, as the kind of target measures it.
        setting: The regularisation used and how it was chosen.
        seconds: Time taken, fitting and choosing included.
    """

    name: str
    value: float | None
    metrics: Mapping[str, Any]
    setting: str
    seconds: float


def text_baseline(train: Examples, test: Examples, task: Task) -> BaselineResult:
    """TF-IDF of words and character n-grams with a linear model.

    Of pairs of texts the model reads their cosine, and where their features
    differ and are shared.

    Words and runs of punctuation (1- and 2-grams) and characters within word
    bounds (2- to 4-grams), with sublinear term frequencies.

    Args:
        train: The labelled texts or pairs to fit, and no others.
        test: The labelled texts to score.
        task: A text task.

    Raises:
        EvaluationError: No rows, only blank texts, fewer than two classes, or too many for the
            memory.
        DataError: Labels that do not fit the task.
    """
    started = time.perf_counter()
    _check_counts(len(train), len(test))
    texts = texts_of(train.inputs)
    if not any(text.strip() for text in texts):
        raise EvaluationError("The TF-IDF baseline needs a training text that is not blank.")
    vectorizer = _tfidf()
    vectors = [vectorizer.fit_transform(texts), vectorizer.transform(texts_of(test.inputs))]
    fitted, measured = (
        _compared(found.tocsr()) if train.modality == "text_pair" else found.tocsr()
        for found in vectors
    )
    metrics, setting = _fit_and_score(
        (fitted, task.target.truth(train.targets, train.origins)),
        (measured, task.target.truth(test.targets, test.origins)),
        task,
        _TEXT_STRENGTHS,
        train.groups,
    )
    return _result(f"TF-IDF + {task.target.linear_model}", metrics, setting, task, started)


def kind_baseline(
    train: Examples, test: Examples, task: Task, contract: ImagePreprocessing | TextPreprocessing
) -> BaselineResult | None:
    """The simple model that a kind of target has itself; None where it has none.

    Args:
        train: The labelled rows to fit, and no others.
        test: The labelled rows to score.
        task: With its target.
        contract: The size at which pictures are looked at.
    """
    started = time.perf_counter()
    _check_counts(len(train), len(test))

    def loaded(inputs: Sequence[Any]) -> Iterable[Any]:
        return _pictures(inputs, contract) if isinstance(contract, ImagePreprocessing) else inputs

    rows, others = ((part.inputs, part.targets) for part in (train, test))
    found = task.target.baseline(rows, others, loaded)
    if found is None:
        return None
    name, outputs, setting = found
    metrics = task.target.metrics(outputs, task.target.truth(test.targets, test.origins))
    return _result(name, metrics, setting, task, started)


def _pictures(inputs: Sequence[Any], contract: ImagePreprocessing) -> Iterator[np.ndarray]:
    """Pictures at the size of the model's input, uint8 (h, w, 3), few of them at a time."""
    from tltool.data.batches.pipeline import resized_images

    for start in range(0, len(inputs), _PICTURES):
        yield from resized_images(inputs[start : start + _PICTURES], contract)


def features_baseline(
    train_features: np.ndarray,
    train_targets: Sequence[Any],
    test_features: np.ndarray,
    test_targets: Sequence[Any],
    task: Task,
    *,
    name: str = "untrained backbone",
    groups: Sequence[str] = (),
) -> BaselineResult:
    """A linear model on standardised features, such as an untrained backbone's.

    Args:
        train_features, test_features: (rows, features), finite.
        train_targets, test_targets: As in `Examples.targets`.
        task: Labels and kind of task.
        name: What made the features; the linear model's name is added.
        groups: What each training row belongs to that folds do not divide, where it is known.

    Raises:
        EvaluationError: No rows, features that are not finite or do not fit the
            targets, fewer than two classes, or too many for the memory.
        DataError: Labels that do not fit the task.
    """
    started = time.perf_counter()
    train = _features(train_features, train_targets)
    test = _features(test_features, test_targets)
    scaler = StandardScaler().fit(train)
    metrics, setting = _fit_and_score(
        (scaler.transform(train), task.target.truth(train_targets, _rows("training", train))),
        (scaler.transform(test), task.target.truth(test_targets, _rows("test", test))),
        task,
        _FEATURE_STRENGTHS,
        groups,
    )
    return _result(f"{name} + {task.target.linear_model}", metrics, setting, task, started)


def as_they_come(features: np.ndarray, test: Examples, task: Task) -> BaselineResult:
    """Features taken for the model's raw outputs, without any fit.

    Args:
        features: (rows, width) of the test rows.
        test: The labelled rows.
        task: With its target.
    """
    started = time.perf_counter()
    target = task.target
    truth = target.truth(test.targets, test.origins)
    metrics = target.metrics(target.outputs(features), truth)
    name = "the backbone's features as they come"
    return _result(name, metrics, "nothing is fitted", task, started)


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


def _compared(vectors: Matrix) -> Matrix:
    """What a linear model can read of pairs of rows: |u - v|, u * v and the cosine."""
    first, second = vectors[::2], vectors[1::2]
    product = first.multiply(second).tocsr()
    lengths = [np.sqrt(side.multiply(side).sum(axis=1)) for side in (first, second)]
    norms = np.maximum(np.asarray(lengths[0]) * np.asarray(lengths[1]), 1e-12)
    cosine = csr_matrix(np.asarray(product.sum(axis=1)) / norms)
    return hstack([abs(first - second), product, cosine], format="csr")


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


def _rows(called: str, features: np.ndarray) -> list[str]:
    return [f"{called} row {i + 1}" for i in range(len(features))]


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
    train: Rows, test: Rows, task: Task, strengths: tuple[float, ...], groups: Sequence[str]
) -> tuple[dict[str, Any], str]:
    """Metrics on the test rows, and what was chosen."""
    (features, truth), (test_features, test_truth) = train, test
    target = task.target
    _check_size(features, target)
    with warnings.catch_warnings():
        # A fit that stops at max_iter is still a fair baseline.
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength, how = _choose(features, truth, target, strengths, groups)
        predict = target.fit_linear(features, truth, strength)
    metrics = target.metrics(predict(test_features), test_truth)
    return metrics, f"{target.linear_setting(strength)}, {how}"


def _check_size(features: Matrix, target: Target) -> None:
    """Raises EvaluationError where a fit would take more than `_MOST_BYTES`."""
    (rows, columns), outputs = features.shape, target.num_outputs
    needed = 8 * outputs * (target.linear_copies * columns + _ROW_COPIES * rows)
    if needed > _MOST_BYTES:
        raise EvaluationError(
            f"A linear model of {columns:,} features and {outputs:,} outputs takes some "
            f"{size_text(needed)} to fit, more than {size_text(_MOST_BYTES)}."
        )


def _choose(
    features: Matrix,
    truth: np.ndarray,
    target: Target,
    strengths: tuple[float, ...],
    groups: Sequence[str],
) -> tuple[float, str]:
    """The best of `strengths` by cross-validation, or the middle one where that is no option."""
    middle = strengths[len(strengths) // 2]
    if min(target.rows_of_rarest(truth), len(set(groups)) or FOLDS) < FOLDS:
        return middle, "the default: too few rows to cross-validate"
    if _work(features, target.num_outputs) > 1:
        return middle, "the default: too many rows to cross-validate quickly"
    folds = target.folds_of(truth, FOLDS, 0, groups)
    scores = cross_validated(features, truth, target, strengths, folds)
    best = best_strength(scores, target)
    return strengths[best], f"chosen by {FOLDS}-fold cross-validation"


def cross_validated(
    features: Matrix,
    truth: np.ndarray,
    target: Target,
    strengths: Sequence[float],
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    standardise: bool = False,
) -> np.ndarray:
    """The headline score of linear models, (strengths, folds).

    Args:
        features: (n, channels), dense or sparse.
        truth: Of the rows.
        target: Fits and scores.
        strengths: To try.
        folds: Rows to fit on and to score.
        standardise: Whether features are standardised on the rows to fit on.
    """
    scores = np.empty((len(strengths), len(folds)))
    for place, (rows, others) in enumerate(folds):
        train, held_out = features[rows], features[others]
        if standardise:
            scaler = StandardScaler().fit(train)
            train, held_out = scaler.transform(train), scaler.transform(held_out)
        for number, strength in enumerate(strengths):
            predict = target.fit_linear(train, truth[rows], strength)
            scores[number, place] = target.score(predict(held_out), truth[others])
    return scores


def best_strength(scores: np.ndarray, target: Target) -> int:
    """The number of the strength with the best mean score, the first of equals."""
    means = scores.mean(axis=1)
    return int(np.argmax(means if target.headline().higher_is_better else -means))


def _work(train: Matrix, outputs: int) -> float:
    """Cost of one pass over the data, as a share of the budget."""
    if hasattr(train, "nnz"):
        return float(train.nnz * outputs / _SPARSE_BUDGET)
    return float(train.size * outputs / _DENSE_BUDGET)

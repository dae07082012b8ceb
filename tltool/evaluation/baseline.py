"""Simple models on the same rows, to see what fine-tuning is worth.

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
# taken where cross-validation is too dear.
_STRENGTHS = (1.0, 10.0, 100.0)
# Multiplications of one pass over the data (stored values x outputs) up to
# which ten fits take some 10 s on one core.
_BUDGET = 2e7
# Of a fit at most; its coefficients and the outputs of all rows are float64.
_MOST_BYTES = 8_000_000_000
_ROW_COPIES = 3

Matrix = Any  # a dense array or a scipy.sparse matrix of shape (rows, columns)


@dataclass(frozen=True)
class BaselineResult:
    """The score of a simple model on the test rows.

    Attributes:
        title: A short name for people, such as "TF-IDF".
        name: What it is, such as "TF-IDF + logistic regression".
        value: The task's main metric (`TaskSpec.metric`); None where the test rows have none.
        metrics: Everything measured, as the kind of target measures it.
        outputs: What was measured.
        setting: The regularisation used and how it was chosen.
        seconds: Time taken, fitting and choosing included.
    """

    title: str
    name: str
    value: float | None
    metrics: Mapping[str, Any]
    outputs: np.ndarray
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
    fitted, reading = (
        _compared(found.tocsr()) if train.modality == "text_pair" else found.tocsr()
        for found in vectors
    )
    truth = task.target.truth(train.targets, train.origins)
    outputs, setting = _fitted_outputs(fitted, truth, reading, task.target, train.groups)
    name = f"TF-IDF + {task.target.linear_model}"
    return measured("TF-IDF", name, outputs, test, task, setting, started)


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
    return measured("Baseline", name, outputs, test, task, setting, started)


def constant_baseline(train: Examples, test: Examples, task: Task) -> BaselineResult | None:
    """What one answer for all rows is worth; None for kinds that have none.

    Args:
        train: The labelled rows that say which answer is best.
        test: The labelled rows to score.
        task: With its target.
    """
    started = time.perf_counter()
    guess = task.target.constant_guess(task.target.truth(train.targets, train.origins))
    if guess is None:
        return None
    name, row = guess
    outputs = np.broadcast_to(row, (len(test), *row.shape))
    return measured("Constant guess", name, outputs, test, task, "nothing is fitted", started)


def _pictures(inputs: Sequence[Any], contract: ImagePreprocessing) -> Iterator[np.ndarray]:
    """Pictures at the size of the model's input, uint8 (h, w, 3), few of them at a time."""
    from tltool.data.batches.pipeline import resized_images

    for start in range(0, len(inputs), _PICTURES):
        yield from resized_images(inputs[start : start + _PICTURES], contract)


def as_they_come(features: np.ndarray, test: Examples, task: Task) -> BaselineResult:
    """Features taken for the model's raw outputs, without any fit.

    Args:
        features: (rows, width) of the test rows.
        test: The labelled rows.
        task: With its target.
    """
    started = time.perf_counter()
    outputs, name = task.target.outputs(features), "the backbone's features as they come"
    return measured("Backbone alone", name, outputs, test, task, "nothing is fitted", started)


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


def measured(
    title: str,
    name: str,
    outputs: np.ndarray,
    test: Examples,
    task: Task,
    setting: str,
    started: float,
) -> BaselineResult:
    """The result of a simple model.

    Args:
        title, name, setting: As of `BaselineResult`.
        outputs: What a user reads of the test rows, or what `Target.kept` leaves of it.
        test: The labelled rows.
        task: With its target.
        started: `time.perf_counter()` at the start.
    """
    target = task.target
    metrics = target.metrics(outputs, target.truth(test.targets, test.origins))
    return BaselineResult(
        title=title,
        name=name,
        value=metrics[task.spec.metric],
        metrics=metrics,
        outputs=outputs,
        setting=setting,
        seconds=time.perf_counter() - started,
    )


def _fitted_outputs(
    features: Matrix, truth: np.ndarray, others: Matrix, target: Target, groups: Sequence[str]
) -> tuple[np.ndarray, str]:
    """What a linear model says of other rows, and what was chosen."""
    check_size(features, target)
    with warnings.catch_warnings():
        # A fit that stops at max_iter is still a fair baseline.
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength, how = _choose(features, truth, target, groups)
        predict = target.fit_linear(features, truth, strength)
    return predict(others), f"{target.linear_setting(strength)}, {how}"


def check_size(features: Matrix, target: Target) -> None:
    """Looks whether a linear model can be fitted.

    Args:
        features: (rows, columns), dense or sparse.
        target: What it is fitted to.

    Raises:
        EvaluationError: It would take more memory than there may be.
    """
    (rows, columns), outputs = features.shape, target.num_outputs
    needed = 8 * outputs * (target.linear_copies * columns + _ROW_COPIES * rows)
    if needed > _MOST_BYTES:
        raise EvaluationError(
            f"A linear model of {columns:,} features and {outputs:,} outputs takes some "
            f"{size_text(needed)} to fit, more than {size_text(_MOST_BYTES)}."
        )


def _choose(
    features: Matrix, truth: np.ndarray, target: Target, groups: Sequence[str]
) -> tuple[float, str]:
    """The best strength by cross-validation, or the middle one where that is no option."""
    middle = _STRENGTHS[len(_STRENGTHS) // 2]
    if min(target.rows_of_rarest(truth), len(set(groups)) or FOLDS) < FOLDS:
        return middle, "the default: too few rows to cross-validate"
    if features.nnz * target.num_outputs > _BUDGET:
        return middle, "the default: too many rows to cross-validate quickly"
    folds = target.folds_of(truth, FOLDS, 0, groups)
    scores = cross_validated(features, truth, target, _STRENGTHS, folds)
    best = best_strength(scores, target)
    return _STRENGTHS[best], f"chosen by {FOLDS}-fold cross-validation"


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

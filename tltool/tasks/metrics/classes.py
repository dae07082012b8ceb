"""Metrics of a classifier that gives one of several classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from tltool.support.errors import EvaluationError
from tltool.tasks.best_classes import MANY_CLASSES, best_classes
from tltool.tasks.metrics.common import check_rows, mean, wilson_interval

CALIBRATION_BINS = 15  # as in Guo et al. 2017, section 3
_TOO_MANY = f"not computed for more than {MANY_CLASSES:,} classes"
_SUM_TOLERANCE = 1e-2  # half-precision probabilities do not add up to 1 exactly


def classification_metrics(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> dict[str, Any]:
    """Everything the reports say about a classifier.

    The predicted class is the one of highest probability, the first of equals.
    A class without test rows has no recall and is left out of the macro
    averages; one that has rows but is never predicted counts with precision 0.

    Args:
        probabilities: (n, classes), each row adding up to 1, or `best_classes` of them.
        targets: (n,) class numbers.
        labels: Class names in the order of the columns, at least two.

    Returns:
        `n`, `labels`, `accuracy` with `accuracy_interval` (95 %, Wilson),
        `macro_…` and `weighted_…` `precision`, `recall` and `f1`, `roc_auc`
        and `pr_auc` (area by average precision; means over classes against
        the rest) with `…_note` saying why where they are None,
        `calibration_error` and `calibration_error_by_chance` (what so many
        rows show of confidences that are right), `log_loss` (nats),
        `per_class` (rows with `label`,
        `precision`, `recall`, `f1`, `support`, `predicted`),
        `classes_without_rows`, `confusion_matrix` (rows: true, columns:
        predicted; None with more than `MANY_CLASSES`, as the areas are then)
        and `confusions` (the same off the diagonal, worst first).

    Raises:
        EvaluationError: No rows, shapes or class numbers that do not fit, or
            rows that are not probabilities.
    """
    outputs = np.asarray(probabilities)
    if outputs.dtype.names is None:
        outputs, targets = _checked(outputs, targets, labels)
        many = len(labels) > MANY_CLASSES
        outputs = best_classes(outputs, targets) if many else outputs
    if outputs.dtype.names:
        targets = _class_numbers(np.asarray(targets), labels)
        predicted, confidence = outputs["classes"][:, 0], outputs["probabilities"][:, 0]
        likely, areas, matrix = outputs["likely"], _no_areas(_TOO_MANY), None
        check_rows(confidence, targets)
    else:
        predicted, confidence = outputs.argmax(axis=1), outputs.max(axis=1)
        likely = outputs[np.arange(len(targets)), targets]
        areas = _areas(outputs, targets, labels)
        matrix = sk.confusion_matrix(targets, predicted, labels=np.arange(len(labels))).tolist()
    hits = predicted == targets
    correct, n = int(hits.sum()), len(targets)
    least = np.finfo(np.float64).eps
    per_class = _per_class(targets, predicted, labels)
    present = [row for row in per_class if row["support"]]
    return {
        "n": n,
        "labels": list(labels),
        "accuracy": correct / n,
        "accuracy_interval": list(wilson_interval(correct, n)),
        **{f"macro_{key}": mean([row[key] for row in present]) for key in _SCORES},
        **{f"weighted_{key}": _weighted(present, key) for key in _SCORES},
        **areas,
        "calibration_error": binned_gap(confidence, hits),
        "calibration_error_by_chance": gap_by_chance(confidence),
        "log_loss": float(-np.log(np.clip(likely, least, 1 - least, dtype=np.float64)).mean()),
        "per_class": per_class,
        "classes_without_rows": [row["label"] for row in per_class if not row["support"]],
        "confusion_matrix": matrix,
        "confusions": _confusions(targets, predicted, labels),
    }


def calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence and accuracy, in 0..1.

    15 bins of equal width (lower bound excluded, upper bound included), each
    weighted by its rows: Guo et al. 2017 (arXiv:1706.04599), equation 3.
    """
    return binned_gap(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)


def binned_gap(confidence: np.ndarray, correct: np.ndarray) -> float:
    """As `calibration_error`, of confidences (n,) and whether each was right (n,)."""
    return _gap(_bins(confidence), correct - confidence)


def _bins(confidence: np.ndarray) -> np.ndarray:
    edges = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)[1:-1]
    return np.digitize(confidence, edges, right=True)


def _gap(bins: np.ndarray, excess: np.ndarray) -> float:
    gaps = np.bincount(bins, weights=excess, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(bins))


def gap_by_chance(confidence: np.ndarray) -> float:
    """The calibration error that is expected of confidences (n,) that are right.

    A bin of few rows is never as often right as its confidence says, so the error of a small split
    is well above 0 for any model. Mean over draws of which rows are right, each with its
    confidence: consistency resampling, Bröcker and Smith 2007 (doi:10.1175/WAF993.1).
    """
    draws, bins = np.random.default_rng(0), _bins(confidence)
    found = [_gap(bins, (draws.random(len(bins), np.float32) < confidence) - confidence)
             for _ in range(_CHANCE_DRAWS)]  # fmt: skip
    return float(np.mean(found))


_SCORES = ("precision", "recall", "f1")
_CHANCE_DRAWS = 200


def _checked(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The arguments as float64 rows that add up to 1 and int64 class numbers."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    targets = np.asarray(targets)
    if len(labels) < 2 or probabilities.ndim != 2 or probabilities.shape[1] != len(labels):
        raise EvaluationError(
            f"Probabilities of shape (n, {len(labels)}), one column for each of at least "
            f"2 classes, are needed. Received: {probabilities.shape}."
        )
    check_rows(probabilities, targets)
    targets = _class_numbers(targets, labels)
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        raise EvaluationError(
            "Each row must hold probabilities that add up to 1. Received: values from "
            f"{probabilities.min():.3g}, sums from {sums.min():.3g} to {sums.max():.3g}.",
            hint="apply the softmax first: Task.outputs(logits)",
        )
    return probabilities / sums[:, None], targets


def _class_numbers(targets: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Class numbers as int64 (n,), or EvaluationError where they are none."""
    if targets.ndim != 1:
        raise EvaluationError(f"One class number a row is needed. Received: {targets.shape}.")
    if targets.min() < 0 or targets.max() >= len(labels) or targets.dtype.kind not in "iu":
        raise EvaluationError(
            f"Targets must be class numbers in 0..{len(labels) - 1}. "
            f"Received: {targets.min()}..{targets.max()} ({targets.dtype})."
        )
    return targets.astype(np.int64)


def _per_class(
    targets: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    classes = np.arange(len(labels))
    columns = sk.precision_recall_fscore_support(
        targets, predicted, labels=classes, zero_division=0.0
    )
    predictions = np.bincount(predicted, minlength=len(labels))
    return [
        {
            "label": label,
            "precision": float(precision) if support or times else None,
            "recall": float(recall) if support else None,
            "f1": float(f1) if support else None,
            "support": int(support),
            "predicted": int(times),
        }
        for label, precision, recall, f1, support, times in zip(
            labels, *columns, predictions, strict=True
        )
    ]


def _weighted(rows: list[dict[str, Any]], key: str) -> float:
    total = sum(row["support"] for row in rows)
    return float(sum(row[key] * row["support"] for row in rows) / total)


def _areas(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]
) -> dict[str, float | str | None]:
    """`roc_auc` and `pr_auc`, class against the rest, averaged over the classes."""
    positives = np.bincount(targets, minlength=len(labels))
    absent = [label for label, count in zip(labels, positives, strict=True) if not count]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        note = f"undefined: no rows of class {absent[0]!r}{more}"
        return _no_areas(note)
    # Two complementary columns rank alike; one avoids ties made by rounding.
    columns = [1] if len(labels) == 2 else range(len(labels))
    roc = [sk.roc_auc_score(targets == i, probabilities[:, i]) for i in columns]
    pr = [sk.average_precision_score(targets == i, probabilities[:, i]) for i in range(len(labels))]
    return {"roc_auc": mean(roc), "roc_auc_note": None, "pr_auc": mean(pr), "pr_auc_note": None}


def _no_areas(note: str) -> dict[str, float | str | None]:
    return {"roc_auc": None, "roc_auc_note": note, "pr_auc": None, "pr_auc_note": note}


def _confusions(
    targets: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Pairs of classes taken for each other, with their count and share of the true one."""
    support = np.bincount(targets, minlength=len(labels))
    wrong = targets != predicted
    pairs = np.stack([targets[wrong], predicted[wrong]])
    found, counts = np.unique(pairs, axis=1, return_counts=True)
    cells = [
        {
            "true": labels[i],
            "predicted": labels[j],
            "count": number,
            "share": float(number / support[i]),
        }
        for (i, j), number in zip(found.T.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(cells, key=lambda cell: (-cell["count"], -cell["share"]))

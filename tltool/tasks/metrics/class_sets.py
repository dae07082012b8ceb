"""Metrics where a row can have several labels, or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tltool.support.errors import EvaluationError
from tltool.tasks.metrics.common import check_rows, mean, mean_interval, wilson_interval
from tltool.tasks.values import HALF, NO_LABEL

Array = np.ndarray[Any, Any]
_RESAMPLES = 200
_MOST_CELLS = 20_000_000  # Of resamples x rows that are held at once.
# Positive rows of a label from which on it gets a threshold of its own.
FEW_POSITIVES = 10


def class_set_metrics(
    probabilities: Array, truth: Array, labels: Sequence[str], thresholds: Sequence[float]
) -> dict[str, Any]:
    """Everything the reports say about a model that gives sets of labels.

    A label is given where its probability reaches its threshold. A label
    without rows has no recall and is left out of the macro averages.

    Args:
        probabilities: (n, labels), each in 0..1 by itself.
        truth: (n, labels), whether the row has the label.
        labels: Names in the order of the columns.
        thresholds: Of each label.

    Returns:
        `n`, `labels`, `mean_average_precision` (mean over labels of the area
        under the precision-recall curve by average precision), `macro_f1`,
        `micro_f1`, `macro_…` and `micro_…` `precision` and `recall`,
        `hamming_loss` (share of labels that are wrong), `exact_match` (share
        of rows without a wrong label), `…_interval` of each but precision and recall (95 %:
        percentiles of 200 bootstrap samples of the rows, Efron and Tibshirani
        1993; Wilson for `exact_match`; None where the value is), `thresholds`,
        `per_class` (rows with `label`, `threshold`, `precision`, `recall`,
        `f1`, `average_precision`, `support`,
        `predicted`), `classes_without_rows`, `missed` (of a label that was
        missed in rows that have another: `label`, `with`, `count`, `of`) and
        `added` (of a label that was given to rows of another), worst first.

    Raises:
        EvaluationError: No rows, shapes that do not fit, or values that are no probabilities.
    """
    probabilities, truth = _checked(probabilities, truth, labels)
    given = given_labels(probabilities, thresholds)
    ones = np.ones((1, len(truth)))
    point, spread = _Totals.of(truth, given, ones), _resamples(truth, given, probabilities)
    average = _average_precisions(probabilities, truth, ones)[0]
    present = truth.any(axis=0)
    per_class = _per_class(labels, thresholds, point, average, truth, given)
    exact = int((truth == given).all(axis=1).sum())
    wrong = (truth != given).mean(axis=1)
    micro = point.micro()
    return {
        "n": len(truth),
        "labels": list(labels),
        "mean_average_precision": _mean_of(average[present]),
        "mean_average_precision_interval": _interval(spread["mean_average_precision"]),
        "macro_f1": _mean_of([row["f1"] for row in per_class if row["support"]]),
        "macro_f1_interval": _interval(spread["macro_f1"]),
        "micro_f1": float(micro["f1"][0]),
        "micro_f1_interval": _interval(spread["micro_f1"]),
        **{
            f"macro_{key}": _mean_of([row[key] for row in per_class if row["support"]])
            for key in ("precision", "recall")
        },
        **{f"micro_{key}": float(micro[key][0]) for key in ("precision", "recall")},
        "exact_match": exact / len(truth),
        "exact_match_interval": list(wilson_interval(exact, len(truth))),
        "hamming_loss": mean(wrong.tolist()),
        "hamming_loss_interval": mean_interval(wrong),
        "thresholds": [float(value) for value in thresholds],
        "per_class": per_class,
        "classes_without_rows": [row["label"] for row in per_class if not row["support"]],
        "missed": list(_beside(labels, truth & ~given, truth, itself=False)),
        "added": list(_beside(labels, given & ~truth, truth, itself=True)),
    }


def given_labels(probabilities: Array, thresholds: Sequence[float]) -> Array:
    """Which labels are given, bool (n, labels): those whose probability reaches the threshold.

    Compared in float32, as exported models and apps do.
    """
    return np.asarray(np.float32(probabilities) >= np.float32(np.asarray(thresholds)))


def mean_average_precision(probabilities: Array, truth: Array) -> float | None:
    """The mean over the labels that have rows; None where none has."""
    if not np.any(truth):
        return None
    return float(mean_average_precisions(probabilities, truth, np.ones((1, len(truth))))[0])


def mean_average_precisions(probabilities: Array, truth: Array, counts: Array) -> Array:
    """The same of draws of the rows, (draws,); NaN where no label has rows.

    Args:
        probabilities, truth: (n, labels).
        counts: How often each row was drawn, (draws, n).
    """
    truth = np.asarray(truth, bool)
    true = counts @ truth
    return _over_present(
        _average_precisions(np.asarray(probabilities, np.float64), truth, counts), true
    )


def best_thresholds(probabilities: Array, truth: Array) -> list[float]:
    """For each label the threshold with the highest F1 on held-out rows.

    It lies halfway between two probabilities. A label with fewer than
    `FEW_POSITIVES` positive rows, whose best threshold would be chance, takes
    the one with which all labels together have the highest F1.

    Args:
        probabilities: (n, labels).
        truth: (n, labels), bool.
    """
    common = _best_cut(probabilities.ravel(), truth.ravel())
    return [
        _best_cut(probabilities[:, i], truth[:, i])
        if truth[:, i].sum() >= FEW_POSITIVES
        else common
        for i in range(truth.shape[1])
    ]


def _best_cut(probabilities: Array, truth: Array) -> float:
    if not truth.any():
        return HALF
    order = np.argsort(-probabilities, kind="stable")
    values, hits = probabilities[order], np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(values) + 1) + hits[-1])
    # Equal probabilities are given together: only the last of them can be a cut.
    cuts = np.append(values[1:] < values[:-1], True)
    best = int(np.argmax(np.where(cuts, f1, -1.0)))
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return _between(float(below), float(values[best]))


def _between(below: float, value: float) -> float:
    """About halfway, in so few digits that a program that spells it has the same number.

    Never so few that `below` would reach it in float32: then they are more.
    """
    middle = (below + value) / 2
    for digits in range(6, 10):
        found = float(f"{middle:.{digits}g}")
        if np.float32(below) < np.float32(found) <= np.float32(value):
            return found
    return value


class _Totals:
    """True positives, given and true counts of each label, (resamples, labels)."""

    def __init__(self, hits: Array, given: Array, true: Array) -> None:
        self.hits, self.given, self.true = hits, given, true

    @classmethod
    def of(cls, truth: Array, given: Array, counts: Array) -> _Totals:
        """Args: bool (n, labels) twice; how often each row counts, (resamples, n)."""
        both, given, truth = (np.asarray(x, np.float64) for x in (truth & given, given, truth))
        return cls(counts @ both, counts @ given, counts @ truth)

    def scores(self) -> dict[str, Array]:
        return _scores(self.hits, self.given, self.true)

    def micro(self) -> dict[str, Array]:
        return _scores(self.hits.sum(1), self.given.sum(1), self.true.sum(1))


def _scores(hits: Array, given: Array, true: Array) -> dict[str, Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "precision": np.where(given > 0, hits / given, 0.0),
            "recall": np.where(true > 0, hits / true, 0.0),
            "f1": np.where(given + true > 0, 2 * hits / (given + true), 0.0),
        }


def _per_class(
    labels: Sequence[str],
    thresholds: Sequence[float],
    totals: _Totals,
    average: Array,
    truth: Array,
    given: Array,
) -> list[dict[str, Any]]:
    scores = {key: values[0] for key, values in totals.scores().items()}
    support, predicted = truth.sum(axis=0), given.sum(axis=0)
    return [
        {
            "label": label,
            "threshold": float(thresholds[i]),
            "precision": float(scores["precision"][i]) if support[i] or predicted[i] else None,
            "recall": float(scores["recall"][i]) if support[i] else None,
            "f1": float(scores["f1"][i]) if support[i] else None,
            "average_precision": float(average[i]) if support[i] else None,
            "support": int(support[i]),
            "predicted": int(predicted[i]),
        }
        for i, label in enumerate(labels)
    ]


def _average_precisions(probabilities: Array, truth: Array, counts: Array) -> Array:
    """Average precision of each label, (resamples, labels); NaN where a label has no rows.

    The sum over distinct probabilities of the step in recall times the
    precision there, as scikit-learn's `average_precision_score`.
    """
    found = np.empty((len(counts), truth.shape[1]))
    for i in range(truth.shape[1]):
        order = np.argsort(-probabilities[:, i], kind="stable")
        values = probabilities[order, i]
        last = np.append(values[1:] < values[:-1], True)  # of equal probabilities
        chosen = counts[:, order]
        given = np.cumsum(chosen, axis=1)[:, last]
        hits = np.cumsum(chosen * truth[order, i], axis=1)[:, last]
        steps = np.diff(hits, axis=1, prepend=0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(given > 0, hits / given, 0.0)
            found[:, i] = (steps * precision).sum(axis=1) / hits[:, -1]
    return found


def _resamples(truth: Array, given: Array, probabilities: Array) -> dict[str, Array]:
    """The scores of bootstrap samples of the rows, one value each."""
    rng, rows = np.random.default_rng(0), len(truth)
    parts: dict[str, list[Array]] = {}
    step = max(1, _MOST_CELLS // rows)
    for start in range(0, _RESAMPLES, step):
        size = min(step, _RESAMPLES - start)
        counts = rng.multinomial(rows, np.full(rows, 1 / rows), size).astype(np.float64)
        totals = _Totals.of(truth, given, counts)
        for key, values in {
            "mean_average_precision": _over_present(
                _average_precisions(probabilities, truth, counts), totals.true
            ),
            "macro_f1": _over_present(totals.scores()["f1"], totals.true),
            "micro_f1": totals.micro()["f1"],
        }.items():
            parts.setdefault(key, []).append(values)
    return {key: np.concatenate(values) for key, values in parts.items()}


def _over_present(scores: Array, true: Array) -> Array:
    """Means over the labels that a resample has rows of; NaN where it has none of any."""
    present = true > 0
    total, labels = np.where(present, scores, 0.0).sum(axis=1), present.sum(axis=1)
    return np.divide(total, labels, out=np.full(len(total), np.nan), where=labels > 0)


def _interval(values: Array) -> list[float] | None:
    """Of the resamples that have a value; None where none has."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return [float(low), float(high)]


def _beside(
    labels: Sequence[str], wrong: Array, truth: Array, *, itself: bool
) -> Iterator[dict[str, Any]]:
    """Where a label was wrong, by another label that those rows have; the most rows first.

    Args:
        labels: Names.
        wrong: Where each label was missed, or given wrongly.
        truth: Labels of the rows.
        itself: Whether `of` counts all rows of the other label, or those that have both.
    """
    none = ~truth.any(axis=1, keepdims=True)
    others = np.concatenate([truth, none], axis=1)
    # Numbers, not bool: `@` of two bool arrays says whether there is any, not how many.
    counts = wrong.T.astype(np.int64) @ others
    both = truth.T.astype(np.int64) @ others
    of = np.broadcast_to(others.sum(axis=0), counts.shape) if itself else both
    names = [*labels, NO_LABEL]
    cells = [
        {
            "label": labels[i],
            "with": names[j],
            "count": int(counts[i, j]),
            "of": int(of[i, j]),
        }
        for i, j in np.argwhere(counts)
        if i != j
    ]
    yield from sorted(cells, key=lambda cell: (-cell["count"], -cell["count"] / cell["of"]))


def _checked(probabilities: Array, truth: Array, labels: Sequence[str]) -> tuple[Array, Array]:
    probabilities, truth = np.asarray(probabilities, np.float64), np.asarray(truth)
    if probabilities.ndim != 2 or probabilities.shape != (len(truth), len(labels)):
        raise EvaluationError(
            f"Probabilities of shape ({len(truth)}, {len(labels)}), one column for each label, are "
            f"needed. Received: {probabilities.shape}."
        )
    if truth.shape != probabilities.shape:
        raise EvaluationError(
            f"Targets of shape {probabilities.shape} are needed. Received: {truth.shape}."
        )
    check_rows(probabilities, truth)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise EvaluationError(
            "Probabilities must be in 0..1. Received: values from "
            f"{probabilities.min():.3g} to {probabilities.max():.3g}.",
            hint="apply the sigmoid first: Task.outputs(logits)",
        )
    return probabilities, truth.astype(bool)


def _mean_of(values: Any) -> float | None:
    return mean(values) if len(values) else None

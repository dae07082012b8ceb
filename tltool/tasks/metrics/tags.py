"""Metrics of tags: of entities as seqeval measures them, or of words by class.

Entities: Nakayama 2018, seqeval (https://github.com/chakki-works/seqeval), whose
figures these are, in its default and its strict mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tltool.support.errors import EvaluationError
from tltool.tasks.metrics.common import mean, wilson_interval
from tltool.tasks.tags.schemes import Entity, entities_of

ERRORS = ("missed", "invented", "wrong_type", "wrong_border", "wrong_type_and_border")
"""Kinds of mistakes with entities."""
_SAMPLES = 1000
Rows = Sequence[Sequence[str]]


def entity_metrics(truth: Rows, predicted: Rows, types: Sequence[str]) -> dict[str, Any]:
    """Everything the reports say about entities.

    Args:
        truth, predicted: The IOB2 tags of each row's words.
        types: Of entities.

    Returns:
        `n` (rows), `words`, `entities`; `f1` with `f1_interval` (95 %, bootstrap over
        rows), `precision` and `recall` with `…_interval` (95 %, Wilson), `macro_f1`;
        `strict_…` for the first three; `accuracy` of words; `per_class` (rows
        with `label`, `precision`, `recall`, `f1`, `support`, `predicted`); and
        `errors`, how many there are of `ERRORS`. As in seqeval, what has no
        entities is 0.

    Raises:
        EvaluationError: No rows.
    """
    _check(truth, predicted)
    found = [
        (set(entities_of(t)), set(entities_of(p))) for t, p in zip(truth, predicted, strict=True)
    ]
    counts = np.array([(len(t & p), len(p), len(t)) for t, p in found])
    overall = scores(*counts.sum(axis=0).tolist())
    strict = [
        (set(entities_of(t, strict=True)), set(entities_of(p, strict=True)))
        for t, p in zip(truth, predicted, strict=True)
    ]
    hits, given, true = (sum(map(len, part)) for part in (
        (t & p for t, p in strict), (p for _, p in strict), (t for t, _ in strict)))  # fmt: skip
    per_type = [_of_type(kind, found) for kind in types]
    present = [row for row in per_type if row["support"]]
    errors = Counter(kind for t, p in found for kind, _ in mistakes(t, p))
    return {
        "n": len(truth),
        "words": sum(map(len, truth)),
        "entities": int(counts[:, 2].sum()),
        **overall,
        "f1_interval": f1_interval(counts),
        **_intervals(*counts.sum(axis=0).tolist()),
        "macro_f1": mean([row["f1"] for row in present]) if present else 0.0,
        **{f"strict_{key}": value for key, value in scores(hits, given, true).items()},
        "accuracy": _accuracy(truth, predicted),
        "per_class": per_type,
        "errors": {kind: errors[kind] for kind in ERRORS},
    }


def word_metrics(truth: Rows, predicted: Rows, labels: Sequence[str]) -> dict[str, Any]:
    """Everything the reports say about plain classes of words.

    Returns:
        As `entity_metrics`, without entities and errors: `f1`, `precision` and
        `recall` over all words together, which are the accuracy of words.

    Raises:
        EvaluationError: No rows.
    """
    _check(truth, predicted)
    pairs = Counter(
        pair for t, p in zip(truth, predicted, strict=True) for pair in zip(t, p, strict=True)
    )
    hits = Counter({label: pairs[label, label] for label in labels})
    support, given = Counter[str](), Counter[str]()
    for (true, other), number in pairs.items():
        support[true] += number
        given[other] += number
    rows = [
        {
            "label": label,
            **scores(hits[label], given[label], support[label]),
            "support": support[label],
            "predicted": given[label],
        }
        for label in labels
    ]
    f1 = [scores(hits[label], given[label], support[label])["f1"] for label in support]
    right, words = hits.total(), pairs.total()
    accuracy = right / words if words else 0.0
    interval = list(wilson_interval(right, words)) if words else None
    return {
        "n": len(truth),
        "words": words,
        **dict.fromkeys(("f1", "precision", "recall", "accuracy"), accuracy),
        **dict.fromkeys(("f1_interval", "accuracy_interval"), interval),
        "macro_f1": mean(f1) if f1 else 0.0,
        "per_class": rows,
    }


def scores(hits: int, given: int, true: int) -> dict[str, float]:
    """Precision, recall and F1 of counts; 0 where there is nothing to divide by."""
    precision = hits / given if given else 0.0
    recall = hits / true if true else 0.0
    both = precision + recall
    return {
        "f1": 2 * precision * recall / both if both else 0.0,
        "precision": precision,
        "recall": recall,
    }


def f1_interval(counts: np.ndarray) -> list[float] | None:
    """The 95 % interval of the F1 of entities, by 1,000 draws of as many rows; None for one row.

    Percentile bootstrap (Efron 1979), seeded.

    Args:
        counts: Of each row: entities found rightly, entities given, true entities (n, 3).
    """
    if len(counts) < 2:
        return None
    rng, n = np.random.default_rng(0), len(counts)
    totals = np.array([counts[rng.integers(0, n, n)].sum(axis=0) for _ in range(_SAMPLES)])
    return [float(value) for value in np.quantile(f1_of(totals), [0.025, 0.975])]


def f1_of(totals: np.ndarray) -> np.ndarray:
    """F1 of counts of what was found rightly, given and true, (n, 3); 0 where there is nothing."""
    values: np.ndarray = 2 * totals[:, 0] / np.maximum(totals[:, 1] + totals[:, 2], 1)
    return values


def mistakes(
    truth: set[Entity], predicted: set[Entity]
) -> list[tuple[str, tuple[Entity | None, Entity | None]]]:
    """What is wrong with one row's entities: the kind of each mistake and both entities.

    A true entity that is not found is paired with what was given in its place;
    what was given where there is none is invented.
    """
    left = sorted(predicted - truth)
    found: list[tuple[str, tuple[Entity | None, Entity | None]]] = []
    for entity in sorted(truth - predicted):
        near = [one for one in left if one.first < entity.end and entity.first < one.end]
        if not near:
            found.append(("missed", (entity, None)))
            continue
        # The same words first, then the same type.
        other = min(near, key=lambda one: (one[:2] != entity[:2], one.type != entity.type))
        left.remove(other)
        same_words, same_type = other[:2] == entity[:2], other.type == entity.type
        kind = (
            "wrong_type" if same_words else "wrong_border" if same_type else "wrong_type_and_border"
        )
        found.append((kind, (entity, other)))
    return [*found, *(("invented", (None, one)) for one in left)]


def _check(truth: Rows, predicted: Rows) -> None:
    if not len(truth) or len(truth) != len(predicted):
        raise EvaluationError(
            "As many predictions as rows are needed, at least one. "
            f"Received: {len(predicted)} and {len(truth)}."
        )


def _of_type(kind: str, found: Sequence[tuple[set[Entity], set[Entity]]]) -> dict[str, Any]:
    of_type = [
        ({one for one in t if one.type == kind}, {one for one in p if one.type == kind})
        for t, p in found
    ]
    hits = sum(len(t & p) for t, p in of_type)
    given, true = sum(len(p) for _, p in of_type), sum(len(t) for t, _ in of_type)
    return {"label": kind, **scores(hits, given, true), "support": true, "predicted": given}


def _intervals(hits: int, given: int, true: int) -> dict[str, Any]:
    return {
        "precision_interval": list(wilson_interval(hits, given)) if given else None,
        "recall_interval": list(wilson_interval(hits, true)) if true else None,
    }


def _accuracy(truth: Rows, predicted: Rows) -> float:
    same = sum(
        a == b for t, p in zip(truth, predicted, strict=True) for a, b in zip(t, p, strict=True)
    )
    words = sum(map(len, truth))
    return same / words if words else 0.0

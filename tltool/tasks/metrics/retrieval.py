"""How well like is found near: each row asks, all the others are what it may find.

A row of which nothing else is alike cannot find anything and is left out as a
query, but stays among what others find. Rows are compared in blocks, so that
memory does not grow with their square.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tltool.support.errors import EvaluationError
from tltool.tasks.metrics.common import check_rows, wilson_interval
from tltool.tasks.stratify import evenly_spaced

Array = np.ndarray[Any, Any]

NEAREST = (1, 5, 10)
"""The k of recall@k."""
MOST_QUERIES = 10_000
"""Rows that ask, evenly spaced over all; beyond these the scores no longer change much."""
# Similarities of a block, so some 100 MB with what is made of them.
_BLOCK = 1 << 22


def unit_rows(values: Array) -> Array:
    """Rows of length 1, float32; a row of zeros stays one."""
    values = np.asarray(values, np.float32)
    lengths = np.sqrt(np.sum(np.square(values), axis=-1, keepdims=True))
    scaled: Array = values / np.maximum(lengths, 1e-6)
    return scaled


def similarity_blocks(queries: Array, rows: Array) -> Iterator[tuple[slice, Array]]:
    """Cosines of unit rows (q, width) with others (n, width), some queries after the other.

    Yields:
        Which queries, and their cosines (some, n).
    """
    step = max(1, _BLOCK // max(1, len(rows)))
    for start in range(0, len(queries), step):
        part = slice(start, min(start + step, len(queries)))
        yield part, queries[part] @ rows.T


def retrieval_metrics(outputs: Array, classes: Array) -> dict[str, Any]:
    """Recall and mean average precision of each row's search among the others.

    Args:
        outputs: Embeddings (n, width).
        classes: Of each row (n,); equal ones are alike.

    Returns:
        `n`; `queries`, how many rows asked; `recall_at_1` with
        `recall_at_1_interval` (95 %, Wilson), `recall_at_5`, `recall_at_10`: the share
        of queries with one of their own among the nearest k (Jégou et al. 2011,
        section II-B); `map`: the mean of average precision over the whole ranking
        (Manning et al. 2008, section 8.4). All None where no row can ask.

    Raises:
        EvaluationError: No rows, different lengths, or values that are not finite.
    """
    outputs, classes = np.asarray(outputs, np.float32), np.asarray(classes)
    check_rows(outputs, classes)
    _check_vectors(outputs)
    asking = _asking(classes)
    found = _scores(_among_rows(outputs, classes, asking), len(asking))
    return {"n": len(outputs), "queries": len(asking), **found}


def pair_metrics(outputs: Array, truth: Array) -> dict[str, Any]:
    """Recall, mean reciprocal rank and average precision of each anchor's search for its positives.

    What is searched are the positives of all rows, equal texts once.

    Args:
        outputs: Embeddings (n, width).
        truth: As `PairTarget.truth` gives it, (n, 5).

    Returns:
        As `retrieval_metrics`; `candidates`, how many texts were searched; and `mrr`, the mean of
        1 / the rank of the first of an anchor's own.

    Raises:
        EvaluationError: As for `retrieval_metrics`.
    """
    outputs, truth = np.asarray(outputs, np.float32), np.asarray(truth)
    check_rows(outputs, truth)
    _check_vectors(outputs)
    asking, searched, own = _pairs(truth)
    found = _scores(_among_positives(outputs, truth, asking, searched, own), len(asking), mrr=True)
    return {"n": len(outputs), "queries": len(asking), "candidates": len(searched), **found}


def nearest_is_alike(outputs: Array, classes: Array) -> Array:
    """Of each row that can ask, whether the nearest other is of its class, bool (queries,).

    Args:
        outputs, classes: As for `retrieval_metrics`.
    """
    asking = _asking(classes)
    found = _among_rows(np.asarray(outputs, np.float32), np.asarray(classes), asking)
    return _places(found, len(asking))[0] == 0


def nearest_is_own(outputs: Array, truth: Array) -> Array:
    """Of each anchor, whether the nearest positive is one of its own, bool (queries,).

    Args:
        outputs, truth: As for `pair_metrics`.
    """
    outputs, truth = np.asarray(outputs, np.float32), np.asarray(truth)
    asking, searched, own = _pairs(truth)
    found = _among_positives(outputs, truth, asking, searched, own)
    return _places(found, len(asking))[0] == 0


def cosines_of(outputs: Array, truth: Array) -> tuple[Array, Array, Array]:
    """Of each pair the place of its first text, the cosine of both and their number, (pairs,)."""
    rows, values = unit_rows(outputs), np.asarray(truth)
    first, second = (np.flatnonzero(values[:, 1] == role) for role in (0, 1))
    _, one, two = np.intersect1d(values[first, 0], values[second, 0], return_indices=True)
    places = first[one]
    cosines = np.einsum("ij,ij->i", rows[places], rows[second[two]])
    return places, cosines, values[places, 4]


def _check_vectors(outputs: Array) -> None:
    if outputs.ndim != 2:
        raise EvaluationError(f"Embeddings (n, width) are needed. Received: {outputs.shape}.")


Search = Iterator[tuple[slice, Array, Array]]
"""Some of the queries, their cosines (some, n), and which of these are alike; a query's own row
has the cosine -inf."""


def _places(search: Search, queries: int) -> tuple[Array, Array]:
    """Of each query the rank of the first that is alike, from 0, and the average precision."""
    ranks, precisions = np.zeros(queries, np.int64), np.zeros(queries)
    for part, cosines, alike in search:
        ranks[part], precisions[part] = _ranked(cosines, alike)
    return ranks, precisions


def _scores(search: Search, queries: int, *, mrr: bool = False) -> dict[str, Any]:
    ranks, precisions = _places(search, queries)
    within = {k: int(np.sum(ranks < k)) for k in NEAREST}
    recalls = {f"recall_at_{k}": within[k] / queries if queries else None for k in NEAREST}
    interval = list(wilson_interval(within[1], queries)) if queries else None
    return {
        **recalls,
        "recall_at_1_interval": interval,
        **({"mrr": float(np.mean(1 / (ranks + 1))) if queries else None} if mrr else {}),
        "map": float(precisions.mean()) if queries else None,
    }


def _asking(classes: Array) -> Array:
    """Rows of `askers`, `MOST_QUERIES` of them at most."""
    asking = askers(classes)
    return asking[evenly_spaced(len(asking), MOST_QUERIES)]


def _among_rows(outputs: Array, classes: Array, asking: Array) -> Search:
    """The search of rows among all others, of which those of a class are alike."""
    rows = unit_rows(outputs)
    for part, cosines in similarity_blocks(rows[asking], rows):
        alike = classes[asking[part]][:, None] == classes[None, :]
        itself = np.arange(len(cosines)), asking[part]
        cosines[itself], alike[itself] = -np.inf, False
        yield part, cosines, alike


def _pairs(truth: Array) -> tuple[Array, Array, list[list[int]]]:
    """Rows of anchors and of positives, each text once, and the places of each anchor's own."""
    role, text, anchor = truth[:, 1], truth[:, 2], truth[:, 3]
    positives = np.flatnonzero(role == 1)
    different, first, inverse = np.unique(text[positives], return_index=True, return_inverse=True)
    own: dict[Any, set[int]] = {}
    for asked, place in zip(anchor[positives].tolist(), inverse.reshape(-1).tolist(), strict=True):
        if different[place] != asked:
            own.setdefault(asked, set()).add(place)
    anchors = np.flatnonzero(role == 0)
    asking = np.sort(anchors[np.unique(text[anchors], return_index=True)[1]])
    asking = np.array([row for row in asking if text[row] in own], np.int64)
    asking = asking[evenly_spaced(len(asking), MOST_QUERIES)]
    return asking, positives[first], [sorted(own[text[row]]) for row in asking]


def _among_positives(
    outputs: Array, truth: Array, asking: Array, searched: Array, own: list[list[int]]
) -> Search:
    """The search of anchors among positives, of which their own are alike."""
    rows, text = unit_rows(outputs), truth[:, 2]
    for part, cosines in similarity_blocks(rows[asking], rows[searched]):
        alike = np.zeros(cosines.shape, bool)
        for query, places in enumerate(own[part]):
            alike[query, places] = True
        cosines[text[asking[part]][:, None] == text[searched][None, :]] = -np.inf
        yield part, cosines, alike


def askers(classes: Array) -> Array:
    """The rows (q,) that have another of their class."""
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    chosen: Array = np.flatnonzero(counts[inverse] > 1)
    return chosen


def _ranked(cosines: Array, alike: Array) -> tuple[Array, Array]:
    """Of each query the rank of the first that is alike, from 0, and the average precision."""
    order = np.argsort(-cosines, axis=1, kind="stable")
    alike = np.take_along_axis(alike, order, axis=1)
    first = alike.argmax(axis=1)
    places = np.arange(1, alike.shape[1] + 1)
    hits = np.cumsum(alike, axis=1, dtype=np.int32)
    averages = np.sum(alike * (hits / places), axis=1) / hits[:, -1]
    return first, averages


def nearest_wrong(outputs: Array, classes: Array) -> tuple[Array, Array]:
    """Of rows whose nearest other is of another class: row numbers, and how much nearer it is.

    Returns:
        Rows (m,), and the cosine with the nearest less that with the nearest of their
        own (m,), the largest first.
    """
    asking = _asking(classes)
    return _nearer(_among_rows(outputs, classes, asking), asking)


def nearest_other(outputs: Array, truth: Array) -> tuple[Array, Array]:
    """As `nearest_wrong`, of anchors whose nearest positive is none of their own.

    Args:
        outputs, truth: As for `pair_metrics`.
    """
    asking, searched, own = _pairs(truth)
    return _nearer(_among_positives(outputs, truth, asking, searched, own), asking)


def _nearer(search: Search, asking: Array) -> tuple[Array, Array]:
    nearer = np.zeros(len(asking), np.float32)
    for part, cosines, alike in search:
        own = np.where(alike, cosines, -np.inf).max(axis=1)
        nearer[part] = np.where(alike, -np.inf, cosines).max(axis=1) - own
    wrong = np.flatnonzero(nearer > 0)
    order = wrong[np.argsort(-nearer[wrong], kind="stable")]
    return asking[order], nearer[order]

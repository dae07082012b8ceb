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
    if outputs.ndim != 2:
        raise EvaluationError(f"Embeddings (n, width) are needed. Received: {outputs.shape}.")
    found: dict[str, Any] = {"n": len(outputs)}
    asking = askers(classes)
    asking = asking[evenly_spaced(len(asking), MOST_QUERIES)]
    ranks, precisions = np.zeros(len(asking), np.int64), np.zeros(len(asking))
    rows = unit_rows(outputs)
    for part, cosines in similarity_blocks(rows[asking], rows):
        ranks[part], precisions[part] = _ranked(cosines, asking[part], classes)
    queries = len(asking)
    within = {k: int(np.sum(ranks < k)) for k in NEAREST}
    recalls = {f"recall_at_{k}": within[k] / queries if queries else None for k in NEAREST}
    interval = list(wilson_interval(within[1], queries)) if queries else None
    return {
        **found,
        "queries": queries,
        **recalls,
        "recall_at_1_interval": interval,
        "map": float(precisions.mean()) if queries else None,
    }


def askers(classes: Array) -> Array:
    """The rows (q,) that have another of their class."""
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    chosen: Array = np.flatnonzero(counts[inverse] > 1)
    return chosen


def _ranked(cosines: Array, asking: Array, classes: Array) -> tuple[Array, Array]:
    """Of each query the rank of the first that is alike, from 0, and the average precision."""
    cosines[np.arange(len(asking)), asking] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :-1]
    alike = classes[order] == classes[asking][:, None]
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
    rows, asking = unit_rows(outputs), askers(classes)
    asking = asking[evenly_spaced(len(asking), MOST_QUERIES)]
    nearer = np.zeros(len(asking), np.float32)
    for part, cosines in similarity_blocks(rows[asking], rows):
        own = classes[asking[part]][:, None] == classes[None, :]
        own_cosines = np.where(own, cosines, -np.inf)
        own_cosines[np.arange(len(own)), asking[part]] = -np.inf
        other = np.where(own, -np.inf, cosines).max(axis=1)
        nearer[part] = other - own_cosines.max(axis=1)
    wrong = np.flatnonzero(nearer > 0)
    order = wrong[np.argsort(-nearer[wrong], kind="stable")]
    return asking[order], nearer[order]

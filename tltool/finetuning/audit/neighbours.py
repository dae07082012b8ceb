"""Rows that are nearly the same, and rows that are like no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tltool.data.checks.fingerprints import as_items, content_digests
from tltool.data.images.looks import HASH_BITS
from tltool.data.splits import tied_rows
from tltool.finetuning.audit.evidence import Evidence

Array = np.ndarray[Any, Any]

NEAREST = 10
"""Neighbours whose mean distance tells how far off a row is."""
_BLOCK = 512
_SHINGLE = 4
_FAR_OFF = 3.0
_PLAIN = 0.002  # contrast of less than a grey level


@dataclass(frozen=True)
class _Bounds:
    """From where on two rows are nearly the same: the surer one measure is, the less of the other.

    Of planted copies (cropped by 3 %, 90 % of the size, recompressed, 10 % brighter or darker) of
    sign_digits, 50 of 50 are within; of its other 280,000 pairs none is. Of 50 questions of
    banking77 with a word less, a word twice or a greeting 49 are; of 30 further pairs within that
    were looked at, 29 say the same (`benchmarks/data_audit.py`).

    Attributes:
        corners: Cosines, ascending, and the least likeness at each; straight lines between them,
            and below the first no row is near.
    """

    corners: tuple[tuple[float, float], ...]

    @property
    def least_cosine(self) -> float:
        """Below this no likeness is enough."""
        return self.corners[0][0]

    def near(self, cosine: Array, likeness: Array) -> Array:
        cosines, likenesses = zip(*self.corners, strict=True)
        enough = likeness >= np.interp(cosine, cosines, likenesses)
        found: Array = (cosine >= self.least_cosine) & enough
        return found


PICTURES = _Bounds(((0.0, 0.82), (0.7999, 0.82), (0.8, 0.78), (0.9699, 0.78), (0.97, 0.65)))
TEXTS = _Bounds(((0.75, 0.85), (0.93, 0.6), (0.9849, 0.6), (0.985, 0.3)))


@dataclass(frozen=True)
class Pair:
    """Two rows that are nearly the same.

    Attributes:
        one, other: Their numbers, the smaller one first.
        cosine: Of their features about the mean of all rows, -1..1.
        likeness: Share of equal bits of the hashes of pictures; of texts that of the runs of four
            characters that either has and both have (Jaccard index; Broder 1997, "On the
            resemblance and containment of documents"). 1 where the contents are equal.
    """

    one: int
    other: int
    cosine: float
    likeness: float


@dataclass(frozen=True)
class Neighbourhood:
    """How rows lie to each other.

    Attributes:
        pairs: Near duplicates, the most alike first.
        clusters: The number of each row's set of near duplicates and rows that are tied, (n,).
        nearest: The rows next to each, the nearest first, int64 (n, k).
        distance: Mean distance (1 - cosine) to these, float64 (n,).
        outliers: Numbers of the rows that are far from all others, the farthest first.
    """

    pairs: Sequence[Pair]
    clusters: Array
    nearest: Array
    distance: Array
    outliers: Array


def neighbourhood(evidence: Evidence) -> Neighbourhood:
    """Near duplicates and outliers of the rows.

    Equal contents are pairs in any case; of them only the first is compared with other rows.
    An outlier is one whose distance to its ten nearest neighbours is above the upper quartile by
    more than three times the interquartile range, of the logarithm (Tukey 1977, "far out").
    """
    digests = as_items(content_digests(evidence.examples))
    first, content = np.unique(digests, return_index=True, return_inverse=True)[1:]
    copies = [
        Pair(int(first[content[row]]), row, 1.0, 1.0)
        for row in range(len(evidence))
        if first[content[row]] != row
    ]
    firsts = np.sort(first)
    unit = _unit(evidence.features)
    likeness = _likeness(evidence)
    bounds = TEXTS if evidence.seen is None else PICTURES
    pairs: list[Pair] = []
    nearest = np.empty((len(unit), min(NEAREST, max(1, len(unit) - 1))), np.int64)
    distance = np.empty(len(unit))
    is_first = np.isin(np.arange(len(unit)), firsts)
    for start, cosines in _blocks(unit):
        rows = np.arange(start, start + len(cosines))
        cosines[np.arange(len(rows)), rows] = -np.inf
        few = np.argpartition(-cosines, nearest.shape[1] - 1, axis=1)[:, : nearest.shape[1]]
        order = np.argsort(-np.take_along_axis(cosines, few, axis=1), axis=1)
        nearest[rows] = np.take_along_axis(few, order, axis=1)
        distance[rows] = 1 - np.take_along_axis(cosines, few, axis=1).mean(axis=1)
        pairs += _pairs_of(rows, cosines, likeness, bounds, is_first)
    pairs.sort(key=lambda pair: (-pair.likeness - pair.cosine, pair.one, pair.other))
    found = [*copies, *pairs]
    return Neighbourhood(found, clusters_of(evidence, found), nearest, distance, _far(distance))


def clusters_of(evidence: Evidence, pairs: Sequence[Pair]) -> Array:
    """The number of each row's set, where rows of a pair and rows that are tied are of one."""
    ties = tied_rows(evidence.examples)
    begins = np.array([ties[pair.one] for pair in pairs], np.int64)
    ends = np.array([ties[pair.other] for pair in pairs], np.int64)
    size = int(ties.max()) + 1
    links = coo_array((np.ones(len(begins), bool), (begins, ends)), (size, size))
    part: Array = connected_components(links, directed=False)[1][ties]
    return part


def _unit(features: Array) -> Array:
    """Features about their mean, of length 1: the mean is what all rows share."""
    centred = features - features.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: Array = centred / np.maximum(lengths, 1e-12)
    return unit.astype(np.float32)


def _blocks(unit: Array) -> Iterator[tuple[int, Array]]:
    for start in range(0, len(unit), _BLOCK):
        yield start, unit[start : start + _BLOCK] @ unit.T


Likeness = Callable[[Array, Array], Array]
"""From row numbers and a mask (rows, all) of pairs to their likeness; 0 for other pairs."""


def _pairs_of(
    rows: Array, cosines: Array, likeness: Likeness, bounds: _Bounds, is_first: Array
) -> list[Pair]:
    """The near duplicates of a block of rows among rows after them."""
    later = np.arange(cosines.shape[1])[None] > rows[:, None]
    wanted = later & is_first[None] & is_first[rows][:, None] & (cosines >= bounds.least_cosine)
    alike = likeness(rows, wanted)
    ones, others = np.nonzero(wanted & bounds.near(cosines, alike))
    values = zip(rows[ones], others, cosines[ones, others], alike[ones, others], strict=True)
    return [Pair(int(i), int(j), float(cosine), float(like)) for i, j, cosine, like in values]


def _likeness(evidence: Evidence) -> Likeness:
    """What tells how alike two rows are beside their features."""
    if evidence.seen is not None:
        signs = np.where(evidence.seen.hashes, 1, -1).astype(np.float32)
        # Nothing is known of a picture that is of one colour, or that could not be read.
        plain = ~evidence.seen.hashes.any(axis=1) | ~(evidence.seen.contrast > _PLAIN)
        signs[plain] = 0.0

        def of_pictures(rows: Array, _: Array) -> Array:
            return (signs[rows] @ signs.T / HASH_BITS + 1) / 2

        return of_pictures
    shingles = [_shingles(value) for value in evidence.examples.inputs]

    def of_texts(rows: Array, wanted: Array) -> Array:
        found = np.zeros(wanted.shape, np.float32)
        for i, j in zip(*np.nonzero(wanted), strict=True):
            found[i, j] = _jaccard(shingles[rows[i]], shingles[j])
        return found

    return of_texts


def _shingles(value: Any) -> frozenset[str]:
    """Runs of characters of a text, or of several together, without case and kinds of spaces."""
    texts = value if isinstance(value, tuple) else (value,)
    line = " ".join(" ".join(text.casefold().split()) for text in texts)
    padded = f" {line} "
    return frozenset(padded[i : i + _SHINGLE] for i in range(max(1, len(padded) - _SHINGLE + 1)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _far(distance: Array) -> Array:
    """Rows whose distance is far out, the farthest first."""
    logs = np.log(np.maximum(distance, 1e-6))
    low, high = np.quantile(logs, (0.25, 0.75))
    rows = np.flatnonzero(logs > high + _FAR_OFF * (high - low))
    found: Array = rows[np.argsort(-distance[rows], kind="stable")]
    return found

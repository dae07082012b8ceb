"""A sketch of rows: counts, means and covariances, from which no row can be had back.

A `Layout` says which bins values are counted in and which features of vectors are averaged; a
`Tally` holds counts and sums of some rows in such a layout. Tallies of different rows add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tltool.evaluation.drift.rows import Group, Rows
from tltool.tasks.stratify import evenly_spaced

Array = np.ndarray[Any, Any]

BINS = 20
"""Bins of about as many rows each that numbers are counted in."""
SLICES = 4
"""Parts by each fact, of about as many rows each, in which quality is looked at."""
DIRECTIONS = 16
"""Principal directions of vectors whose mean is compared."""
FREQUENCIES = 48
"""Random Fourier features come in pairs, a cosine and a sine of so many frequencies."""
# Rows whose distances give the kernel its width.
_MEDIAN_ROWS = 300


@dataclass(frozen=True)
class Column:
    """How the values of a column are counted.

    Attributes:
        group: What its drift is drift of.
        edges: Of numbers, ascending; bin i has those from edge i - 1 up to edge i.
        names: Of names.
        slices: Numbers of the bins at which parts begin, in which quality is looked at.
    """

    group: Group
    edges: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    slices: tuple[int, ...] = ()

    @classmethod
    def of(cls, group: Group, values: Array) -> Column:
        """Bins for numbers like these (n,), at least one."""
        edges = _edges(values, BINS)
        between = np.quantile(values, np.arange(1, SLICES) / SLICES, method="inverted_cdf")
        parts = np.unique(np.searchsorted(edges, between[between > edges[0]]) + 1)
        return cls(group, tuple(edges.tolist()), slices=tuple(parts.tolist()))

    @property
    def bins(self) -> int:
        """How many there are."""
        return len(self.names) or len(self.edges) + 1

    def bin_of(self, values: Array) -> Array:
        """The bin of each value, int64 (n,)."""
        if self.names:
            places = {name: place for place, name in enumerate(self.names)}
            return np.array([places[name] for name in values.tolist()], np.int64)
        return np.searchsorted(self.edges, values, side="right")


def _edges(values: Array, parts: int) -> Array:
    """Quantiles, and a little more than the largest value: beyond both ends are bins of their own.

    Equal quantiles, such as of a value that many rows have, are one edge; the next larger value
    is one more, so that this value has a bin.
    """
    marks = np.quantile(values, np.linspace(0, 1, parts + 1), method="inverted_cdf")
    edges, counts = np.unique(marks, return_counts=True)
    after = np.nextafter(edges[counts > 1], np.inf)
    return np.unique(np.concatenate([edges, after, [np.nextafter(edges[-1], np.inf)]]))


@dataclass(frozen=True)
class Features:
    """Which features of vectors (n, k) are averaged: principal directions, and random ones.

    Attributes:
        group: What its drift is drift of.
        centre: Mean of each number, float32 (k,).
        directions: float32 (k, directions).
        width: Of the Gaussian kernel that the random features stand for: the median distance.
    """

    group: Group
    centre: Array
    directions: Array
    width: float

    @classmethod
    def of(cls, group: Group, vectors: Array) -> Features:
        """Features for vectors like these, (n, k), n at least 2.

        Numbers of one vector have one unit, and are not divided by their own deviations: these rows
        would fit them better than any others, which the tests would take for drift.
        """
        centre = vectors.mean(0)
        centred = vectors - centre
        values, directions = np.linalg.eigh(centred.T @ centred)
        largest = directions[:, np.argsort(-values)[:DIRECTIONS]]
        some = centred[evenly_spaced(len(centred), _MEDIAN_ROWS)]
        squares = (some**2).sum(1)
        apart = squares[:, None] + squares[None] - 2 * some @ some.T
        median = float(np.sqrt(np.median(np.maximum(apart[np.triu_indices(len(some), 1)], 0.0))))
        return cls(
            group,
            centre.astype(np.float32),
            largest.astype(np.float32),
            median or 1.0,
        )

    @property
    def count(self) -> int:
        """How many features a row has."""
        return self.directions.shape[1] + 2 * FREQUENCIES

    def __call__(self, vectors: Array) -> Array:
        """The features, float64 (n, count): along the directions first, then the random ones."""
        centred = vectors - self.centre
        angles = centred @ _frequencies(len(self.centre)) / self.width
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.sqrt(FREQUENCIES)
        return np.concatenate([centred @ self.directions, waves], axis=1)


@lru_cache(maxsize=8)
def _frequencies(numbers: int) -> Array:
    # NumPy's old generator: its numbers are promised to stay (NEP 19).
    return np.random.RandomState(0).standard_normal((numbers, FREQUENCIES))


@dataclass(frozen=True)
class Tally:
    """Counts and sums of some rows; those of different rows add up.

    Attributes:
        rows: How many.
        counts: Rows in each bin of each column, int64 (bins,).
        sums: Of the values of each column of numbers.
        means: Of each vector: sums of its features and of their products, (k,) and (k, k).
        wrong: Labelled rows in each bin of each column and each bin of `Layout.wrong`, int64
            (bins, bins); empty where no labels are known.
        wrong_sums: How wrong the labelled rows in each bin of each column are, added up, (bins,).
    """

    rows: int
    counts: Mapping[str, Array]
    sums: Mapping[str, float]
    means: Mapping[str, tuple[Array, Array]]
    wrong: Mapping[str, Array]
    wrong_sums: Mapping[str, Array]

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows + other.rows,
            {name: self.counts[name] + other.counts[name] for name in self.counts},
            {name: self.sums[name] + other.sums[name] for name in self.sums},
            {
                name: (self.means[name][0] + other.means[name][0],
                       self.means[name][1] + other.means[name][1])
                for name in self.means
            },
            {name: self.wrong[name] + other.wrong[name] for name in self.wrong if other.wrong},
            {name: self.wrong_sums[name] + other.wrong_sums[name]
             for name in self.wrong_sums if other.wrong_sums},
        )  # fmt: skip

    def moments(self, name: str) -> tuple[Array, Array]:
        """Mean (k,) and scatter (k, k) around it, summed over the rows, of a vector's features."""
        total, products = self.means[name]
        return total / self.rows, products - np.outer(total, total) / self.rows


@dataclass(frozen=True)
class Layout:
    """What is counted and averaged of rows.

    Attributes:
        columns: By name.
        features: Of vectors, by name.
        wrong: How wrong answers can be, in bins; None where labels say nothing.
    """

    columns: Mapping[str, Column]
    features: Mapping[str, Features]
    wrong: Column | None

    @classmethod
    def of(cls, rows: Rows) -> Layout:
        """A layout for rows like these, two at least."""
        return cls(
            {
                name: Column(group, names=tuple(rows.names[name]))
                if name in rows.names
                else Column.of(group, values)
                for name, (group, values) in rows.columns.items()
            },
            {name: Features.of(*found) for name, found in rows.vectors.items()},
            None if rows.wrong is None else _bins_of_wrong(rows.wrong),
        )

    def tally(self, rows: Rows) -> Tally:
        """Counts and sums of rows."""
        bins = {name: one.bin_of(rows.columns[name][1]) for name, one in self.columns.items()}
        means = {}
        for name, features in self.features.items():
            values = features(rows.vectors[name][1])
            means[name] = values.sum(0), values.T @ values
        wrong = None if self.wrong is None else rows.wrong
        return Tally(
            len(rows),
            {name: np.bincount(bins[name], minlength=self.columns[name].bins) for name in bins},
            {
                name: float(rows.columns[name][1].sum())
                for name, one in self.columns.items()
                if not one.names
            },
            means,
            {} if wrong is None else self._tables(wrong, bins),
            {}
            if wrong is None
            else {
                name: np.bincount(bins[name], weights=wrong, minlength=column.bins)
                for name, column in self.columns.items()
            },
        )

    def _tables(self, wrong: Array, bins: Mapping[str, Array]) -> dict[str, Array]:
        """Rows in each bin of each column and of how wrong they are."""
        width = 0 if self.wrong is None else self.wrong.bins
        place = np.zeros(len(wrong), int) if self.wrong is None else self.wrong.bin_of(wrong)
        tables = {}
        for name, column in self.columns.items():
            cells = np.bincount(bins[name] * width + place, minlength=column.bins * width)
            tables[name] = cells.reshape(column.bins, width)
        return tables


def _bins_of_wrong(wrong: Array) -> Column:
    """Two bins where answers are right or wrong; else as numbers have."""
    if set(np.unique(wrong).tolist()) <= {0.0, 1.0}:
        return Column("predictions", (0.5,))
    return Column.of("predictions", wrong)


@dataclass(frozen=True)
class Sketch:
    """What held-out rows are like that a model was measured on.

    Attributes:
        layout: What is counted.
        reference: Counts and sums of these rows.
    """

    layout: Layout
    reference: Tally

    @classmethod
    def of(cls, rows: Rows) -> Sketch:
        """A sketch of rows, two at least."""
        layout = Layout.of(rows)
        return cls(layout, layout.tally(rows))

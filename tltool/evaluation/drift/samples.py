"""Tests of two samples of which only counts, means and covariances are left.

All p-values hold for rows that are drawn independently of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

DRAWS = 9999
"""Tables drawn for a p-value, which is 1 / (DRAWS + 1) at least."""
FIRST_DRAWS = 499
"""Fewer do where the p-value is plainly large (Besag and Clifford 1991)."""
# Of the first draws, at least as far off: p is above 0.05 then.
_ENOUGH = 25
_CELLS = 4_000_000
_ROWS_A_BIN = 20
# Two sums that are equal but for rounding are equal.
_TIE = 1e-9


def ordered_p(reference: Array, new: Array) -> float:
    """Whether two samples of numbers differ, of their counts in the same bins.

    The statistic is that of Anderson and Darling (Pettitt 1976) over the bins' edges, its
    distribution that of tables with the same margins (Patefield 1981): exact whatever the bins, for
    rows with equal values too.

    Args:
        reference, new: Rows in each bin, whole numbers (bins,), in the bins' order.
    """
    return _table_p(reference, new, _anderson_darling)


def named_p(reference: Array, new: Array) -> float:
    """Whether two samples of names differ, of the count of each name.

    Pearson's statistic, its distribution that of tables with the same margins: also good where
    most names are rare.

    Args:
        reference, new: Rows with each name, whole numbers (names,).
    """
    return _table_p(reference, new, _pearson)


def larger_p(reference: Array, new: Array) -> float:
    """Whether the numbers of the new sample are larger; as `stratified_larger_p` of one stratum."""
    return stratified_larger_p(reference[None], new[None])


def stratified_larger_p(reference: Array, new: Array) -> float:
    """Whether the numbers of the new sample are larger than those of the same stratum.

    The sum of the new rows' ranks within their strata (van Elteren 1960, without weights), its
    distribution that of tables with the same margins in each stratum. Where there are two bins this
    is the exact conditional test of Mantel and Haenszel (1959).

    Args:
        reference, new: Rows in each stratum and bin, whole numbers (strata, bins).
    """
    strata = [
        (old, young)
        for old, young in zip(reference, new, strict=True)
        if old.sum() and young.sum() and np.count_nonzero(old + young) > 1
    ]
    if reference.shape[1] == 2:
        return _exact_larger_p(strata)
    rng = np.random.default_rng(0)
    found, drawn = 0.0, np.zeros(DRAWS)
    for old, young in strata:
        total = old + young
        ranks = np.cumsum(total) - total / 2
        found += float(young @ ranks)
        drawn += _drawn(old, young, rng, DRAWS) @ ranks
    return _share(drawn, found)


def _exact_larger_p(strata: Sequence[tuple[Array, Array]]) -> float:
    """Of two bins: the sum of hypergeometric numbers is at least what was found."""
    from scipy.stats import hypergeom

    found, chances = 0, np.ones(1)
    for old, young in strata:
        total = old + young
        drawn = hypergeom(total.sum(), total[1], young.sum())
        chances = np.convolve(chances, drawn.pmf(np.arange(young.sum() + 1)))
        found += int(young[1])
    return float(min(1.0, chances[found:].sum()))


def _table_p(reference: Array, new: Array, statistic: Any) -> float:
    total = reference + new
    present = total > 0
    old, young = reference[present], new[present]
    if len(old) < 2 or not old.sum() or not young.sum():
        return 1.0
    rng, total = np.random.default_rng(0), old + young
    found = float(statistic(young[None], total)[0])
    first = statistic(_drawn(old, young, rng, FIRST_DRAWS), total)
    if _exceeding(first, found) >= _ENOUGH:
        return _share(first, found)
    others = statistic(_drawn(old, young, rng, DRAWS - FIRST_DRAWS), total)
    return _share(np.concatenate([first, others]), found)


def _drawn(old: Array, young: Array, rng: np.random.Generator, draws: int) -> Array:
    """What the new sample could be in tables of the same margins, (draws, bins)."""
    # The new sample's row of such a table is drawn without replacement from all rows together.
    total, step = old + young, max(1, _CELLS // len(old))
    # By shuffling all rows, or by one number a bin: the first is faster where bins are many.
    method: Any = "count" if total.sum() < _ROWS_A_BIN * len(total) else "marginals"
    parts = [
        rng.multivariate_hypergeometric(
            total, young.sum(), size=min(step, draws - start), method=method
        )
        for start in range(0, draws, step)
    ]
    return np.concatenate(parts)


def _share(drawn: Array, found: float) -> float:
    """The share of draws that are at least as far off, the found one among them."""
    return (1 + _exceeding(drawn, found)) / (len(drawn) + 1)


def _exceeding(drawn: Array, found: float) -> int:
    return int(np.count_nonzero(drawn >= found - _TIE * max(1.0, abs(found))))


def _anderson_darling(young: Array, total: Array) -> Array:
    below = np.cumsum(total)[:-1] / total.sum()
    gaps = np.cumsum(young, axis=1)[:, :-1] / young[0].sum() - below
    return np.asarray((gaps**2 / (below * (1 - below))).sum(axis=1))


def _pearson(young: Array, total: Array) -> Array:
    expected = total * (young[0].sum() / total.sum())
    return np.asarray(((young - expected) ** 2 / expected).sum(axis=1))


def mean_difference_p(difference: Array, covariance: Array, rows: tuple[int, int]) -> float:
    """Whether two samples have different means: Hotelling's T² (1931), exact for normal rows.

    Args:
        difference: Of the means, (k,).
        covariance: Pooled, of the rows, (k, k).
        rows: Of each sample.
    """
    from scipy.stats import f

    n, m = rows
    # What does not vary says nothing, and rounding makes anything of it.
    values, directions = np.linalg.eigh(covariance)
    kept = values > 1e-8 * max(values.max(initial=0.0), 1e-300)
    k = min(int(kept.sum()), n + m - 3)
    if k < 1:
        return 1.0
    along = (directions.T @ difference)[kept][-k:]
    t2 = float((along**2 / values[kept][-k:]).sum() * n * m / (n + m))
    freedom = n + m - 2
    return float(f.sf(t2 * (freedom - k + 1) / (freedom * k), k, freedom - k + 1))


def discrepancy_p(difference: Array, covariance: Array, rows: tuple[int, int]) -> float:
    """Whether two samples differ at all, of the means of their random Fourier features.

    The squared distance of the means is the maximum mean discrepancy (Gretton et al. 2012) of the
    kernel that the features stand for (Rahimi and Recht 2007). Features are bounded, so that means
    are normal, and the distance a weighted sum of chi-squares, whose tail is that of Liu, Tang and
    Zhang (2009).

    Args:
        difference: Of the means of the features, (k,).
        covariance: Pooled, of the rows' features, (k, k).
        rows: Of each sample.
    """
    n, m = rows
    return _weighted_chi2_tail(float(difference @ difference), covariance * (1 / n + 1 / m))


def _weighted_chi2_tail(value: float, covariance: Array) -> float:
    """The probability that a normal vector's squared length is at least `value`."""
    from scipy.stats import chi2, ncx2

    squared = covariance @ covariance
    c1, c2 = np.trace(covariance), np.trace(squared)
    if c2 <= 0:
        return 1.0
    c3, c4 = (squared * covariance.T).sum(), (squared * squared.T).sum()
    s1, s2 = c3 / c2**1.5, c4 / c2**2
    shift = 0.0
    if s1**2 > s2:
        a = 1 / (s1 - np.sqrt(s1**2 - s2))
        shift = max(0.0, s1 * a**3 - a**2)
    else:
        a = 1 / s1
    freedom = a**2 - 2 * shift
    point = (value - c1) / np.sqrt(2 * c2) * np.sqrt(2) * a + freedom + shift
    return float(ncx2.sf(point, freedom, shift) if shift > 0 else chi2.sf(point, freedom))


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that all together err as one (Holm 1979)."""
    order = np.argsort(values, kind="stable")
    corrected, largest = [1.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected

"""On which rows a model is worse: by what they have in common, as it is told and as it is found.

A difference is reported as one where it is more than chance over all slices that were looked at
(Benjamini and Hochberg 1995, at 5 %). Slices that are found are grown on one half of the rows and
measured on the other, so that none is told for what it was chosen by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from tltool.tasks.metrics.common import Z95, sign_test_p, wilson_interval
from tltool.tasks.reports import Score
from tltool.tasks.target import Target

Array = np.ndarray[Any, Any]

FEWEST = 10
"""Rows of a slice that is told of."""
MOST_VALUES = 20
"""Of a column; the rows of rarer ones are not told of."""
LEVEL = 0.05
_PARTS = 4
_SEED = 0
_FEWEST_TO_SEARCH = 60
_DEPTH = 3
# A split that means nothing lowers the sum of squares by the variance times a chi-squared of one
# degree of freedom, which is above this in one of 1,000.
_WORTH = 10.83


@dataclass(frozen=True)
class Slice:
    """Rows that have something in common, and how wrong the model is on them.

    Attributes:
        name: What they have in common, such as "brightness below 0.31".
        rows: Their numbers.
        value: Mean error of them; see `Target.row_errors`. Of a comparison how much larger it is
            than the other model's.
        interval: 95 % of it; None for one row.
        rest: The same of all other rows; None where there are none.
        p: How likely chance alone gives such a difference from the rest, or from the other model.
        stands_out: Whether that is below 5 % after the correction for many slices, and worse.
        found: Whether the slice was found, and is measured on rows it was not found by.
    """

    name: str
    rows: Array = field(repr=False, compare=False)
    value: float
    interval: tuple[float, float] | None
    rest: float | None
    p: float
    stands_out: bool = False
    found: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON values, the rows as their number."""
        return {
            "slice": self.name,
            "rows": len(self.rows),
            "value": self.value,
            "interval": self.interval and list(self.interval),
            "rest": self.rest,
            "p": self.p,
            "stands_out": self.stands_out,
            "found": self.found,
        }


@dataclass(frozen=True)
class Slices:
    """Slices, the worst first, and what their value is.

    Attributes:
        score: What the mean error is.
        whole: That of all rows.
        told: Slices by columns and facts.
        found: Slices that a tree found and that stand out, but those that are told anyway.
    """

    score: Score
    whole: float
    told: tuple[Slice, ...]
    found: tuple[Slice, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        slices = [one.to_json() for one in (*self.found, *self.told)]
        return {"measure": self.score.title, "whole": self.whole, "slices": slices}


def slices_of(
    outputs: Array,
    truth: Array,
    target: Target,
    numbers: Mapping[str, Array],
    names: Mapping[str, Sequence[str]],
    *,
    others: Array | None = None,
) -> Slices | None:
    """How wrong a model is on slices of its rows; None where rows are not judged one by one.

    Args:
        outputs: Of n rows, as `Target.kept` gives them.
        truth: Of the rows.
        target: Measures.
        numbers: Facts of rows, float64 (n,), NaN where unknown: four parts of as many rows each.
        names: Other facts: a slice for each of the most frequent values, the empty one too.
        others: What another model says of the same rows, which errors are compared with.
    """
    judged = target.row_errors(outputs, truth)
    if judged is None or not len(judged[1]):
        return None
    score, errors = judged
    compared = others is not None
    if others is not None:
        before = target.row_errors(others, truth)
        if before is None:
            return None
        errors = errors - before[1]
    told = [
        _measured(name, rows, errors, np.arange(len(errors)), paired=compared)
        for name, rows in _parts(numbers, names)
    ]
    found = _search(errors, numbers, names, paired=compared)
    whole = float(errors.mean())
    known = {one.name for one in told}
    new = (one for one in _sorted(found) if one.stands_out and one.name not in known)
    return Slices(score, whole, _sorted(told), tuple(new))


def _sorted(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    """The worst first, and which of them stand out."""
    if not slices:
        return ()
    corrected = stats.false_discovery_control([one.p for one in slices])
    judged = [
        replace(one, stands_out=bool(p < LEVEL and one.value > (one.rest or 0.0)))
        for one, p in zip(slices, corrected, strict=True)
    ]
    return tuple(sorted(judged, key=lambda one: (not one.stands_out, -one.value)))


def _parts(
    numbers: Mapping[str, Array], names: Mapping[str, Sequence[str]]
) -> list[tuple[str, Array]]:
    """Slices by each fact alone: their names, and which rows they have, bool (n,)."""
    parts: list[tuple[str, Array]] = []
    for name, values in numbers.items():
        parts += _quarters(name, np.asarray(values, np.float64))
    for name, column in names.items():
        values, counts = np.unique(np.asarray(column, object).astype(str), return_counts=True)
        frequent = values[np.argsort(-counts, kind="stable")][:MOST_VALUES]
        texts = np.asarray(column, object).astype(str)
        parts += [(f"{name} is {value or 'empty'}", texts == value) for value in frequent]
    return [(name, rows) for name, rows in parts if FEWEST <= rows.sum() < len(rows)]


def _quarters(name: str, values: Array) -> list[tuple[str, Array]]:
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _PARTS + 1)[1:-1]))
    edges = edges[(edges > known.min()) & (edges <= known.max())]
    bounds = [-np.inf, *edges.tolist(), np.inf]
    pairs = list(pairwise(bounds)) if len(edges) else []
    return [(_between(name, low, high), (values >= low) & (values < high)) for low, high in pairs]


def _between(name: str, low: float, high: float) -> str:
    if math.isinf(low):
        return f"{name} below {high:.4g}"
    return f"{name} from {low:.4g}" + ("" if math.isinf(high) else f" to below {high:.4g}")


def _measured(
    name: str, inside: Array, errors: Array, numbers: Array, *, paired: bool, found: bool = False
) -> Slice:
    """A slice of rows `inside`, whose numbers among all rows are `numbers`."""
    own, rest = errors[inside], errors[~inside]
    value, outside = float(own.mean()), float(rest.mean()) if len(rest) else None
    p = _differing(own) if paired else _apart(own, rest)
    interval = _interval(own, paired=paired)
    rest_value = None if paired else outside
    return Slice(name, numbers[inside], value, interval, rest_value, p, found=found)


def _interval(errors: Array, *, paired: bool) -> tuple[float, float] | None:
    """95 % of a mean: of shares Wilson's, of others by the normal approximation."""
    if not paired and np.isin(errors, (0.0, 1.0)).all():
        return wilson_interval(int(errors.sum()), len(errors))
    if len(errors) < 2:
        return None
    half = Z95 * float(errors.std(ddof=1)) / math.sqrt(len(errors))
    mean = float(errors.mean())
    return (mean - half if paired else max(0.0, mean - half)), mean + half


def _apart(own: Array, rest: Array) -> float:
    """Whether rows are worse than others: Fisher's exact test, or the one of Mann and Whitney."""
    if not len(rest):
        return 1.0
    both = np.concatenate([own, rest])
    if np.isin(both, (0.0, 1.0)).all():
        table = [[part.sum(), len(part) - part.sum()] for part in (own, rest)]
        return float(stats.fisher_exact(table, alternative="greater").pvalue)
    if np.ptp(both) == 0:
        return 1.0
    return float(stats.mannwhitneyu(own, rest, alternative="greater").pvalue)


def _differing(changes: Array) -> float:
    """Whether more rows became worse than better: the sign test; of right and wrong, McNemar's."""
    return sign_test_p(int((changes > 0).sum()), int((changes < 0).sum()))


def _search(
    errors: Array,
    numbers: Mapping[str, Array],
    names: Mapping[str, Sequence[str]],
    *,
    paired: bool,
) -> list[Slice]:
    """Leaves of a small tree on one half of the rows, measured on the other half."""
    from sklearn.tree import DecisionTreeRegressor

    titles, table = _table(numbers, names)
    if len(errors) < _FEWEST_TO_SEARCH or not titles:
        return []
    order = np.random.default_rng(_SEED).permutation(len(errors))
    grown, held = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    least = max(FEWEST, len(grown) // 20)
    tree = DecisionTreeRegressor(
        max_depth=_DEPTH,
        min_samples_leaf=least,
        min_impurity_decrease=_WORTH * float(errors[grown].var()) / len(grown),
        random_state=_SEED,
    )
    tree.fit(table[grown], errors[grown])
    leaves, reached = tree.apply(table[held]), np.unique(tree.apply(table[grown]))
    found = []
    for leaf in reached.tolist():
        name, inside = _way(tree.tree_, leaf, titles), leaves == leaf
        worse = tree.tree_.value[leaf].item() > errors[grown].mean()
        if name and worse and inside.sum() >= FEWEST:
            found.append(_measured(name, inside, errors[held], held, paired=paired, found=True))
    return found


def _table(
    numbers: Mapping[str, Array], names: Mapping[str, Sequence[str]]
) -> tuple[list[tuple[str, str | None]], Array]:
    """Columns for a tree: numbers as they are, frequent names as 0 or 1."""
    titles: list[tuple[str, str | None]] = []
    columns: list[Array] = []
    for name, values in numbers.items():
        titles.append((name, None))
        columns.append(np.asarray(values, np.float64))
    for name, column in names.items():
        texts = np.asarray(column, object).astype(str)
        values, counts = np.unique(texts, return_counts=True)
        for value in values[np.argsort(-counts, kind="stable")][:MOST_VALUES]:
            titles.append((name, str(value)))
            columns.append((texts == value).astype(np.float64))
    return titles, np.stack(columns, axis=1) if columns else np.empty((0, 0))


def _way(tree: Any, leaf: int, titles: Sequence[tuple[str, str | None]]) -> str:
    """The conditions from the root of a tree to a leaf, those on one number as a range."""
    parents = {
        int(child): (node, side)
        for node in range(tree.node_count)
        for side, child in (
            ("left", tree.children_left[node]),
            ("right", tree.children_right[node]),
        )
        if child >= 0
    }
    bounds: dict[str, tuple[float, float]] = {}
    words: list[str] = []
    node = leaf
    while node in parents:
        node, side = parents[node]
        name, value = titles[int(tree.feature[node])]
        if value is not None:
            words.append(f"{name} is {'not ' if side == 'left' else ''}{value}")
            continue
        low, high = bounds.get(name, (-math.inf, math.inf))
        edge = float(tree.threshold[node])
        bounds[name] = (low, min(high, edge)) if side == "left" else (max(low, edge), high)
    words += [_between(name, low, high) for name, (low, high) in bounds.items()]
    return " and ".join(sorted(words))

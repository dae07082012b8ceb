"""What faults of data do to the score, and what more data would bring, by linear probes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tltool.finetuning.audit.evidence import Evidence, Plan
from tltool.finetuning.audit.findings import (
    ClassGain,
    CurveFound,
    CurvePoint,
    Estimate,
    ScoreFound,
)
from tltool.tasks.doubts import Doubts
from tltool.tasks.metrics.common import wilson_interval

Array = np.ndarray[Any, Any]

DRAWS = 200
"""Draws of the rows with replacement that intervals are from."""
SHARES = (0.125, 0.25, 0.5)
"""Of the rows, where the learning curve is measured besides all of them."""
_REPEATS = 3
_LEAST_ROWS = 20
_MOST_CLASSES = 8
_CLASS_FOLDS = 2
_EXPONENTS = np.linspace(0.05, 1.5, 30)
_TAIL = 0.025


@dataclass(frozen=True)
class _Judged:
    """What probes said of some rows.

    Attributes:
        rows: Their numbers.
        raw: Raw outputs.
        scores: The headline score of each draw of these rows, the first of all of them once.
    """

    rows: Array
    raw: Array
    scores: Array


@dataclass(frozen=True)
class Costs:
    """Measures what probes are worth on the rows of a plan.

    Attributes:
        evidence: The rows.
        plan: What is judged by what: data's own test rows, or folds of all rows.
        words: Which rows are judged, in words.
        counts: How often each judged row is drawn, (draws + 1, m); once each in the first.
    """

    evidence: Evidence
    plan: Plan
    words: str
    counts: Array

    @classmethod
    def of(cls, evidence: Evidence, seed: int = 0) -> Costs:
        """By the test rows where the data itself names them; else each row by the other folds."""
        splits = np.array([str(split) for split in evidence.examples.splits])
        held = np.flatnonzero(splits == "test")
        plan, words = evidence.folds, "each by probes of other folds"
        if "test" in evidence.given_splits and len(held) and len(held) < len(splits):
            plan = [(np.flatnonzero(splits != "test"), held)]
            words = "the data's test rows"
        size = sum(len(rows) for _, rows in plan)
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(size, np.full(size, 1 / size), DRAWS)
        return cls(evidence, plan, words, np.concatenate([np.ones((1, size)), drawn]))

    # ---- the score ---------------------------------------------------------------------------

    def score(self, clusters: Array, doubts: Doubts | None) -> ScoreFound:
        """The score as it is, without leaks, and with corrected labels.

        Args:
            clusters: The number of each row's set of near duplicates.
            doubts: Of the labels, of all rows.
        """
        judged = self._judged(self.plan)
        rows = len(judged.rows)
        share = self.evidence.task.target.headline().share
        found = ScoreFound(self.words, rows, _estimate(judged.scores, rows if share else None))
        clean = without_near(self.plan, clusters)
        if any(len(one) < len(other) for (one, _), (other, _) in zip(clean, self.plan,
                                                                      strict=True)):  # fmt: skip
            unseen = self._judged(clean)
            found = replace(found, without_leaks=_estimate(unseen.scores),
                          leak=self._gain(judged, unseen))  # fmt: skip
        if doubts is not None:
            found = self._if_right(found, judged, doubts)
        return found

    def _if_right(self, found: ScoreFound, judged: _Judged, doubts: Doubts) -> ScoreFound:
        """With the score that there would be, were all labels right.

        Probes learn from labels corrected as suggested; what they answer is compared with the
        labels given, which are wrong now and then, by the kind of target's model of that.
        """
        target, truth = self.evidence.task.target, self.evidence.truth
        targets = [
            new if wrong else old
            for old, new, wrong in zip(
                self.evidence.examples.targets, doubts.suggested, doubts.suspected, strict=True
            )
        ]
        mended = self._judged(self.plan, target.truth(targets))
        told = target.score_if_right(mended.raw, truth[mended.rows], self.counts)
        if told is None:
            return found
        scores, rates = told
        if not rates[0]:  # none is taken for wrong: what probes gain by suggestions is luck
            scores = judged.scores
        sign = 1 if target.headline().higher_is_better else -1
        return replace(
            found,
            if_right=_estimate(scores),
            gain_if_right=_estimate(sign * (scores - judged.scores)),
            wrong_labels=_estimate(rates, len(judged.rows)),
        )

    def _judged(self, plan: Plan, truth: Array | None = None) -> _Judged:
        rows, raw = self.evidence.judged(plan, truth)
        return _Judged(rows, raw, self._scores(rows, raw, self.counts))

    def _scores(self, rows: Array, raw: Array, counts: Array) -> Array:
        outputs = self.evidence.outputs(raw)
        found: Array = self.evidence.task.target.resampled(
            outputs, self.evidence.truth[rows], counts
        )
        return found

    def _gain(self, one: _Judged, other: _Judged) -> Estimate:
        """How much better one is than the other on the same rows."""
        sign = 1 if self.evidence.task.target.headline().higher_is_better else -1
        return _estimate(sign * (one.scores - other.scores))

    # ---- more rows ---------------------------------------------------------------------------

    def curve(self, doubts: Doubts | None, seed: int = 0) -> CurveFound | None:
        """The learning curve, and what twice the rows would bring; None for too few rows.

        The error (1 less the score, or the score where it is an error) is taken to fall as `a + b
        n^-c` (Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically",
        arXiv:1712.00409), by least squares, for each draw of the rows. The interval has the luck
        of these rows, and that of the choice of rows to fit, by what choices of as many rows
        differ in.

        Args:
            doubts: Say which classes are worth a look of their own.
            seed: Of the choices.
        """
        rng = np.random.default_rng(seed)
        sizes = [int(np.mean([share * len(fitted) for fitted, _ in self.plan])) for share in SHARES]
        if sizes[0] < _LEAST_ROWS:
            return None
        passes = [[self._fewer(share, rng) for _ in range(_REPEATS)] for share in SHARES]
        whole = self._judged(self.plan)
        size = int(np.mean([len(fitted) for fitted, _ in self.plan]))
        scores = [*(np.stack(found) for found in passes), whole.scores[None]]
        points = [
            CurvePoint(rows, *_values(_estimate(found.mean(axis=0))))
            for rows, found in zip([*sizes, size], scores, strict=True)
        ]
        errors = self._errors(np.stack([found.mean(axis=0) for found in scores]))
        gains, ratio = more_gain(np.array([*sizes, size], float), errors)
        # As a share of the error, of all sizes alike: a few choices of one size say little.
        apart = [self._errors(found)[:, 0] for found in scores[:-1]]
        shares = [float(one.var(ddof=1) / max(one.mean(), 1e-9) ** 2) for one in apart]
        luck = float(errors[-1, 0] * np.sqrt(np.mean(shares)))
        by_class = self._by_class(whole, doubts, ratio, rng)
        return CurveFound(points, 2 * size, _widened(_estimate(gains), luck), by_class)

    def _errors(self, scores: Array) -> Array:
        return 1 - scores if self.evidence.task.target.headline().higher_is_better else scores

    def _fewer(self, share: float, rng: Any) -> Array:
        """The scores of probes that are fitted on a share of the rows of each stratum."""
        plan = [(_some(self.evidence, fitted, share, rng), held) for fitted, held in self.plan]
        rows, raw = self.evidence.judged(plan)
        return self._scores(rows, raw, self.counts)

    def _by_class(
        self, whole: _Judged, doubts: Doubts | None, ratio: Array, rng: Any
    ) -> list[ClassGain]:
        """What as many rows again of each of the most doubted classes would bring.

        What half of its rows bring is measured; the next doubling brings less of it by as much as
        on the learning curve of all.
        """
        examples = self.evidence.examples
        names = [set(examples.kind.names_in(target)) for target in examples.targets]
        distinct = sorted(set().union(*names))
        if doubts is None or len(distinct) < 2:
            return []
        having = {name: np.array([name in own for own in names]) for name in distinct}
        unsure = {name: float((1 - doubts.quality[rows]).sum()) for name, rows in having.items()}
        plan = self.plan[:_CLASS_FOLDS]
        judged = sum(len(held) for _, held in plan)
        counts = _part(self.counts, judged)
        before = self._scores(whole.rows[:judged], whole.raw[:judged], counts)
        found = []
        for name in sorted(distinct, key=lambda one: -unsure[one])[:_MOST_CLASSES]:
            fewer = [(_without_half(fitted, having[name], rng), held) for fitted, held in plan]
            rows, raw = self.evidence.judged(fewer)
            lost = self._errors(self._scores(rows, raw, counts)) - self._errors(before)
            gain = _estimate(lost * ratio)
            found.append(ClassGain(name, int(having[name].sum()), gain))
        return sorted(found, key=lambda one: -one.gain.value)


def without_near(plan: Plan, clusters: Array) -> list[tuple[Array, Array]]:
    """The plan, but that no row is fitted on that is nearly the same as one that is judged."""
    return [(fitted[~np.isin(clusters[fitted], clusters[held])], held) for fitted, held in plan]


def more_gain(sizes: Array, errors: Array) -> tuple[Array, Array]:
    """How much the error falls with twice the rows, of each draw.

    Args:
        sizes: Rows that were fitted on, ascending, (k,), the last but one half of the last.
        errors: With so many, (k, draws).

    Returns:
        The fall of the error from the last size to its double, (draws,); and the share of the last
        doubling's fall that it is, 0..1, (draws,).
    """
    best, gains = np.full(errors.shape[1], np.inf), np.zeros(errors.shape[1])
    ratio = np.ones(errors.shape[1])
    for exponent in _EXPONENTS:
        powers = (sizes / sizes[-1]) ** -exponent
        for floor in (False, True):
            level, slope = _line(powers, errors, floor=floor)
            losses = ((level + slope * powers[:, None] - errors) ** 2).sum(axis=0)
            better = losses < best
            best[better] = losses[better]
            gains[better] = (slope * (1 - 2**-exponent))[better]
            ratio[better] = 2**-exponent
    return gains, ratio


def _line(powers: Array, errors: Array, *, floor: bool) -> tuple[Array, Array]:
    """Least squares of `level + slope * powers`, neither below 0; without a level if no floor."""
    if floor:
        centred = powers - powers.mean()
        slope = np.maximum(centred @ errors / (centred @ centred), 0.0)
        level = errors.mean(axis=0) - slope * powers.mean()
        if (level >= 0).all():
            return level, slope
        free = powers @ errors / (powers @ powers)
        return np.maximum(level, 0.0), np.where(level < 0, free, slope)
    return np.zeros(errors.shape[1]), powers @ errors / (powers @ powers)


def _some(evidence: Evidence, rows: Array, share: float, rng: Any) -> Array:
    """A share of some rows, of each stratum alike, one at least."""
    targets = [evidence.examples.targets[int(row)] for row in rows]
    strata = np.unique(evidence.examples.kind.strata(targets), return_inverse=True)[1]
    order = np.lexsort((rng.random(len(rows)), strata))
    sizes = np.bincount(strata)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows)) - starts[strata[order]]
    few: Array = rows[place < np.maximum(1, np.round(share * sizes))[strata]]
    return few


def _without_half(rows: Array, having: Array, rng: Any) -> Array:
    own = rows[having[rows]]
    gone = rng.permutation(own)[: len(own) // 2]
    return np.setdiff1d(rows, gone)


def _part(counts: Array, size: int) -> Array:
    """Draws of the first of the rows."""
    part = counts[:, :size].copy()
    part[part.sum(axis=1) == 0] = 1
    return part


def _estimate(draws: Array, rows: int | None = None) -> Estimate:
    """The value of all rows once, with the interval of the draws after it.

    Draws of rows that are all right, or all wrong, do not differ: the interval of a share of so
    many `rows` is Wilson's then.
    """
    low, high = np.nanquantile(draws[1:], (_TAIL, 1 - _TAIL))
    value = float(draws[0])
    if rows is not None and low == high == value and value in (0.0, 1.0):
        low, high = wilson_interval(round(value * rows), rows)
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def _values(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _widened(estimate: Estimate, luck: float) -> Estimate:
    """With the luck of two choices of rows, that now and that then, added in squares."""
    more = 2 * (1.96 * luck) ** 2
    low = estimate.value - float(np.sqrt((estimate.value - estimate.low) ** 2 + more))
    high = estimate.value + float(np.sqrt((estimate.high - estimate.value) ** 2 + more))
    return Estimate(estimate.value, low, high)

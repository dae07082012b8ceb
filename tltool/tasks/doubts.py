"""Which labels are probably wrong, by what models say of rows that they have not seen.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 70): a row counts for another class where the probability of that class is at
least the mean one of the rows that are labelled so, or `SURE` where these are surer still. Rows are
ranked by self-confidence: the probability of the label that is given (section 4.2 there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import erf, sqrt
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SURE = 0.9
"""A probability that is confident whatever the other rows of the class have."""
FAR_OFF = 4.0
"""Robust standard deviations of the residuals from which on a number is doubted."""
_MAD = 1.4826  # of a normal distribution: its standard deviation by its median absolute deviation
_TEMPERATURES = np.geomspace(0.4, 3.0, 13)
_RATES = np.concatenate([[0.0], np.geomspace(0.002, 0.4, 24)])
_LEAST = 1e-12
FEW_ROWS = 3
"""Confused rows of two classes below which they are not said to overlap."""
OVERLAP = 0.05
"""Share of the rows of two classes that are confused, from which on they are said to overlap."""


@dataclass(frozen=True)
class Doubts:
    """What is doubted of the labels of n rows.

    Attributes:
        quality: How much speaks for each row's label, 0..1, float64 (n,): the least first.
        suspected: Whether it is probably wrong, bool (n,).
        suggested: What it would be instead, of each row, as targets are.
    """

    quality: Array
    suspected: Array
    suggested: Sequence[Any]


@dataclass(frozen=True)
class Overlap:
    """Two names that are taken for each other.

    Attributes:
        one, other: The names.
        confused: Rows of either that are given the other one.
        rows: Rows of both.
    """

    one: str
    other: str
    confused: int
    rows: int


def confident_classes(probabilities: Array, truth: Array) -> Array:
    """The class that each row confidently is of, int64 (n,); -1 where it is of none.

    Args:
        probabilities: Out of fold, (n, classes).
        truth: The labels given, int64 (n,).
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(truth)), truth]
    counts = np.bincount(truth, minlength=classes)
    sums = np.bincount(truth, own, classes)
    # A class without rows has no threshold: no row is confidently of it.
    means = np.minimum(sums / np.maximum(counts, 1), SURE)
    thresholds = np.where(counts > 0, means, np.inf)
    reached = probabilities >= thresholds - 1e-6  # where a mean of equal values is rounded
    best: Array = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def of_classes(probabilities: Array, truth: Array, labels: Sequence[str]) -> Doubts:
    """Doubts of one class a row.

    Args:
        probabilities: Out of fold, (n, classes).
        truth: The labels given, int64 (n,).
        labels: Names of the classes.
    """
    confident = confident_classes(probabilities, truth)
    best = probabilities.argmax(axis=1)
    suspected: Array = (confident >= 0) & (confident != truth) & (best != truth)
    return Doubts(
        quality=probabilities[np.arange(len(truth)), truth].astype(np.float64),
        suspected=suspected,
        suggested=[labels[number] for number in best.tolist()],
    )


def of_class_sets(probabilities: Array, truth: Array, labels: Sequence[str]) -> Doubts:
    """Doubts of any number of labels a row: each label by itself, a row by its worst one.

    Args:
        probabilities: Out of fold, (n, labels).
        truth: The labels given, bool (n, labels).
        labels: Their names.
    """
    own = np.where(truth, probabilities, 1 - probabilities)
    wrong = np.zeros(truth.shape, bool)
    for number in range(truth.shape[1]):
        two = np.stack([1 - probabilities[:, number], probabilities[:, number]], axis=1)
        given = truth[:, number].astype(np.int64)
        confident = confident_classes(two, given)
        wrong[:, number] = (confident >= 0) & (confident != given) & (own[:, number] < 0.5)
    # Of a row that is not suspected, what would be doubted first.
    worst = np.arange(truth.shape[1]) == own.argmin(axis=1)[:, None]
    changed = truth ^ np.where(wrong.any(axis=1, keepdims=True), wrong, worst)
    return Doubts(
        quality=own.min(axis=1).astype(np.float64),
        suspected=np.asarray(wrong.any(axis=1)),
        suggested=[tuple(labels[i] for i in np.flatnonzero(row).tolist()) for row in changed],
    )


def of_numbers(outputs: Array, truth: Array) -> Doubts:
    """Doubts of one or several numbers a row: by how far off models are, for the spread they have.

    Args:
        outputs: Out of fold, (n,) or (n, numbers).
        truth: The numbers given.
    """
    residuals = (truth - outputs).reshape(len(truth), -1)
    middle = np.median(residuals, axis=0)
    spread = _MAD * np.median(np.abs(residuals - middle), axis=0)
    off = (np.abs(residuals - middle) / np.where(spread > 0, spread, np.inf)).max(axis=1)
    values = np.asarray(outputs, np.float64).reshape(len(truth), -1).tolist()
    return Doubts(
        quality=np.array([1 - erf(one / sqrt(2)) for one in off]),
        suspected=off >= FAR_OFF,
        suggested=[row[0] if len(row) == 1 else tuple(row) for row in values],
    )


def overlaps(answered: Array, truth: Array, labels: Sequence[str]) -> list[Overlap]:
    """Names that are taken for each other, those that most of their rows are confused of first.

    Args:
        answered: What out-of-fold models answer, bool (n, labels).
        truth: What is given, bool (n, labels).
        labels: Their names.
    """
    own = truth.sum(axis=0)
    # Rows of one name without the other that are answered by the other.
    taken = truth.T.astype(np.int64) @ (answered & ~truth).astype(np.int64)
    both = taken + taken.T
    found = [
        Overlap(labels[i], labels[j], int(both[i, j]), int(own[i] + own[j]))
        for i, j in combinations(range(len(labels)), 2)
        if both[i, j] >= max(FEW_ROWS, OVERLAP * (own[i] + own[j]))
    ]
    return sorted(found, key=lambda pair: -pair.confused / pair.rows)


@dataclass(frozen=True)
class NoisyLabels:
    """A model of labels that are sometimes drawn anew, on n rows of out-of-fold logits.

    A label is right with probability `1 - rate`, and else any other class: `P(label) = (1 - rate) p
    + rate (1 - p) / (classes - 1)`, where p is its probability by the logits divided by a
    temperature (the symmetric noise of Lawrence and Schoelkopf 2001, "Estimating a Kernel Fisher
    Discriminant in the Presence of Label Noise"; temperature as in Guo et al. 2017,
    arXiv:1706.04599). Both are those of the highest likelihood on a grid. So the doubt of a row is
    weighed against how sure models are of such rows.

    Attributes:
        own: Probability of the given label at each temperature, (temperatures, n).
        best: Whether the model's answer is the label that is given, bool (n,).
        answer: Probability of the model's answer at each temperature, (temperatures, n).
        classes: How many there are.
    """

    own: Array
    best: Array
    answer: Array
    classes: int

    @classmethod
    def of(cls, logits: Array, truth: Array) -> NoisyLabels:
        """The model of some rows: logits (n, classes) and the labels given, int64 (n,)."""
        rows, answer = np.arange(len(truth)), logits.argmax(axis=1)
        own, best = [], []
        for temperature in _TEMPERATURES:
            scaled = logits.astype(np.float64) / temperature
            scaled -= scaled.max(axis=1, keepdims=True)
            likely = np.exp(scaled)
            likely /= likely.sum(axis=1, keepdims=True)
            own.append(likely[rows, truth])
            best.append(likely[rows, answer])
        return cls(np.stack(own), answer == truth, np.stack(best), logits.shape[1])

    def right(self, counts: Array) -> tuple[Array, Array]:
        """The share of rows whose answer is right, were all labels right, of each draw of rows.

        Args:
            counts: How often each row was drawn, (draws, n).

        Returns:
            The shares and the rates of wrong labels, (draws,) each.
        """
        shape = (len(_TEMPERATURES), len(_RATES))
        rates = _RATES[:, None]
        fits = [self._likelihood(t, rates) for t in range(shape[0])]  # each (rates, n)
        likelihood = np.stack([counts @ np.log(np.maximum(fit, _LEAST)).T for fit in fits], axis=1)
        places = likelihood.reshape(len(counts), -1).argmax(axis=1)
        found = np.empty((2, len(counts)))
        for draw, (t, r) in enumerate(zip(*np.unravel_index(places, shape), strict=True)):
            right = self._right(int(t), _RATES[r], fits[t][r])
            found[:, draw] = counts[draw] @ right / counts[draw].sum(), _RATES[r]
        return found[0], found[1]

    def _likelihood(self, t: int, rates: Array) -> Array:
        own = self.own[t]
        likelihood: Array = (1 - rates) * own + rates * (1 - own) / (self.classes - 1)
        return likelihood

    def _right(self, t: int, rate: float, likelihood: Array) -> Array:
        """Probability that each answer is right, by that of its label being wrong."""
        own, answer = self.own[t], self.answer[t]
        wrong = rate * (1 - own) / (self.classes - 1) / np.maximum(likelihood, _LEAST)
        # Where the label is wrong, the row is of one of the others.
        instead = np.where(self.best, 0.0, answer / np.maximum(1 - own, _LEAST))
        right: Array = (1 - wrong) * self.best + wrong * np.minimum(instead, 1.0)
        return right

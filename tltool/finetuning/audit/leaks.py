"""Facts that give labels away, and groups of rows that belong together though nothing says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tltool.finetuning.audit.evidence import Evidence

Array = np.ndarray[Any, Any]

SHUFFLES = 20
"""Shuffled copies of the labels that a fact's score is compared with."""
LEAST_GAIN = 0.15
"""Share of the loss with shuffled labels that a fact which is named takes away."""
LEAST_DETERMINED = 0.4
"""How much of a fact's best split classes tell, above chance, where the fact is named too.

Of many classes a fact that tells a third from the others takes little of the loss away. Planted
leaks of banking77 and sign_digits have 0.52 to 0.96, what these and trash6 have by themselves is
0.26 at most."""
# No more of them are tried where the first few tell that it takes less.
_FIRST = 3
_LEAVES, _ROWS_OF_LEAF = 32, 5
_LEAST = 0.01
_MOST_NAMES = 200
_ALL = "all together"
# Groups: least rows, and how much likelier than by chance a row's nearest one is of its group.
_LEAST_GROUPED, _LEAST_LIFT, _LEAST_SHARE = 0.5, 3.0, 0.25


@dataclass(frozen=True)
class Leak:
    """What a fact alone says of the labels.

    Attributes:
        fact: Its name, or that it is all of them.
        score: Headline score of a small tree on it, on rows held out.
        shuffled: The mean of that with shuffled labels.
    X        named: Whether it does too well.
    """

    fact: str
    score: float
    shuffled: float
    spread: float
    gain: float
    named: bool


@dataclass(frozen=True)
class Group:
    """Rows that seem to belong together.

    Attributes:
        source: What names their groups: a fact, or the beginning of file names.
        groups: How many there are.
        share: Of the rows in groups of several, that have the nearest one of their label there.
        chance: What that would be by chance.
        of_rows: The group of each row.
    """

    source: str
    groups: int
    share: float
    chance: float
    of_rows: tuple[str, ...]


def leaks(evidence: Evidence, seed: int = 0) -> list[Leak]:
    """What each fact says of the labels by itself, and all together; the most telling first.

    A fact is named where a tree of at most 32 leaves on it alone, on rows that it has not seen,
    has a lower loss than with each of 20 shuffles of the labels (Ojala and Garriga 2010,
    "Permutation Tests for Studying Classifier Performance", JMLR 11, test 1), and by at least 15 %,
    or where the class says on which side of a split of it a row lies; see `determined`. That some
    classes are darker or longer may be as it is: a model learns it all the same.
    """
    columns = dict(_columns(evidence))
    if not columns:
        return []
    columns[_ALL] = np.concatenate(list(columns.values()), axis=1)
    if len(columns) == 2:  # the only fact is all of them
        del columns[_ALL]
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(evidence)) for _ in range(SHUFFLES)]
    found = [_told_by(name, values, evidence, orders) for name, values in columns.items()]
    return sorted(found, key=lambda leak: (not leak.named, -leak.gain))


def _columns(evidence: Evidence) -> Iterator[tuple[str, Array]]:
    """Each fact that is not the same for all rows, float64 (n, columns)."""
    for name, values in evidence.numbers.items():
        known = np.where(np.isfinite(values), values, -1.0)
        if len(np.unique(known)) > 1:
            yield name, known[:, None]
    for name, words in evidence.names.items():
        distinct, codes, counts = np.unique(words, return_inverse=True, return_counts=True)
        if len(distinct) > 1:
            often = np.argsort(-counts, kind="stable")[:_MOST_NAMES]
            yield name, (codes[:, None] == often).astype(np.float64)


def _told_by(name: str, values: Array, evidence: Evidence, orders: Sequence[Array]) -> Leak:
    score, loss = _measured(values, evidence, np.arange(len(evidence)))
    truth = evidence.truth
    told = 0.0
    if truth.ndim == 1 and truth.dtype.kind == "i":
        chances = [determined(values, truth[order]) for order in orders[:_FIRST]]
        told = determined(values, truth) - max(chances)
    chance: list[tuple[float, float]] = []
    for number, order in enumerate(orders, start=1):
        chance.append(_measured(values, evidence, order))
        scores, losses = np.transpose(chance)
        gain = float(1 - loss / losses.mean()) if losses.mean() > 0 else 0.0
        leak = Leak(name, score, float(scores.mean()), float(scores.std()), gain, named=False)
        if number >= _FIRST and gain < LEAST_GAIN and told < LEAST_DETERMINED:
            return leak
    return replace(leak, named=bool(loss < losses.min()))


def determined(values: Array, classes: Array) -> float:
    """How much the class of a row tells of the side of a split that it lies on, 0..1.

    The uncertainty coefficient (Theil 1970) of the split that has most of it: the mutual
    information of side and class as a share of the entropy of the side.

    Args:
        values: Of one fact, (n, columns): split at 19 quantiles of each column.
        classes: Whole numbers, (n,).
    """
    rows, most = len(classes), 0.0
    numbers = np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(numbers)
    for column in values.T:
        for split in np.unique(np.quantile(column, np.linspace(0.05, 0.95, 19))):
            above = column > split
            whole = _entropy(np.array([above.mean()]))[0]
            if min(above.sum(), (~above).sum()) < _ROWS_OF_LEAF:
                continue
            within = _entropy(np.bincount(numbers, above) / sizes) @ sizes / rows
            most = max(most, float(1 - within / whole))
    return most


def _entropy(shares: Array) -> Array:
    """Of a coin that falls on one side with each of these shares, in nats."""
    kept = np.clip(shares, 1e-12, 1 - 1e-12)
    found: Array = -(kept * np.log(kept) + (1 - kept) * np.log(1 - kept))
    return found


def _measured(values: Array, evidence: Evidence, order: Array) -> tuple[float, float]:
    """Headline score and loss of trees on some facts, for labels in another order, over folds.

    The loss of labels is the cross-entropy of each by itself, of numbers the squared error.
    """
    target, truth = evidence.task.target, evidence.truth[order]
    encoded = target.encode(truth)
    held_out = np.concatenate([held for _, held in evidence.folds])
    answers = np.concatenate([
        _answers(values[fitted], truth[fitted], encoded[fitted], values[held])
        for fitted, held in evidence.folds
    ])  # fmt: skip
    wanted = encoded[held_out]
    if target.labels:
        likely = np.clip(answers, _LEAST, 1 - _LEAST)
        loss = -(wanted * np.log(likely) + (1 - wanted) * np.log(1 - likely)).sum(axis=1).mean()
    else:
        loss = ((wanted - answers) ** 2).sum(axis=1).mean()
        answers = np.asarray(target.outputs(answers))  # numbers as a user reads them
    return float(target.score(answers, truth[held_out])), float(loss)


def _answers(values: Array, truth: Array, encoded: Array, others: Array) -> Array:
    """What a small tree answers for others: probabilities, or standardised numbers."""
    settings = {"max_leaf_nodes": _LEAVES, "min_samples_leaf": _ROWS_OF_LEAF, "random_state": 0}
    if truth.ndim == 1 and truth.dtype.kind == "i":
        tree = DecisionTreeClassifier(**settings).fit(values, truth)
        found = np.zeros((len(others), encoded.shape[1]))
        found[:, tree.classes_] = tree.predict_proba(others)
        return found
    tree = DecisionTreeRegressor(**settings).fit(values, encoded)
    answers: Array = tree.predict(others).reshape(len(others), -1)
    return answers


def groups(evidence: Evidence, nearest: Array, seed: int = 0) -> list[Group]:
    """Ways to group rows that nothing names, in which rows are more alike than others are.

    Looked at are the folders of files and the beginnings of their names. One is told of where at
    least half of the rows are in groups of several, and where the nearest row of the same label is
    of the same group three times as often as by chance.

    Args:
        evidence: The rows; those of data with groups are not looked at.
        nearest: Of each row those next to it.
        seed: Of the chance.
    """
    if evidence.examples.groups:
        return []
    rng = np.random.default_rng(seed)
    found = [
        group
        for source, names in _candidates(evidence.examples.inputs, evidence.names)
        if (group := _grouped(source, names, evidence, nearest, rng)) is not None
    ]
    return sorted(found, key=lambda group: -group.share)


def _candidates(
    inputs: Sequence[Any], names: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, list[str]]]:
    if "folder" not in names:
        return
    folders = list(names["folder"])
    yield "folder", folders
    stems = [PurePath(path).stem for path in inputs]
    # `patient12_003` belongs to `patient12`; a number alone, or the last of `IMG_0001`, is none.
    starts = [re.match(r"(.*\d.*?|.*[A-Za-z].*?)[-_ .]+\d+$", stem) for stem in stems]
    yield (
        "the beginning of file names",
        [
            f"{folder}/{start[1]}" if start else stem
            for start, stem, folder in zip(starts, stems, folders, strict=True)
        ],
    )


def _grouped(
    source: str, names: Sequence[str], evidence: Evidence, nearest: Array, rng: Any
) -> Group | None:
    distinct, codes, counts = np.unique(names, return_inverse=True, return_counts=True)
    several = counts[codes] > 1
    if len(distinct) < 4 or counts.max() > 0.5 * len(codes) or several.mean() < _LEAST_GROUPED:
        return None
    strata = np.unique(evidence.examples.kind.strata(evidence.examples.targets),
                       return_inverse=True)[1]  # fmt: skip
    alike = strata[nearest] == strata[:, None]
    rows = np.flatnonzero(several & alike.any(axis=1))
    if not len(rows):
        return None
    first = nearest[rows, alike[rows].argmax(axis=1)]
    share = float((codes[first] == codes[rows]).mean())
    # By chance: another row of the same stratum in place of the nearest one.
    chances = []
    for _ in range(SHUFFLES):
        order = np.lexsort((rng.random(len(codes)), strata))
        shuffled = np.empty_like(codes)
        shuffled[np.argsort(strata, kind="stable")] = codes[order]
        chances.append(float((shuffled[first] == codes[rows]).mean()))
    chance = float(np.mean(chances))
    if share < _LEAST_SHARE or share < _LEAST_LIFT * chance or share <= max(chances):
        return None
    return Group(source, len(distinct), share, chance, tuple(names))

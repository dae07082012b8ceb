"""Seeded, stratified, disjoint splits that keep exact duplicates and groups together."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tltool.data.checks.fingerprints import duplicate_keys, each_duplicate_key, groups_of
from tltool.data.examples import Examples
from tltool.support.errors import DataError
from tltool.support.words import listed, natural_key

_LOG = logging.getLogger(__name__)
_NAMED = 5


@dataclass(frozen=True)
class _Group:
    """Rows with the same input, or of one group of the data's, which stay together.

    Attributes:
        rows: Their numbers.
        rank: Its place in the draw.
        target: That of one of them, where they disagree.
    """

    rows: tuple[int, ...]
    rank: str
    target: Any


def split_examples(
    examples: Examples, *, validation_fraction: float, test_fraction: float, seed: int
) -> Examples:
    """Divides the undecided examples into train, validation and test.

    Only rows whose split is None are divided; a split that already has rows
    gets no more. What goes where follows from the seed and the inputs' own
    contents, not from their order, so a shuffled or renamed copy of the data
    is split alike. Test is chosen first: it does not depend on
    `validation_fraction`, except where rows have several labels.

    Args:
        examples: Some of them with split None.
        validation_fraction, test_fraction: Share of the undecided examples,
            0..0.5, taken from all classes, labels or quantiles alike, as the
            kind of target divides them. Exact duplicates stay on one side, and so do
            rows of one group, where they have groups; then as far as these allow.
        seed: Of the choice.

    Returns:
        The same rows in the same order, none of them undecided.

    Raises:
        DataError: Classes have too few distinct examples to be in every split, or there
            are too few groups.
    """
    undecided = [row for row, split in enumerate(examples.splits) if split is None]
    present = set(examples.splits)
    wanted = {"test": test_fraction, "validation": validation_fraction}
    fractions = {s: share for s, share in wanted.items() if share > 0 and s not in present}
    splits: list[Any] = [split or "train" for split in examples.splits]
    if undecided and fractions:
        rows = examples.take(undecided)
        groups = _groups(rows, seed)
        if rows.groups:
            strata = examples.kind.strata(rows.targets)
            members = [group.rows for group in groups]
            parts = examples.kind.divide_groups(rows.targets, members, fractions)
            _tell_uneven(strata, groups, parts, fractions)
        else:
            sizes = [len(group.rows) for group in groups]
            parts = examples.kind.divide([group.target for group in groups], sizes, fractions)
        for group, part in zip(groups, parts, strict=True):
            for row in group.rows:
                splits[undecided[row]] = part or "train"
    divided = replace(examples, splits=splits)
    _check_all_learnable(divided)
    return divided


def limit_examples(examples: Examples, max_examples: int | None, seed: int) -> Examples:
    """A stratified, seeded choice of at most `max_examples` training examples.

    Rows of given validation and test splits all stay. Each stratum keeps its
    share, but three examples at least as long as that fits; duplicates of an
    example already chosen come last.

    Args:
        examples: Any; rows with split None or "train" are chosen from.
        max_examples: The most to keep; None keeps all.
        seed: Of the choice.

    Returns:
        The kept rows in their order.

    Raises:
        DataError: Fewer examples are asked for than there are classes.
    """
    rows = [row for row, split in enumerate(examples.splits) if split in {None, "train"}]
    if max_examples is None or len(rows) <= max_examples:
        return examples
    kept = {rows[place] for place in _chosen(examples.take(rows), max_examples, seed)}
    return examples.where(lambda row: row in kept or examples.splits[row] in {"validation", "test"})


def _chosen(examples: Examples, most: int, seed: int) -> list[int]:
    """The rows that `limit_examples` keeps; it takes few bytes for each of the others."""
    import numpy as np

    digests = bytearray()
    for key in each_duplicate_key(examples):
        digests += _rank(seed, key).digest()
    # Duplicates make a group; groups are numbered in the order of the seed.
    drawn, group, sizes = np.unique(
        np.frombuffer(digests, "S32"), return_inverse=True, return_counts=True
    )
    targets: list[Any] = [None] * len(drawn)
    for number, target in zip(group.tolist(), examples.targets, strict=True):
        if targets[number] is None or target < targets[number]:
            targets[number] = target
    names = examples.kind.strata(targets)
    numbers = {name: number for number, name in enumerate(sorted(set(names), key=natural_key))}
    if most < len(numbers):
        raise DataError(
            f"data.max_examples={most} is fewer than the {len(numbers)} classes.",
            hint="ask for a few examples of each class at least",
        )
    stratum = np.array([numbers[name] for name in names])[group]
    copy = _places(group, np.argsort(group, kind="stable"), sizes)
    in_stratum = np.bincount(stratum)
    # In a stratum one of each group first, then the second of each, and so on.
    place = _places(stratum, np.lexsort((group, copy, stratum)), in_stratum)
    share = (place + 0.5) / in_stratum[stratum]
    ordered = np.lexsort((stratum, share, np.minimum(place, 3)))
    return ordered[:most].tolist()


def _places(part: Any, order: Any, sizes: Any) -> Any:
    """The place of each row within its part, (n,), where `order` has one part after the other."""
    import numpy as np

    places = np.empty_like(order)
    places[order] = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[part[order]]
    return places


def _groups(examples: Examples, seed: int) -> list[_Group]:
    """The groups of rows that stay together in the order of the seed."""
    groups = []
    keys = duplicate_keys(examples)
    for rows in _joined(keys, examples.groups, examples.kind.linked(examples.inputs)):
        rank = _rank(seed, min(keys[row] for row in rows)).hexdigest()
        # Duplicates that disagree are filed under the first of their targets.
        groups.append(_Group(tuple(rows), rank, min(examples.targets[row] for row in rows)))
    return sorted(groups, key=lambda group: group.rank)


def _joined(*ties: Sequence[str]) -> list[list[int]]:
    """The rows that have one of some ties in common, also through others.

    Args:
        ties: Names of each row, the same for rows that are tied; or nothing for no ties.
    """
    first: dict[tuple[int, str], int] = {}
    parent = list(range(max(map(len, ties))))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for kind, names in enumerate(ties):
        for row, name in enumerate(names):
            parent[root(row)] = root(first.setdefault((kind, name), row))
    return list(groups_of([str(root(row)) for row in range(len(parent))]).values())


def _tell_uneven(
    strata: Sequence[str],
    groups: Sequence[_Group],
    parts: Sequence[str | None],
    fractions: Mapping[str, float],
) -> None:
    """Warns where groups leave a split without some of the classes."""
    for split in fractions:
        held = {
            strata[row]
            for group, part in zip(groups, parts, strict=True)
            if part == split
            for row in group.rows
        }
        if lacking := sorted(set(strata) - held, key=natural_key):
            names = ", ".join(name[:1].lower() + name[1:] for name in lacking[:_NAMED])
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            _LOG.warning("%s has no row of %s%s, since groups are not divided", split, names, more)


def _rank(seed: int, key: str) -> Any:
    """The sha256 that decides the place of a content in the draw."""
    return hashlib.sha256(f"{seed}:{key}".encode())


def _check_all_learnable(examples: Examples) -> None:
    """A label that shares all its inputs with others can have been drawn out of train."""

    if examples.kind.open_names:
        return

    def names(part: Examples) -> set[str]:
        return {name for target in part.targets for name in part.kind.names_in(target)}

    if lost := names(examples) - names(examples.split("train")):
        raise DataError(
            f"The split leaves no training example of the classes {listed(sorted(lost))}: all "
            "their inputs occur with other labels too.",
            hint="mend the labels of those duplicates",
        )

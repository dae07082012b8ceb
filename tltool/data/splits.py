"""Seeded, stratified, disjoint splits that keep exact duplicates and groups together."""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tltool.data.checks.fingerprints import each_duplicate_digest, number_of
from tltool.data.examples import SPLITS, Examples
from tltool.data.packed import CodedColumn
from tltool.support.errors import DataError
from tltool.support.words import listed, natural_key
from tltool.tasks.target import Target

if TYPE_CHECKING:
    import numpy.typing as npt

_LOG = logging.getLogger(__name__)
_NAMED = 5


@dataclass(frozen=True)
class _Groups:
    """Rows with the same input, or of one group of the data's, which stay together.

    Attributes:
        rows: Their numbers, one group after the other in the order of the draw, int64 (n,).
        sizes: Rows of each group, int64 (groups,).
        targets: Of each group that of one of its rows, where they disagree the first of them.
    """

    rows: Any
    sizes: Any
    targets: list[Any]

    def each(self) -> list[list[int]]:
        """The rows of each group."""
        import numpy as np

        return [rows.tolist() for rows in np.split(self.rows, np.cumsum(self.sizes)[:-1])]


def split_examples(
    examples: Examples,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    beside: bool = False,
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
        beside: There are other training rows, so that what is too rare here to be in every split
            is trained on, in place of an error.

    Returns:
        The same rows in the same order, none of them undecided.

    Raises:
        DataError: Classes have too few distinct examples to be in every split, or there
            are too few groups.
    """
    import numpy as np

    numbers: dict[str, int] = {split: number for number, split in enumerate(SPLITS)}
    codes = np.array(array("H", (numbers[split or "train"] for split in examples.splits)))
    undecided = np.array(array("q", _without_split(examples)))
    present = set(examples.splits)
    wanted = {"test": test_fraction, "validation": validation_fraction}
    fractions = {s: share for s, share in wanted.items() if share > 0 and s not in present}
    if len(undecided) and fractions:
        rows = examples if len(undecided) == len(examples) else examples.take(undecided)
        groups = _groups(rows, seed)
        parts = (_divided_beside if beside else _divided)(rows, groups, fractions)
        drawn = array("H", (numbers[part or "train"] for part in parts))
        codes[undecided[groups.rows]] = np.repeat(drawn, groups.sizes)
    divided = replace(examples, splits=CodedColumn(codes, SPLITS))
    if not beside:
        _check_all_learnable(divided)
    return divided


def _divided(
    rows: Examples, groups: _Groups, fractions: Mapping[str, float]
) -> Sequence[str | None]:
    """The part of each group."""
    kind = rows.kind
    if not rows.groups:
        return kind.divide(groups.targets, groups.sizes.tolist(), fractions)
    parts = kind.divide_groups(rows.targets, groups.each(), fractions)
    _tell_uneven(kind.strata(rows.targets), groups, parts, fractions)
    return parts


def _divided_beside(
    rows: Examples, groups: _Groups, fractions: Mapping[str, float]
) -> Sequence[str | None]:
    """The same where groups of rare strata, or all of too few, may stay together."""
    with suppress(DataError):
        return _divided(rows, groups, fractions)
    parts: list[str | None] = [None] * len(groups.targets)
    if rows.groups:
        return parts
    names = rows.kind.strata(groups.targets)
    sizes = Counter(names)
    enough = [group for group, name in enumerate(names) if sizes[name] > len(fractions)]
    targets = [groups.targets[group] for group in enough]
    for group, part in zip(
        enough,
        rows.kind.divide(targets, groups.sizes[enough].tolist(), fractions) if enough else (),
        strict=True,
    ):
        parts[group] = part
    return parts


def _without_split(examples: Examples) -> Iterator[int]:
    return (row for row, split in enumerate(examples.splits) if split is None)


def tied_rows(examples: Examples) -> Any:
    """Which rows a split or a fold keeps together: duplicates, and those of one group.

    Returns:
        The number of each row's set of such rows, int64 (n,), from 0.
    """
    import numpy as np

    content = np.unique(_numbers(0, examples)[0], return_inverse=True)[1]
    return _joined(content, examples.groups, examples.kind.linked(examples.inputs))


def undivided(examples: Examples) -> tuple[str, ...]:
    """The name of what each row belongs to that no fold divides; empty where each is by itself.

    Texts of one row of the data that stand by themselves (`Examples.as_inputs`) are kept together
    by their kind of target.
    """
    if examples.kind.of_texts and examples.modality == "text":
        return tuple(examples.groups)
    ties = tied_rows(examples).tolist()
    return () if len(set(ties)) == len(ties) else tuple(map(str, ties))


def fold_rows(
    examples: Examples, target: Target, count: int, seed: int
) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """The folds of a cross-validation: stratified, and dividing neither groups nor duplicates.

    This is the one rule of all cross-validations of rows.

    Args:
        examples: All rows that take part, labelled.
        target: Knows all their labels.
        count: Folds, at least 2.
        seed: Of the draw; equal rows, seeds and counts give equal folds.

    Returns:
        Of each fold the numbers of the rows to train on and of those that it holds out,
        ascending; each row is held out once. Fewer folds than asked for where groups are so
        uneven that one would be empty.

    Raises:
        DataError: There are too few rows or groups for so many folds.
    """
    truth = target.truth(examples.targets, examples.origins)
    return target.folds_of(truth, count, seed, undivided(examples))


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

    ranks = _numbers(seed, examples)[1]
    # Duplicates make a group; groups are numbered in the order of the seed.
    drawn, group, sizes = np.unique(ranks, return_inverse=True, return_counts=True)
    targets = _first_targets(group, len(drawn), examples.targets)
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


def _first_targets(group: Any, count: int, targets: Sequence[Any]) -> list[Any]:
    """The first of the targets in each group: duplicates that disagree are filed under it.

    Args:
        group: The number of each row's group, int64 (n,).
        count: Of groups.
        targets: Of each row.
    """
    first: list[Any] = [None] * count
    for number, target in zip(group.tolist(), targets, strict=True):
        if first[number] is None or target < first[number]:
            first[number] = target
    return first


def _groups(examples: Examples, seed: int) -> _Groups:
    """The groups of rows that stay together in the order of the seed."""
    import numpy as np

    numbers, ranks = _numbers(seed, examples)
    first, content = np.unique(numbers, return_index=True, return_inverse=True)[1:]
    del numbers
    group = _joined(content, examples.groups, examples.kind.linked(examples.inputs))
    # Contents are numbered in ascending order: the least of each group ranks it.
    least = np.full(int(group.max()) + 1, len(first), np.int64)
    np.minimum.at(least, group, content)
    order = np.argsort(ranks[first[least]], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    group = place[group]
    return _Groups(
        np.argsort(group, kind="stable"),
        np.bincount(group),
        _first_targets(group, len(order), examples.targets),
    )


def _joined(content: Any, *ties: Sequence[str]) -> Any:
    """The number of each row's group: rows that share a content or a tie, also through others.

    Args:
        content: The number of each row's content, int64 (n,).
        ties: Names of each row, the same for rows that are tied; or nothing for no ties.
    """
    if not any(map(len, ties)):
        return content
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(content.max()) + 1
    ends = []
    for names in filter(len, ties):
        numbers = {name: size + number for number, name in enumerate(dict.fromkeys(names))}
        size += len(numbers)
        ends.append(np.array([numbers[name] for name in names]))
    begins = np.tile(content, len(ends))
    links = coo_array((np.ones(len(begins), bool), (begins, np.concatenate(ends))), (size, size))
    part = connected_components(links, directed=False)[1][content]
    return np.unique(part, return_inverse=True)[1]


def _tell_uneven(
    strata: Sequence[str],
    groups: _Groups,
    parts: Sequence[str | None],
    fractions: Mapping[str, float],
) -> None:
    """Warns where groups leave a split without some of the classes."""
    rows_of = groups.each()
    for split in fractions:
        held = {
            strata[row]
            for rows, part in zip(rows_of, parts, strict=True)
            if part == split
            for row in rows
        }
        if lacking := sorted(set(strata) - held, key=natural_key):
            names = ", ".join(name[:1].lower() + name[1:] for name in lacking[:_NAMED])
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            _LOG.warning("%s has no row of %s%s, since groups are not divided", split, names, more)


def _numbers(seed: int, examples: Examples) -> tuple[Any, Any]:
    """The number of each row's content, and the one that decides its place in the draw, uint64."""
    import numpy as np

    contents, ranks = array("Q"), array("Q")
    for digest in each_duplicate_digest(examples):
        contents.append(number_of(digest))
        ranks.append(number_of(hashlib.sha256(f"{seed}:{digest.hex()}".encode()).digest()))
    return np.asarray(contents), np.asarray(ranks)


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

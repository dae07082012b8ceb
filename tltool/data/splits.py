"""Seeded, stratified, disjoint splits that keep exact duplicates together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tltool.data.checks.fingerprints import content_keys, groups_of
from tltool.data.examples import Examples, Split
from tltool.data.reading.folders import natural_key
from tltool.support.errors import DataError

REGRESSION_BINS = 10
"""Strata of a numeric target: at most this many, and ten distinct inputs in each."""


@dataclass(frozen=True)
class _Group:
    """Rows with the same input, which stay together."""

    rows: tuple[int, ...]
    rank: str


def split_examples(
    examples: Examples, *, validation_fraction: float, test_fraction: float, seed: int
) -> Examples:
    """Divides the undecided examples into train, validation and test.

    Only rows whose split is None are divided; a split that already has rows
    gets no more. What goes where follows from the seed and the inputs' own
    contents, not from their order, so a shuffled or renamed copy of the data
    is split alike. Test is chosen first: it does not depend on
    `validation_fraction`.

    Args:
        examples: Some of them with split None.
        validation_fraction, test_fraction: Share of the undecided examples,
            0..0.5, taken from every class (regression: every quantile bin).
            A class gives one example at least, and exact duplicates stay on
            one side, so small classes deviate from the share.
        seed: Of the choice.

    Returns:
        The same rows in the same order, none of them undecided.

    Raises:
        DataError: A class has too few distinct examples to be in every split.
    """
    undecided = [row for row, split in enumerate(examples.splits) if split is None]
    present = set(examples.splits)
    wanted: dict[Split, float] = {"test": test_fraction, "validation": validation_fraction}
    fractions = {s: share for s, share in wanted.items() if share > 0 and s not in present}
    splits: list[Split | None] = [split or "train" for split in examples.splits]
    if undecided and fractions:
        part = examples.take(undecided)
        for name, groups in _strata(part, seed).items():
            _check_size(name, groups, fractions)
            for split, chosen in _choose(groups, fractions).items():
                for group in chosen:
                    for row in group.rows:
                        splits[undecided[row]] = split
    divided = replace(examples, splits=splits)
    _check_all_learnable(divided)
    return divided


def limit_examples(examples: Examples, max_examples: int | None, seed: int) -> Examples:
    """A stratified, seeded choice of at most `max_examples` training examples.

    Rows of given validation and test splits all stay. Each class keeps its
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
    strata = _strata(examples.take(rows), seed)
    if max_examples < len(strata):
        raise DataError(
            f"data.max_examples={max_examples} is fewer than the {len(strata)} classes.",
            hint="ask for a few examples of each class at least",
        )
    ranked = []
    for name, groups in strata.items():
        ordered = _distinct_first(groups)
        for place, row in enumerate(ordered):
            early = place if place < 3 else 3
            ranked.append((early, (place + 0.5) / len(ordered), natural_key(name), row))
    kept = {rows[row] for *_, row in sorted(ranked)[:max_examples]}
    chosen_from = set(rows)
    return examples.where(lambda row: row in kept or row not in chosen_from)


def _strata(examples: Examples, seed: int) -> dict[str, list[_Group]]:
    """The groups of duplicates of each class or quantile bin, in the order of the seed.

    The keys are what messages call them.
    """
    numeric = any(isinstance(target, float) for target in examples.targets)
    entries = []
    for key, rows in groups_of(content_keys(examples)).items():
        rank = hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()
        # duplicates that disagree are filed under the first of their targets
        target = min(_sortable(examples.targets[row]) for row in rows)
        entries.append((target, _Group(tuple(rows), rank)))
    entries.sort(key=lambda entry: (entry[0], entry[1].rank))
    strata: dict[str, list[_Group]] = defaultdict(list)
    bins = max(1, min(REGRESSION_BINS, len(entries) // 10))
    for place, ((_, label), group) in enumerate(entries):
        name = _bin(place * bins // len(entries)) if numeric else f"The class {label!r}"
        strata[name].append(group)
    return {name: sorted(groups, key=lambda g: g.rank) for name, groups in strata.items()}


def _bin(number: int) -> str:
    return f"Quantile bin {number + 1} of the targets"


def _sortable(target: str | float | None) -> tuple[float, str]:
    return (target, "") if isinstance(target, float) else (0.0, str(target))


def _check_size(name: str, groups: Sequence[_Group], fractions: Mapping[Split, float]) -> None:
    needed = 1 + len(fractions)
    if len(groups) >= needed:
        return
    rows = sum(len(group.rows) for group in groups)
    extra = f" ({rows} with their exact duplicates)" if rows > len(groups) else ""
    parts = ", ".join(["train", *reversed(list(fractions))])
    settings = " or ".join(f"data.{split}_fraction=0" for split in fractions)
    raise DataError(
        f"{name} has {len(groups)} distinct examples{extra}, too few to split into "
        f"{parts}: {needed} are needed.",
        hint=f"add examples, leave the class out, give the splits yourself, or set {settings}",
    )


def _check_all_learnable(examples: Examples) -> None:
    """A class that shares all its inputs with others can have been drawn out of train."""
    named = [target for target in examples.targets if isinstance(target, str)]
    lost = set(named) - set(examples.split("train").targets)
    if lost:
        raise DataError(
            f"The split leaves no training example of the classes {sorted(lost)}: all their "
            "inputs occur with other labels too.",
            hint="mend the labels of those duplicates",
        )


def _choose(
    groups: Sequence[_Group], fractions: Mapping[Split, float]
) -> dict[Split, list[_Group]]:
    """Takes each split's share of one stratum; the rest is left for training."""
    total = sum(len(group.rows) for group in groups)
    left = list(groups)
    chosen: dict[Split, list[_Group]] = {}
    for done, (split, fraction) in enumerate(fractions.items(), start=1):
        must_stay = len(fractions) - done + 1
        chosen[split] = _take(left, max(1, round(fraction * total)), len(left) - must_stay)
        taken = {group.rank for group in chosen[split]}
        left = [group for group in left if group.rank not in taken]
    return chosen


def _take(groups: Sequence[_Group], quota: int, at_most: int) -> list[_Group]:
    """Groups in order while they fit the quota, or the smallest where none does."""
    taken: list[_Group] = []
    room = quota
    for group in groups:
        if len(group.rows) <= room and len(taken) < at_most:
            taken.append(group)
            room -= len(group.rows)
    return taken or [min(groups, key=lambda group: len(group.rows))]


def _distinct_first(groups: Sequence[_Group]) -> list[int]:
    """All rows of a stratum: one of each group first, then the second of each, and so on."""
    pairs = [
        (copy, place, row)
        for place, group in enumerate(groups)
        for copy, row in enumerate(group.rows)
    ]
    return [row for *_, row in sorted(pairs)]

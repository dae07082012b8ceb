"""Draws parts of rows so that each is like the whole: by strata, or over sets of labels."""

from __future__ import annotations

import warnings
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tltool.support.errors import DataError
from tltool.support.words import count, natural_key

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

TINY = 1e-9
"""What is left of 1 by rounding alone when shares that add up to it are taken off."""
_MOST_STRATA = 100
"""Different targets up to which folds of groups are stratified by them."""
SHOWN = 20
"""Strata that are too small and named."""
_UNLABELLED = ""  # Stands for the label of rows that have none.


def by_strata(
    strata: Sequence[str], sizes: Sequence[int], shares: Mapping[str, float]
) -> list[str | None]:
    """Takes each part's share of every stratum.

    A stratum gives one group at least to each part and keeps one, and groups
    are never torn, so small strata deviate from the share.

    Args:
        strata: Of each group, in the order of the draw.
        sizes: Rows of each group.
        shares: Share of the rows of each part, in the order in which they are drawn.

    Returns:
        The part of each group; None for what is left.

    Raises:
        DataError: Strata have too few groups; names all of them.
    """
    # Not lists, in which each number is an object.
    members: dict[str, array[int]] = defaultdict(lambda: array("q"))
    for group, name in enumerate(strata):
        members[name].append(group)
    check_sizes(members, sizes, shares)
    parts: list[str | None] = [None] * len(strata)
    for groups in members.values():
        left = list(groups)
        total = sum(sizes[group] for group in groups)
        for done, (part, share) in enumerate(shares.items(), start=1):
            must_stay = len(shares) - done + 1
            quota = max(1, round(share * total))
            for group in _take(left, sizes, quota, len(left) - must_stay):
                parts[group] = part
            left = [group for group in left if parts[group] is None]
    return parts


def _take(groups: Sequence[int], sizes: Sequence[int], quota: int, at_most: int) -> list[int]:
    """Groups in order while they fit the quota, or the smallest where none does."""
    taken: list[int] = []
    room = quota
    for group in groups:
        if sizes[group] <= room and len(taken) < at_most:
            taken.append(group)
            room -= sizes[group]
    return taken or [min(groups, key=lambda group: sizes[group])]


def over_label_sets(
    label_sets: Sequence[Sequence[str]], sizes: Sequence[int], shares: Mapping[str, float]
) -> list[str | None]:
    """Iterative stratification: labels in the order of their rarity, to where most are wanted.

    Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of
    Multi-Label Data" (ECML PKDD), figure 1, with groups of rows for examples
    and, in place of chance, the order of the draw. A part that is as wanted
    for a label as another gets the group if it lacks more rows altogether, and
    the first group of a label is left, where anything is.

    Args:
        label_sets: Of each group, in the order of the draw; may be empty.
        sizes, shares: As for `by_strata`.

    Returns:
        The part of each group; None for what is left, whose share is the rest of 1.
    """
    parts: list[str | None] = [*shares, None]
    rest = max(0.0, 1.0 - sum(shares.values()))
    wanted = dict(zip(parts, [*shares.values(), rest], strict=True))
    sets = [tuple(dict.fromkeys(labels)) or (_UNLABELLED,) for labels in label_sets]
    groups_of: dict[str, list[int]] = defaultdict(list)
    rows_of: dict[str, int] = defaultdict(int)
    for group, labels in enumerate(sets):
        for label in labels:
            groups_of[label].append(group)
            rows_of[label] += sizes[group]
    lacking = {
        part: {label: share * rows for label, rows in rows_of.items()}
        for part, share in wanted.items()
    }
    room = {part: share * sum(sizes) for part, share in wanted.items()}
    chosen: dict[int, str | None] = {}
    kept = {_UNLABELLED}
    left = dict(rows_of)
    while left:
        # Rows without labels go last: they fill up what the labels have left uneven.
        rarest = min(
            left, key=lambda label: (label == _UNLABELLED, left[label], natural_key(label))
        )
        for group in groups_of[rarest]:
            if group in chosen:
                continue
            wants = room if rarest == _UNLABELLED else {p: lacking[p][rarest] for p in parts}
            part = max(reversed(parts), key=lambda part: (wants[part], room[part]))
            # What is rare must be trained on.
            if rest > TINY and rarest not in kept:
                part = None
            if part is None:
                kept.update(sets[group])
            chosen[group] = part
            room[part] -= sizes[group]
            for label in sets[group]:
                lacking[part][label] -= sizes[group]
                if label in left:
                    left[label] -= sizes[group]
        del left[rarest]
    return [chosen[group] for group in range(len(sets))]


def by_groups(
    strata: Sequence[str], groups: Sequence[Sequence[int]], shares: Mapping[str, float]
) -> list[str | None]:
    """Takes each part's share of every stratum as far as whole groups of many rows allow.

    Groups are given away from the largest to the smallest, in the order of the
    draw where they are equal: each to the part by which the squares of what the
    parts have too much or too little of each stratum, relative to the stratum,
    grow the least (as scikit-learn's StratifiedGroupKFold does for equal
    shares). The first group with a stratum is left, where anything is.

    Args:
        strata: Of each row.
        groups: The rows of each group, in the order of the draw.
        shares: As for `by_strata`.

    Returns:
        The part of each group; None for what is left, whose share is the rest of 1.

    Raises:
        DataError: There are too few groups for a part to have one.
    """
    totals = Counter(strata)
    counts = [Counter(strata[row] for row in rows) for rows in groups]
    shares_of: dict[str | None, float] = {None: 1.0 - sum(shares.values())}
    shares_of.update(shares)
    lacking = {
        part: {name: share * total for name, total in totals.items()}
        for part, share in shares_of.items()
    }
    parts: list[str | None] = [None] * len(groups)
    left = Counter[str]()

    def gain(part: str | None, found: Counter[str]) -> float:
        return sum(
            number * (2 * lacking[part][name] - number) / totals[name]
            for name, number in found.items()
        )

    for group in sorted(range(len(groups)), key=lambda group: -len(groups[group])):
        found = counts[group]
        new = any(not left[name] for name in found)
        part = None if new else max(shares_of, key=lambda one: gain(one, found))
        parts[group] = part
        if part is None:
            left.update(found)
        for name, number in found.items():
            lacking[part][name] -= number
    for part in shares:
        if part not in parts:
            spare = [
                group
                for group, found in enumerate(counts)
                if parts[group] is None and all(left[n] > found[n] for n in found)
            ]
            if not spare:
                raise _too_few_groups(part, len(groups), shares)
            smallest = min(spare, key=lambda group: len(groups[group]))
            parts[smallest] = part
            left.subtract(counts[smallest])
    return parts


def _too_few_groups(part: str, number: int, shares: Mapping[str, float]) -> DataError:
    return DataError(
        f"{count(number, 'group')} of rows cannot be divided: none is left for {part}, since "
        "train needs the others.",
        hint="add groups, give the splits yourself, or set "
        + " or ".join(f"data.{name}_fraction=0" for name in shares),
    )


def label_set_folds(
    label_sets: Sequence[Sequence[str]], count: int, seed: int
) -> list[tuple[Array, Array]]:
    """Folds of a cross-validation by iterative stratification, in an order of the seed.

    Args:
        label_sets: Of each row; may be empty.
        count: Folds.
        seed: Of the order.

    Returns:
        Row numbers to fit on and to score, of each fold.

    Raises:
        DataError: There are fewer rows than folds.
    """
    import numpy as np

    total = len(label_sets)
    if not 2 <= count <= total:
        raise DataError(f"{count} folds need {count} rows, and 2 at least; there are {total}.")
    order = np.random.default_rng(seed).permutation(total)
    shares = {str(fold): 1 / count for fold in range(count)}
    drawn = over_label_sets([label_sets[row] for row in order], [1] * total, shares)
    parts, rows = np.array(drawn), np.arange(total)
    held_out = [np.sort(order[parts == fold]) for fold in shares]
    return [(np.setdiff1d(rows, part), part) for part in held_out]


def group_folds(
    truth: Array, groups: Sequence[str], count: int, seed: int
) -> list[tuple[Array, Array]]:
    """Folds of a cross-validation with whole groups, stratified by targets where few differ.

    Args:
        truth: Of the rows, (n, ...).
        groups: What each row belongs to.
        count: Folds.
        seed: Of the draw.

    Returns:
        Row numbers to fit on and to score, as scikit-learn's StratifiedGroupKFold gives
        them; a fold without groups is left out.

    Raises:
        DataError: There are fewer groups than folds.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    number = len(set(groups))
    if not 2 <= count <= number:
        raise DataError(
            f"{count} folds need {count} groups of rows, and 2 at least; there are {number}.",
            hint=f"take {number} folds or fewer, or drop data.group_column"
            if number > 1
            else "add rows of other groups, or drop data.group_column",
        )
    rows = np.asarray(truth).reshape(len(groups), -1)
    distinct, strata = np.unique(rows, axis=0, return_inverse=True)
    if len(distinct) > _MOST_STRATA:
        strata = np.zeros(len(groups), int)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer rows than folds is missing from some of them, which does no harm.
        warnings.simplefilter("ignore", UserWarning)
        folds = list(splitter.split(rows, strata.reshape(-1), list(groups)))
    return [(fitted, scored) for fitted, scored in folds if len(fitted) and len(scored)]


def stratum_numbers(strata: Sequence[str]) -> Array:
    """The number of each row's stratum, int64 (n,), in the order of their names."""
    import numpy as np

    return np.unique(np.array(strata, object), return_inverse=True)[1]


def in_turns(strata: Sequence[str], count: int) -> list[int]:
    """At most `count` row numbers, as many of each stratum as there are, spread over its rows.

    The strata take turns, so that any part of the result is as balanced.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(strata):
        members[name].append(row)
    share = -(-count // len(members)) if members else 0
    chosen = [
        [rows[i] for i in evenly_spaced(len(rows), share)] for _, rows in sorted(members.items())
    ]
    return [rows[i] for i in range(share) for rows in chosen if i < len(rows)][:count]


def evenly_spaced(total: int, most: int) -> list[int]:
    """At most `most` row numbers out of `total`, spread over all of them."""
    count = min(total, most)
    return [i * total // count for i in range(count)]


def check_sizes(
    members: Mapping[str, Sequence[int]], sizes: Sequence[int], shares: Mapping[str, float]
) -> None:
    """Raises DataError where strata have too few groups to be in every part, naming all of them."""
    needed = 1 + len(shares)
    small = [name for name, groups in members.items() if len(groups) < needed]
    if not small:
        return
    lines = []
    for name in sorted(small, key=natural_key):
        groups = members[name]
        rows = sum(sizes[group] for group in groups)
        extra = f" ({rows} with their exact duplicates)" if rows > len(groups) else ""
        lines.append(f"{name} has {count(len(groups), 'distinct example')}{extra}")
    parts = ", ".join(["train", *reversed(list(shares))])
    settings = " or ".join(f"data.{part}_fraction=0" for part in shares)
    left_out = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    what = "\n  ".join(["", *lines[:SHOWN], *left_out]) if len(lines) > 1 else f"{lines[0]}, "
    raise DataError(
        f"{what}too few to split into {parts}: {needed} are needed."
        if len(lines) == 1
        else f"Too few examples to split into {parts}, {needed} of each are needed:{what}",
        hint=f"add examples, leave the class out, give the splits yourself, or set {settings}",
    )

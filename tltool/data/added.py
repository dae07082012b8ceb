"""Rows that came in later (`data.added`) beside those that are split already."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tltool.data.checks.fingerprints import each_duplicate_digest, number_of
from tltool.data.examples import SPLITS, Examples, Split
from tltool.data.splits import split_examples
from tltool.support.errors import DataError
from tltool.support.words import count


@dataclass(frozen=True)
class Added:
    """What became of one source of added rows.

    Attributes:
        source: As the recipe names it.
        rows: How many rows of it are in each split.
        left_out: How many inputs of it are in the data before, by the split that they are in there.
        relabelled: How many of these have another label there; of labels that are files, 0.
    """

    source: str
    rows: Mapping[str, int]
    left_out: Mapping[str, int]
    relabelled: int

    def __str__(self) -> str:
        rows = ", ".join(f"{number:,} {split}" for split, number in self.rows.items())
        told = f"added: {rows} rows of {self.source}"
        if self.left_out:
            there = ", ".join(f"{number:,} in {split}" for split, number in self.left_out.items())
            total = count(sum(self.left_out.values()), "row")
            told += f"; left out {total} that the data before has too ({there})"
        if self.relabelled:
            told += f", {self.relabelled:,} of them with another label, which does not count"
        return told

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "source": self.source,
            "rows": dict(self.rows),
            "left_out": dict(self.left_out),
            "relabelled": self.relabelled,
        }


def with_added(
    known: Examples,
    found: Examples,
    source: str,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> tuple[Examples, Added]:
    """Adds rows to data that is split, whose splits stay as they are.

    Inputs that the data before has are left out, so that none of its test rows is trained on.
    Of the rest, rows of a group that it has go where that group is, whatever they say themselves.

    Args:
        known: The data before, no row of it undecided.
        found: The rows, undecided where they are not divided themselves.
        source: What names them, for messages.
        validation_fraction, test_fraction, seed: As for `split_examples`. What is too rare to be
            in every split is trained on.

    Returns:
        First the rows before, then those that are new; and what became of these.

    Raises:
        DataError: None of them is new.
    """
    before: dict[int, int] = {}
    for row, content in enumerate(_contents(known)):
        before.setdefault(content, row)
    same = [before.get(content) for content in _contents(found)]
    there = [(row, at) for row, at in enumerate(same) if at is not None]
    new = found.take(array("q", (row for row, at in enumerate(same) if at is None)))
    if not len(new):
        raise DataError(
            f"data.added: all {count(len(found), 'row')} of {source} are in the data before "
            "already."
            if len(found)
            else f"data.added: {source} holds no usable row.",
            hint="name data with other inputs; data.decisions changes labels of rows that are "
            "there",
        )
    new = split_examples(
        replace(new, splits=_as_their_groups(new, known)),
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
        beside=True,
    )
    told = Added(
        source,
        _by_split(new.splits),
        _by_split(known.splits[at] for _, at in there),
        _relabelled(found, known, there),
    )
    return known.followed_by(new), told


def _relabelled(found: Examples, known: Examples, there: Sequence[tuple[int, int]]) -> int:
    if found.kind.file_labels:
        return 0
    return sum(found.targets[row] != known.targets[at] for row, at in there)


def _contents(examples: Examples) -> Iterator[int]:
    return map(number_of, each_duplicate_digest(examples))


def _as_their_groups(new: Examples, known: Examples) -> Sequence[Split | None]:
    """The split of each row, which a group or a tie that the data before has decides."""
    splits = list(new.splits)
    kind = known.kind
    ties = ((known.groups, new.groups), (kind.linked(known.inputs), kind.linked(new.inputs)))
    for before, now in ties:
        if before and now:
            split_of = dict(zip(before, known.splits, strict=True))
            splits = [split_of.get(*one) for one in zip(now, splits, strict=True)]
    return splits


def _by_split(splits: Sequence[Split | None] | Iterator[Split | None]) -> dict[str, int]:
    found = Counter(splits)
    return {split: found[split] for split in SPLITS if found[split]}

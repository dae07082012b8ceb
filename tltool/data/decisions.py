"""What was decided of single rows: kept, dropped or given another label, while their data stays.

A table of decisions (`data.decisions`) has a row for each finding of an audit. It is applied when
data is read: nothing writes to the data. A decision holds for the row as it was when it was taken:
one whose content or label has changed since is refused.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from tltool.data.decided import Decided
from tltool.data.examples import Examples
from tltool.data.reading.csv_records import find_delimiter
from tltool.support.errors import DataError, did_you_mean
from tltool.support.files import atomic_path, sha256
from tltool.support.words import count, excerpt, listed
from tltool.tasks.target import Target
from tltool.tasks.values import BadValueError

COLUMNS = (
    "finding", "score", "origin", "split", "sha256", "label", "suggested", "other", "input",
    "decision", "new_label",
)  # fmt: skip
"""Of the table; those from `origin` to `label` but for `split`, and the last two, are read."""
_NEEDED = ("origin", "sha256", "label", "decision")
_SHOWN = 20
_INPUTS = 6

What = Literal["keep", "drop", "relabel"]
_KNOWN: dict[str, What] = {"keep": "keep", "drop": "drop", "relabel": "relabel"}


@dataclass(frozen=True)
class Decision:
    """What was decided of one row.

    Attributes:
        where: The line of the table, for messages.
        origin: Where the row came from then.
        content: sha256 of its input, in hex.
        label: That it had, as `Target.cell` writes it.
        what: To keep it as it is, to drop it, or to give it `new_label`.
        new_label: As `Target.cell` writes it; empty but for "relabel".
    """

    where: str
    origin: str
    content: str
    label: str
    what: What
    new_label: str = ""


def read_decisions(path: Path) -> list[Decision]:
    """The decisions in a table; its rows without one count for nothing.

    Raises:
        DataError: The file can't be read, lacks a column, or has decisions that are none or that
            contradict each other; all of them are named.
    """
    rows = _rows_of(path)
    found: dict[tuple[str, str, str], Decision] = {}
    faults = []
    for line, row in rows:
        if not (said := row["decision"].strip().lower()):
            continue
        what = _KNOWN.get(said)
        where, new = f"{path}:{line}", row.get("new_label") or row.get("suggested") or ""
        if what is None:
            faults.append(f"{where}: decision={said!r}; allowed are {', '.join(_KNOWN)}")
        elif what == "relabel" and not new:
            faults.append(f"{where}: relabel needs a new_label")
        else:
            one = Decision(where, row["origin"], row["sha256"], row["label"], what,
                           new if what == "relabel" else "")  # fmt: skip
            first = found.setdefault((one.origin, one.content, one.label), one)
            if (first.what, first.new_label) != (one.what, one.new_label):
                faults.append(f"{where}: {one.origin} is decided otherwise in {first.where}")
    if faults:
        raise _refused(path, faults, "decide once for each row, or leave the cell empty")
    return list(found.values())


def apply_decisions(examples: Examples, path: Path) -> Examples:
    """The rows as a table of decisions has them; `Examples.decided` says what it changed.

    Args:
        examples: All rows of the data.
        path: The table.

    Raises:
        DataError: As `apply_to_parts`.
    """
    return apply_to_parts([examples], path)[0]


def apply_to_parts(parts: Sequence[Examples], path: Path) -> list[Examples]:
    """The same for data whose rows are in several tables, of which the first gets `decided`.

    Raises:
        DataError: As `read_decisions`; or a decision is stale: its row is not there, or has
            another content or label than when it was decided. All such are named.
    """
    decisions = read_decisions(path)
    examples = reduce(Examples.followed_by, parts)
    rows, faults = _rows_decided(examples, decisions)
    targets: dict[int, Any] = {}
    words, as_it_was = examples.kind.cell, set()
    known = {name for target in examples.targets for name in examples.kind.names_in(target)}
    for row, decision in rows.items():
        if decision.what == "relabel":
            try:
                new = _new_target(decision, examples.kind, known)
            except BadValueError as error:
                faults.append(f"{decision.where}: {error}")
                continue
            if words(new) == words(examples.targets[row]):
                as_it_was.add(row)
            else:
                targets[row] = new
    if faults:
        raise _refused(path, faults, "audit the data as it is now, and decide anew")
    dropped = {row for row, decision in rows.items() if decision.what == "drop"}
    kept = frozenset(
        (d.content, d.label) for row, d in rows.items() if d.what == "keep" or row in as_it_was
    )
    some = [*sorted(dropped)[:_INPUTS], *sorted(targets)[:_INPUTS]]
    decided = Decided(
        str(path),
        sha256(path),
        tuple(examples.origins[row] for row in sorted(dropped)),
        tuple((examples.origins[row], words(examples.targets[row]), words(new))
              for row, new in sorted(targets.items())),
        kept,
        _findings(path),
        {examples.origins[row]: examples.inputs[row] for row in some},
        examples.modality == "image",
    )  # fmt: skip
    starts = accumulate(map(len, parts), initial=0)
    first, *more = (_changed(*one, targets, dropped) for one in zip(parts, starts, strict=False))
    return [replace(first, decided=decided), *more]


def _changed(
    examples: Examples, start: int, targets: Mapping[int, Any], dropped: Collection[int]
) -> Examples:
    """One table of several, whose rows are counted from `start`."""
    if targets:
        changed = [targets.get(start + row, target) for row, target in enumerate(examples.targets)]
        examples = replace(examples, targets=changed)
    return examples.where(lambda row: start + row not in dropped)


def _findings(path: Path) -> Counter[tuple[str, str]]:
    return Counter(
        (row.get("finding", "").strip(), row["decision"].strip().lower())
        for _, row in _rows_of(path)
    )


def write_decisions(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table of decisions (CSV), whole or not at all; what a row lacks is empty."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def refuse_to_replace(path: Path) -> None:
    """Raises DataError where a table holds decisions, which would be lost if it was written anew.

    A file that is no such table is refused too.
    """
    if path.is_file() and (taken := len(read_decisions(path))):
        raise DataError(
            f"{path} holds {count(taken, 'decision')}, which would be lost.",
            hint="move that file, or choose another place with --output",
        )


def _rows_of(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of the table, with their lines."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            # Spreadsheets of some languages save semicolons.
            reader = csv.DictReader(file, delimiter=find_delimiter(header, _NEEDED))
            lacking = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if lacking:
                raise DataError(
                    f"data.decisions: {path} lacks the columns {listed(lacking)}.",
                    hint="`tltool data audit` writes such a table; fill in its column `decision`",
                )
            return [(reader.line_num, {key: value or "" for key, value in row.items() if key})
                    for row in reader]  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"data.decisions: {path} can't be read: {reason}.",
            hint="name the audit.csv that holds your decisions, in UTF-8",
        ) from error


def _rows_decided(
    examples: Examples, decisions: Sequence[Decision]
) -> tuple[dict[int, Decision], list[str]]:
    """The row of each decision, and what is wrong with those that have none."""
    at = defaultdict(list)
    for row, origin in enumerate(examples.origins):
        at[origin].append(row)
    contents = _Contents(examples)
    found: dict[int, Decision] = {}
    faults = []
    for one in decisions:
        rows = [row for row in at.get(one.origin, ()) if contents.of(row) == one.content]
        # Lines move where others are added or removed, and folders are renamed.
        rows = rows or contents.rows_of(one.content)
        fit = [row for row in rows if _label(examples, row) == one.label and row not in found]
        if fit:
            found[fit[0]] = one
        else:
            faults.append(_stale(one, examples, rows, at.get(one.origin, ())))
    return found, faults


class _Contents:
    """The contents of rows, of which files are read when they are asked for."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self._known: dict[int, str] = {}
        self._rows: dict[str, list[int]] | None = None

    def of(self, row: int) -> str:
        from tltool.data.checks.fingerprints import content_digests

        if row not in self._known:
            try:
                digest = content_digests(self._examples.take([row]))[0]
                self._known[row] = digest.tobytes().hex()
            except DataError:  # a file that can't be read is told of when all are checked
                self._known[row] = ""
        return self._known[row]

    def rows_of(self, content: str) -> list[int]:
        if self._rows is None:
            self._rows = defaultdict(list)
            for row in range(len(self._examples)):
                self._rows[self.of(row)].append(row)
        return self._rows.get(content, [])


def _label(examples: Examples, row: int) -> str:
    return examples.kind.cell(examples.targets[row])


def _stale(one: Decision, examples: Examples, same: Sequence[int], there: Sequence[int]) -> str:
    if same:
        now = _label(examples, same[0])
        if now == one.label:
            return f"{one.where}: {one.origin} is decided more often than it is in the data"
        return (
            f"{one.where}: {one.origin} was labelled {excerpt(one.label, 60)!r} and is "
            f"{excerpt(now, 60)!r} now"
        )
    if there:
        return f"{one.where}: {one.origin} has another content now"
    return f"{one.where}: {one.origin} is not in the data any more"


def _new_target(decision: Decision, kind: type[Target], known: set[str]) -> Any:
    """The target that a row gets.

    Raises:
        BadValueError: It is none, or has a name that no row of the data has.
    """
    target = kind.of_cell(decision.new_label)
    if unknown := [name for name in kind.names_in(target) if name not in known]:
        near = did_you_mean(unknown[0], sorted(known))
        raise BadValueError(
            f"no row has the {kind.noun} {unknown[0]!r}" + (f"; {near}" if near else "")
        )
    return target


def _refused(path: Path, faults: Sequence[str], hint: str) -> DataError:
    more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    message = f"data.decisions: {count(len(faults), 'decision')} in {path} can't be followed:"
    return DataError("\n  ".join([message, *faults[:_SHOWN], *more]), hint=hint)

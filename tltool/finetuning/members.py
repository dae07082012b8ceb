"""What a run keeps of each member of an ensemble (`ensemble.seeds`) while the others train."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tltool.recipe.recipe import Recipe
from tltool.runs.folder import RunFolder
from tltool.support.errors import RunError, TrainingError
from tltool.support.files import read_json, write_json

if TYPE_CHECKING:
    from tltool.training.best_weights import HistoryRow
    from tltool.training.trainer import TrainingResult


@dataclass(frozen=True)
class Member:
    """What the training of one model found that came to its end.

    Attributes:
        history: One row for each epoch.
        best: The row of the one whose weights are kept.
        notes: As in `TrainingResult`.
    """

    history: tuple[HistoryRow, ...]
    best: HistoryRow
    notes: tuple[str, ...] = ()


def write_members(folder: RunFolder, members: Sequence[Member]) -> None:
    """Keeps what the members so far found: from now on a stopped run goes on with the next one.

    Raises:
        TrainingError: The best weights of the last of them could not be written.
    """
    file = folder.member_weights(len(members))
    if not file.is_file():
        raise TrainingError(
            f"The weights of member {len(members)} can't be kept in {file}, from which the "
            "ensemble is made.",
            hint="make room, or train with ensemble.seeds=1",
        )
    write_json(folder.members, [asdict(member) for member in members])


def read_members(folder: RunFolder) -> tuple[Member, ...]:
    """What `write_members` kept; nothing before.

    Raises:
        RunError: It is damaged.
    """
    file = folder.members
    if not file.is_file():
        return ()
    try:
        return tuple(
            Member(tuple(one["history"]), one["best"], tuple(one["notes"]))
            for one in read_json(file)
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"{file} is damaged: {error}", hint="train anew") from error


def state_folder(folder: RunFolder, number: int) -> Path:
    """Where the checkpoints of a member are, counted from 1."""
    first = folder.origin.parent
    return first if number == 1 else first / f"member-{number}"


def remove_states(folder: RunFolder) -> None:
    """Removes what stopped members would go on from; their weights stay."""
    for place in folder.origin.parent.glob("member-*"):
        shutil.rmtree(place, ignore_errors=True)


def together(
    recipe: Recipe, members: Sequence[Member], last: TrainingResult | None = None
) -> TrainingResult:
    """The trainings of all members as one.

    Args:
        recipe: Of the ensemble.
        members: That came to their end.
        last: Of one that was interrupted; it is no part of the model unless it is the first.
    """
    from tltool.training.trainer import TrainingResult

    histories = [member.history for member in members]
    best: HistoryRow | None = {"members": len(members), "seed": recipe.training.seed}
    notes = [note for member in members for note in member.notes]
    if last is not None:
        histories.append(last.history)
        best = best if members else last.best
        notes += last.notes
    rows = [
        {"member": number, **row}
        for number, history in enumerate(histories, start=1)
        for row in history
    ]
    counted = tuple({**row, "total_epoch": place} for place, row in enumerate(rows, start=1))
    return TrainingResult(counted, best, last is not None, notes=tuple(dict.fromkeys(notes)))

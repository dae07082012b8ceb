"""What a run keeps between its two trainings, where `training.refit` asks for a second one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.runs.folder import RunFolder
from tltool.support.errors import RunError, TrainingError
from tltool.support.files import read_json, write_json

if TYPE_CHECKING:
    from tltool.training.best_weights import HistoryRow
    from tltool.training.trainer import TrainingResult

VALIDATED, REFIT = "validated", "refit"
"""What the column `training` of the history says of each epoch."""


@dataclass(frozen=True)
class FirstTraining:
    """What the training on the training rows alone found; its best weights are the run's best.

    Attributes:
        history: One row for each epoch.
        best: The row of the best one.
        epochs: Of each phase, by number, those that led to it.
    """

    history: tuple[HistoryRow, ...]
    best: HistoryRow
    epochs: Mapping[int, int]

    def write(self, folder: RunFolder) -> None:
        """Keeps it: from now on a stopped run goes on with the second training.

        Raises:
            TrainingError: Its best weights could not be written.
        """
        if not folder.checkpoint.is_file():
            raise TrainingError(
                f"The best weights of the first training can't be kept in {folder.checkpoint}, "
                "and the validation rows are measured with them.",
                hint="make room, or train with training.refit=false",
            )
        values: dict[str, Any] = {
            "history": self.history,
            "best": self.best,
            "epochs": {str(number): count for number, count in self.epochs.items()},
        }
        write_json(folder.first_training, values)

    @classmethod
    def read(cls, folder: RunFolder) -> FirstTraining | None:
        """What `write` kept; None before.

        Raises:
            RunError: It is damaged.
        """
        file = folder.first_training
        if not file.is_file():
            return None
        try:
            found = read_json(file)
            epochs = {int(number): int(count) for number, count in found["epochs"].items()}
            return cls(tuple(found["history"]), found["best"], epochs)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunError(f"{file} is damaged: {error}", hint="train anew") from error

    def followed_by(self, second: TrainingResult, rows: int) -> TrainingResult:
        """Both trainings as one: the model is that of the second, unless it was interrupted.

        Args:
            second: Its result.
            rows: That it trained on.
        """
        history = (*_told(self.history, VALIDATED), *_told(second.history, REFIT, self.history))
        if second.interrupted or second.best is None:
            best = next(row for row in history if row["total_epoch"] == self.best["total_epoch"])
            return replace(second, history=history, best=best, interrupted=True)
        return replace(second, history=history, best=history[-1], refit_rows=rows)

    def alone(self) -> TrainingResult:
        """The result of a run that trains no second time."""
        from tltool.training.trainer import TrainingResult

        history = tuple(_told(self.history, VALIDATED))
        best = next(row for row in history if row["total_epoch"] == self.best["total_epoch"])
        return TrainingResult(history, best, False)


def refit_folder(folder: RunFolder) -> Path:
    """Where the second training's checkpoints are."""
    return folder.origin.parent / REFIT


def remove_second(folder: RunFolder) -> None:
    """Removes what a stopped run would go on from in its second training."""
    shutil.rmtree(refit_folder(folder), ignore_errors=True)
    folder.first_training.unlink(missing_ok=True)


def _told(
    rows: Sequence[HistoryRow], training: str, before: Sequence[HistoryRow] = ()
) -> list[HistoryRow]:
    """Rows that say which training they are of, counted after those before them."""
    return [
        {
            "training": training,
            **row,
            "total_epoch": len(before) + number,
        }
        for number, row in enumerate(rows, start=1)
    ]

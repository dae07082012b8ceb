"""The best weights of all epochs so far, kept in memory and in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tltool.support.errors import RunError, first_line
from tltool.support.files import atomic_path
from tltool.support.progress import Progress

HistoryRow = dict[str, str | int | float | None]
# The history row of the weights in the file, and the places of its tensors among the variables of
# the model: names that Keras gives depend on what else a process has built.
_ROW, _PLACES = "row", "places"


@dataclass(frozen=True)
class Rule:
    """Which of two epochs is better.

    Attributes:
        monitor: Key of the history row that decides.
        higher_is_better: Its direction.
        min_delta: Smallest change that counts as better.
        loss: Key of the history row whose lower value decides between epochs that are equal by
            `monitor`; None takes the first of these.
    """

    monitor: str
    higher_is_better: bool
    min_delta: float = 0.0
    loss: str | None = None

    def is_better(self, row: HistoryRow, than: HistoryRow | None) -> bool:
        """Whether an epoch is better than the best before it; None is that there was none."""
        value = self._value(row)
        if than is None:
            return value > -math.inf
        best = self._value(than)
        if value == best and self.loss is not None:
            return float(row[self.loss] or 0.0) < float(than[self.loss] or 0.0)
        return value > best + self.min_delta

    def best_of(self, rows: Iterable[HistoryRow]) -> HistoryRow | None:
        """The epoch that is kept of several in order; None of none."""
        best: HistoryRow | None = None
        for row in rows:
            if self.is_better(row, best):
                best = row
        return best

    def _value(self, row: HistoryRow) -> float:
        value = float(row[self.monitor] or 0.0)
        return value if self.higher_is_better else -value


class BestWeights:
    """The best weights of all phases so far.

    Only what some phase trained can differ from the pretrained model, so only
    that is kept: in memory, and in a file for the case that the process dies.

    Args:
        model: The whole model.
        path: The file (`.safetensors`), replaced atomically; its tensors are
            named by the paths of the variables. None keeps them in memory alone.
        rule: Which of two epochs is better.
        progress: Is told where the file cannot be written.
        newest: Keep the weights of the newest epoch, whichever is best.
    """

    def __init__(
        self,
        model: keras.Model,
        path: Path | None,
        rule: Rule,
        progress: Progress | None = None,
        *,
        newest: bool = False,
    ) -> None:
        self.path = path
        self.row: HistoryRow | None = None
        self.leader: HistoryRow | None = None
        self._variables = {v.path: v for v in model.variables}
        self._kept: dict[str, np.ndarray] = {}
        self.rule = rule
        self._newest = newest
        self._progress = progress or Progress()
        self._unwritten = False

    def begin_phase(self, changing: Collection[str]) -> None:
        """Notes the weights, by path, that a phase is about to change."""
        for path in changing:
            self._kept.setdefault(path, self._variables[path].numpy())

    def offer(self, row: HistoryRow) -> bool:
        """Keeps an epoch's weights where they are to be kept; whether it is the best so far."""
        better = self.rule.is_better(row, self.leader)
        if better:
            self.leader = row
        if better or self._newest:
            self.keep(row)
        return better

    def keep(self, row: HistoryRow) -> None:
        """Keeps the model's weights, however good they are, as those of a row.

        Where they cannot be written, memory alone has them: training goes on.
        """
        kept = {path: self._variables[path].numpy() for path in self._kept}
        self._kept, self.row = kept, row
        self._try_to_write(row)

    def _try_to_write(self, row: HistoryRow) -> None:
        try:
            self._write(row)
        except (OSError, SafetensorError) as error:  # the library has a name of its own for both
            if not self._unwritten:
                self._progress.note(
                    f"warning: {self.path} cannot be written ({first_line(error)}): the best "
                    "weights are in memory alone until training ends"
                )
            self._unwritten = True

    @property
    def places(self) -> list[int]:
        """Of the weights that are kept, among the variables of the model."""
        return [place for place, path in enumerate(self._variables) if path in self._kept]

    def kept(self) -> dict[int, np.ndarray]:
        """The best weights by their places; empty before the first epoch's end."""
        if self.row is None:
            return {}
        return {p: self._kept[path] for p, path in enumerate(self._variables) if path in self._kept}

    def take_back(
        self,
        places: Sequence[int],
        kept: Mapping[int, np.ndarray],
        row: HistoryRow | None,
        leader: HistoryRow | None,
    ) -> None:
        """Goes on from what `places`, `kept`, `row` and `leader` were in another process."""
        paths = list(self._variables)
        self._kept = {
            paths[p]: kept[p] if p in kept else self._variables[paths[p]].numpy() for p in places
        }
        self.row, self.leader = row, leader
        if row is not None:
            self._try_to_write(row)

    def _write(self, row: HistoryRow) -> None:
        if self.path is None:
            return
        order = {path: place for place, path in enumerate(self._variables)}
        places = {path: order[path] for path in self._kept}
        metadata = {_ROW: json.dumps(row), _PLACES: json.dumps(places)}
        with atomic_path(self.path) as temporary:
            save_file(self._kept, temporary, metadata)

    def restore(self) -> None:
        """Puts the best weights back; does nothing before the first epoch's end."""
        if self.row is not None:
            for path, value in self._kept.items():
                self._variables[path].assign(value)


def load_best(path: Path, model: keras.Model) -> None:
    """Puts the weights of a file of `BestWeights` into a model built as the trained one was.

    Args:
        path: The file.
        model: With the pretrained weights, which the file lacks where no phase trained them.

    Raises:
        RunError: The file is damaged, or of another model.
    """
    with _reading(path) as file:
        variables = model.variables
        for name, place in json.loads(file.metadata()[_PLACES]).items():
            variables[place].assign(file.get_tensor(name))


def best_row(path: Path) -> HistoryRow:
    """The history row of the epoch whose weights are in a file of `BestWeights`.

    Raises:
        RunError: The file is damaged.
    """
    with _reading(path) as file:
        row: HistoryRow = json.loads(file.metadata()[_ROW])
    return row


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise RunError(
            f"The weights in {path} can't be put into the model: {first_line(error)}",
            hint="The file is damaged, or not of this run; train again.",
        ) from error

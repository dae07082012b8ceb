"""The best weights of all epochs so far, kept in memory and in a file."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import save_file

from tltool.support.files import atomic_path

HistoryRow = dict[str, str | int | float | None]


class BestWeights:
    """The best weights of all phases so far.

    Only what some phase trained can differ from the pretrained model, so only
    that is kept: in memory, and in a file for the case that the process dies.

    Args:
        model: The whole model.
        path: The file (`.safetensors`), replaced atomically; its tensors are
            named by the paths of the variables.
        monitor: Key of the history row that decides.
        higher_is_better: Direction of `monitor`.
        min_delta: Smallest change that counts as better.
    """

    def __init__(
        self,
        model: keras.Model,
        path: Path,
        monitor: str,
        higher_is_better: bool,
        min_delta: float = 0.0,
    ) -> None:
        self.path = path
        self.monitor = monitor
        self.row: HistoryRow | None = None
        self._variables = {v.path: v for v in model.variables}
        self._kept: dict[str, np.ndarray] = {}
        self._sign = 1.0 if higher_is_better else -1.0
        self._min_delta = min_delta
        self._best = -math.inf

    def begin_phase(self, changing: Collection[str]) -> None:
        """Notes the weights, by path, that a phase is about to change."""
        for path in changing:
            self._kept.setdefault(path, self._variables[path].numpy())

    def offer(self, row: HistoryRow) -> bool:
        """Keeps the model's weights if this epoch is better than all before it."""
        value = self._sign * float(row[self.monitor] or 0.0)
        if not value > self._best + (self._min_delta if self.row else 0.0):
            return False
        self._kept = {path: self._variables[path].numpy() for path in self._kept}
        with atomic_path(self.path) as temporary:
            save_file(self._kept, temporary)
        self._best, self.row = value, row
        return True

    def restore(self) -> None:
        """Puts the best weights back; does nothing before the first epoch's end."""
        if self.row is not None:
            for path, value in self._kept.items():
                self._variables[path].assign(value)

"""What a stopped training goes on from: files written whole, off the training thread, and proven.

A file holds tensors (safetensors) and, in its header, everything else as JSON with the sha256 of
both. A new one gets a name of its own; the older one goes once the new one was read back.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tltool.recipe.schema import EverySteps
from tltool.support import stopping
from tltool.support.errors import RunError, first_line
from tltool.support.files import atomic_path, size_text
from tltool.support.progress import Progress
from tltool.support.words import count

PATTERN = "state-*.safetensors"
_FACTS, _SUM = "facts", "sha256"
_PROBE_BYTES = 2**23


@dataclass(frozen=True)
class Position:
    """Where a training is, between two steps.

    Attributes:
        phase: Its number, counted from 1.
        epoch: Epochs of the phase that are complete.
        step: Steps done of the next one.
        over: Whether the phase has ended, also before its last epoch.
    """

    phase: int
    epoch: int = 0
    step: int = 0
    over: bool = False

    def __str__(self) -> str:
        if self.over:
            return f"the end of phase {self.phase}"
        steps = f" after {count(self.step, 'step')}" if self.step else ""
        return f"epoch {self.epoch + 1} of phase {self.phase}{steps}"


@dataclass(frozen=True)
class State:
    """All that training has changed up to a position.

    Attributes:
        position: The position.
        tensors: Values of variables, by names of their own.
        facts: All else, ready for JSON.
    """

    position: Position
    tensors: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


def write_state(path: Path, state: State) -> None:
    """Writes a checkpoint atomically.

    Raises:
        OSError, SafetensorError: The disk refuses it.
    """
    facts = json.dumps({**state.facts, "position": asdict(state.position)})
    tensors = {name: np.asarray(value, order="C") for name, value in state.tensors.items()}
    total = _sum(facts, sorted(tensors.items()))
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {_FACTS: facts, _SUM: total})


def read_state(path: Path) -> State:
    """Reads a checkpoint.

    Raises:
        RunError: It is damaged.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        metadata = file.metadata()
        if _sum(metadata[_FACTS], tensors.items()) != metadata[_SUM]:
            raise ValueError("its sha256 is another one")
        facts = json.loads(metadata[_FACTS])
    return State(Position(**facts.pop("position")), tensors, facts)


def position_in(path: Path) -> Position:
    """The position of a checkpoint, whose tensors are not read.

    Raises:
        RunError: It is damaged.
    """
    with _opened(path) as file:
        return Position(**json.loads(file.metadata()[_FACTS])["position"])


def _prove(path: Path) -> None:
    """Reads a file back, a tensor at a time; raises RunError where it is not what was written."""
    with _opened(path) as file:
        metadata = file.metadata()
        names = sorted(file.keys())
        if _sum(metadata[_FACTS], ((n, file.get_tensor(n)) for n in names)) != metadata[_SUM]:
            raise ValueError("it was not written as it should be")


def _sum(facts: str, tensors: Any) -> str:
    digest = hashlib.sha256(facts.encode())
    for name, value in tensors:
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise RunError(f"The checkpoint {path} is damaged: {first_line(error)}") from error


def steps_between(every: EverySteps | str) -> int | None:
    """Of `training.checkpoint`, the steps from one to the next within an epoch; else None."""
    return every.steps if isinstance(every, EverySteps) else None


def is_between(every: int | None, before: int, done: int) -> bool:
    """Whether a checkpoint after each so many steps comes between two numbers of steps."""
    return every is not None and done // every > before // every


class Checkpoints:
    """The checkpoints of a run that trains in this process.

    In a training of several processes, one of them has this object.

    Args:
        folder: Where they are.
        every: As `training.checkpoint` of a recipe, but for "off".
        grace_seconds: Most time from SIGTERM to the end of the last one's writing.
        progress: Is told where one cannot be written.
        owned: Whether this process still is the one that trains the run.
    """

    def __init__(
        self,
        folder: Path,
        every: EverySteps | str = "epoch",
        grace_seconds: float = 30.0,
        progress: Progress | None = None,
        owned: Callable[[], bool] = lambda: True,
    ) -> None:
        self.folder = folder
        self._steps = steps_between(every)
        self._grace_seconds = grace_seconds
        self._progress = progress or Progress()
        self._owned = owned
        self._writer: Thread | None = None
        self._failed: str | None = None
        self._told = False
        self._lost = False
        self._seconds = 0.0

    def within(self, folder: Path) -> Checkpoints:
        """Those of another training of the same run, kept as these are."""
        every = "epoch" if self._steps is None else EverySteps(steps=self._steps)
        return Checkpoints(folder, every, self._grace_seconds, self._progress, self._owned)

    def announce(self, num_bytes: int) -> None:
        """Tells size and time of a checkpoint, the time from writing a part of it."""
        size = min(num_bytes, _PROBE_BYTES)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                started = time.perf_counter()
                file.write(os.urandom(size))
                file.flush()
                os.fsync(file.fileno())
                took = (time.perf_counter() - started) * num_bytes / max(size, 1)
        except OSError:
            return  # the first one will say so
        often = f"after {self._steps} steps and " if self._steps else ""
        self._progress.note(
            f"checkpoints: up to {size_text(num_bytes)} {often}at each epoch's end, "
            f"about {took:.1f} s beside the training"
        )

    def keep(self, take: Callable[[], State], *, surely: bool = False) -> None:
        """Writes a checkpoint in a thread of its own.

        Args:
            take: Copies what is to be kept; called now, or not at all where another one is
                still being written.
            surely: Wait for that one instead.

        Raises:
            RunError: Another process has gone on with the run.
        """
        self._tell()
        if self._writer is not None and self._writer.is_alive():
            if not surely:
                return
            self._writer.join()
        self._start(take())

    def keep_last(self, take: Callable[[], State]) -> None:
        """Writes a checkpoint and waits for it: the process was asked to stop.

        After SIGTERM, only as long as there is time.
        """
        left = self._left()
        if left is not None and left <= self._seconds:
            self._progress.note("warning: no time is left for a last checkpoint")
            return
        if self._writer is not None:
            self._writer.join(left)
            if self._writer.is_alive():
                return
        self._start(take())
        self.finish()

    def finish(self) -> None:
        """Waits for the one that is being written; after SIGTERM, only as long as there is time."""
        if self._writer is not None:
            self._writer.join(self._left())
        self._tell()

    def newest(self) -> State | None:
        """The newest one that is whole; None where there is none."""
        for path in reversed(self._files()):
            try:
                return read_state(path)
            except RunError as error:
                self._progress.note(f"warning: {error.message}")
        return None

    def remove(self) -> None:
        """Removes all of them: the run has come to its end."""
        if self._writer is not None:
            self._writer.join()
        for path in self._files():
            path.unlink(missing_ok=True)

    def _left(self) -> float | None:
        since = stopping.seconds_since_announced()
        return None if since is None else max(0.0, self._grace_seconds - since)

    def _tell(self) -> None:
        if self._lost:
            raise RunError(
                f"Another process has gone on with the run {str(self.folder.parent)!r}.",
                hint="this one was silent for too long, and stops",
            )
        if self._failed is not None and not self._told:
            self._told = True
            self._progress.note(
                f"warning: a checkpoint cannot be written ({self._failed}): training goes on, "
                "and would be resumed from an earlier one"
            )

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(PATTERN), key=_number)

    def _start(self, state: State) -> None:
        self._writer = Thread(target=self._write, args=(state,), daemon=True)
        self._writer.start()

    def _write(self, state: State) -> None:
        started = time.monotonic()
        earlier = self._files()
        path = self.folder / f"state-{_number(earlier[-1]) + 1 if earlier else 1}.safetensors"
        try:
            if not self._owned():
                self._lost = True
                return
            write_state(path, state)
            try:
                _prove(path)
            except RunError:
                path.unlink()
                raise
            for old in earlier:
                old.unlink(missing_ok=True)
        # The library's own error, and a disk's.
        except (OSError, SafetensorError, RunError) as error:
            self._failed = first_line(error)
        self._seconds = time.monotonic() - started


def _number(path: Path) -> int:
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdigit() else 0

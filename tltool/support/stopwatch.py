"""Where a run's time goes: seconds by stage, each second counted once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds of wall time by stage.

    Stages may be nested: the time of an inner one is not counted for the outer.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Counts the time of a block for a stage."""
        self.start(stage)
        depth = len(self._running)
        try:
            yield
        finally:
            # A stage that an exception left open within the block ends with it.
            while len(self._running) >= depth:
                self.stop()

    def start(self, stage: str) -> None:
        """Counts from now on for a stage, until `stop`."""
        self._count()
        self._running.append(stage)
        self.seconds.setdefault(stage, 0.0)

    def stop(self) -> None:
        """Ends the stage started last; the one around it goes on."""
        self._count()
        self._running.pop()

    def so_far(self, *stages: str) -> float:
        """Seconds counted for some stages until now."""
        self._count()
        return sum(self.seconds.get(stage, 0.0) for stage in stages)

    def _count(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

"""The time that there is, by a clock that can be another one than the machine's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """Some seconds, which run from when it is made.

    Attributes:
        seconds: In all.
        now: Seconds on a clock that only goes forward.
        begun: When they began to run, as `now` counts.
    """

    seconds: float
    now: Callable[[], float] = time.perf_counter
    begun: float = field(default=-1.0)

    def __post_init__(self) -> None:
        if self.begun < 0:
            object.__setattr__(self, "begun", self.now())

    @property
    def end(self) -> float:
        """When they are over, as `now` counts."""
        return self.begun + self.seconds

    @property
    def spent(self) -> float:
        """Seconds since they began to run."""
        return self.now() - self.begun

    @property
    def left(self) -> float:
        """Seconds until the end; below 0 after it."""
        return self.seconds - self.spent

"""A training that is timed while it trains, and ended where it can't end in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tltool.support.progress import Progress

# An end is foretold after so many calls that are timed.
_FIRST_CALLS = 3


class TooSlowError(Exception):
    """The training would not end in time."""


class PacedError(Exception):
    """Enough steps were timed."""


class Watch(Progress):
    """Times the steps of a training with one phase of gradient steps.

    Args:
        now: Seconds on a clock.
        until: Latest end; `TooSlowError` is raised once it is foretold to be missed.
        enough: Timed steps after which `PacedError` is raised; None times all.

    Attributes:
        first: When the first call of the compiled step had ended; None before.
        step_seconds: Mean seconds of a step after that, what lies between two of them counted;
            0 where there was one call alone.
    """

    def __init__(
        self, now: Callable[[], float], until: float = math.inf, enough: int | None = None
    ) -> None:
        self._now, self._until, self._enough = now, until, enough
        self._total, self._steps = 0, 1
        self._first_done, self._calls = 0, 0
        self.first: float | None = None
        self.step_seconds = 0.0

    @contextmanager
    def phase(self, title: str, epochs: int, steps_per_epoch: int) -> Iterator[None]:
        """Notes how many steps there are."""
        self._total, self._steps = epochs * steps_per_epoch, steps_per_epoch
        self.first, self._calls = None, 0
        yield

    def step(self, epoch: int, step: int, examples: int, values: Mapping[str, float]) -> None:
        """Times a call of the compiled step, of one or several steps.

        Raises:
            TooSlowError, PacedError: See the class.
        """
        now, done = self._now(), (epoch - 1) * self._steps + step
        if self.first is None:
            self.first, self._first_done = now, done
            return
        self._calls += 1
        timed = done - self._first_done
        self.step_seconds = (now - self.first) / max(1, timed)
        left = (self._total - done) * self.step_seconds
        if self._calls >= _FIRST_CALLS and now + left > self._until:
            raise TooSlowError
        if self._enough is not None and timed >= self._enough:
            raise PacedError

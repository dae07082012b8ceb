"""Which of many explanations fits what an app said, and whether any does.

Distances are differences of answers in units that one limit fits: of probabilities, or of numbers
in standard deviations; of pixels in levels. An explanation fits where

- no difference is left that is larger than the tolerance: what two sound runs of one file may
  differ by; or
- what is left (root mean square) is a share of what there is without it that chance hardly gives:
  of `tried` explanations whose answers have `free` independent directions, one in a hundred
  searches leaves as little as (0.01 / tried)^(1 / free), if the truth is none of them. The share is
  never more than 0.05, since faults that are not known can be like those that are.

Where the answers are within the tolerance already, only such a share counts, of 0.3 at most: what
else there is are errors of rounding, which are like no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tltool.export.diagnosis.faults import Fault
from tltool.tasks.misreadings import Misreading

Array = np.ndarray[Any, Any]
Verdict = Literal["sound", "fault", "several", "none"]

_CHANCE = 0.01
_LARGEST_SHARE = 0.05
_LARGEST_SHARE_OF_SMALL = 0.3
# An explanation that leaves up to twice as much as the best one is as good: noise decides.
_AS_GOOD = 2.0
# Of rounding to float32 and in JSON.
_ROUNDING = 1e-6
_CLOSEST = 3


@dataclass(frozen=True)
class Explanation:
    """What an app would say with some faults, against what it said.

    Attributes:
        faults: None of them is "all is right".
        change: What they change of right answers, (answers,); infinite where answers are misread.
        left: What they leave of the app's differences, (answers,).
        whole: Whether they are faults of inputs alone, so that a share may be left.
    """

    faults: tuple[Fault | Misreading, ...]
    change: Array
    left: Array
    whole: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the faults."""
        return tuple(fault.key for fault in self.faults)

    @property
    def largest(self) -> float:
        """The largest difference left."""
        return float(np.abs(self.left).max())

    @property
    def mean(self) -> float:
        """Root of the mean square of the differences left."""
        return float(np.sqrt(np.mean(np.square(self.left))))


@dataclass(frozen=True)
class Limits:
    """What sound answers may differ by.

    Attributes:
        arithmetic: Where the kernels are the same.
        tolerance: Of one file in any runtime, with inputs decoded by any decoder.
        shares: Whether a small share of the difference may be left.
    """

    arithmetic: float
    tolerance: float
    shares: bool = True


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        verdict: "several" where faults explain the answers equally well.
        best: Those that fit; for "none" those that come closest, which don't.
        tried: Explanations that were compared.
        hidden: Single faults that change no answer by more than the tolerance.
        right: Differences of the answers without any fault.
        limit: What may be left of them at most, as a root of the mean square.
    """

    verdict: Verdict
    best: tuple[Explanation, ...]
    tried: int
    hidden: tuple[Explanation, ...]
    right: Explanation
    limit: float


def search(
    right: Explanation, levels: Iterable[Callable[[], Sequence[Explanation]]], limits: Limits
) -> Found:
    """Looks for what explains an app's answers: one fault, or else two.

    Args:
        right: The answers without any fault.
        levels: Explanations by one fault, and by more; the next ones are computed only where
            those before do not fit.
        limits: What sound answers differ by.
    """
    hidden: tuple[Explanation, ...] = ()
    seen: list[Explanation] = []
    limit = 0.0
    if right.largest <= limits.arithmetic:
        return Found("sound", (), 0, (), right, limit)
    for number, level in enumerate(levels):
        if number and right.largest <= limits.tolerance:
            break
        seen += level()
        if not number:
            hidden = tuple(e for e in seen if np.abs(e.change).max() <= limits.tolerance)
        small = right.largest <= limits.tolerance
        most = _LARGEST_SHARE_OF_SMALL if small else _LARGEST_SHARE
        limit = min(most, _share(seen)) * right.mean if limits.shares else 0.0
        if fitting := [e for e in seen if _fits(e, right, limits, limit)]:
            best = _best(fitting)
            verdict: Verdict = "fault" if len({e.keys for e in best}) == 1 else "several"
            return Found(verdict, best, len(seen), hidden, right, limit)
    if right.largest <= limits.tolerance:
        return Found("sound", (), len(seen), hidden, right, limit)
    closest = tuple(sorted(seen, key=lambda e: e.mean)[:_CLOSEST])
    return Found("none", closest, len(seen), hidden, right, limit)


def _fits(one: Explanation, right: Explanation, limits: Limits, limit: float) -> bool:
    if right.largest <= limits.tolerance:
        return one.whole and one.mean <= limit
    return one.largest <= limits.tolerance or (one.whole and one.mean <= limit)


def _best(fitting: Sequence[Explanation]) -> tuple[Explanation, ...]:
    """The best ones, the very best first; of each set of faults the best variant."""
    ordered = sorted(fitting, key=lambda e: (round(e.mean, 9), len(e.faults)))
    as_good = [e for e in ordered if e.mean <= _AS_GOOD * ordered[0].mean + _ROUNDING]
    return tuple({e.keys: e for e in reversed(as_good)}.values())[::-1]


def _share(tried: Sequence[Explanation]) -> float:
    """The share of the difference that chance hardly leaves; see above.

    The independent directions are counted as the participation ratio of the changes, each scaled
    to length 1: (Σλ)² / Σλ² of the eigenvalues λ of their products.
    """
    changes = np.array([e.change for e in tried if e.whole and np.abs(e.change).max() > _ROUNDING])
    if not len(changes):
        return 0.0
    changes = changes / np.linalg.norm(changes, axis=1, keepdims=True)
    small = changes.T @ changes if changes.shape[1] < len(changes) else changes @ changes.T
    free = len(changes) ** 2 / float(np.square(small).sum())
    return float((_CHANCE / len(tried)) ** (1 / free))

"""The exceptions tltool raises on purpose.

    TltoolError            exit code 2: the user can mend it; carries a hint
    ├── RecipeError        a recipe has faults; lists all of them
    ├── DataError          files, rows, labels or splits that cannot be used
    ├── BackboneError      a pretrained model that cannot be had or loaded right
    ├── HeadError          a task head that cannot be found or built
    ├── TargetError        a kind of target that cannot be found
    ├── PlanError          a freezing plan that trains nothing or names unknown groups
    ├── DeviceError        a device or distribution this machine does not have
    ├── WorkerError        a worker of a cluster died at its work; exit code 1
    ├── TrainingError      training that must not go on (NaN loss, no memory); exit code 1
    ├── RunError           a run folder that is missing, incomplete or damaged
    ├── EvaluationError    metrics that cannot be computed
    └── ExportError        an export that could not be made
        ├── DamagedError   a model file that is cut off, overwritten or not what it seems
        └── GateError      an artifact that differs from the trained model; exit code 1

Anything else that escapes is a fault of tltool's own: the command line shows
its traceback and exits with 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COPY_RUN_AGAIN = "copy the run again from where it was trained, or train again"
"""The hint for a run whose files are damaged, missing or not its own."""


class TltoolError(Exception):
    """An error the user can act on.

    Args:
        message: What is wrong, naming the field, file or value.
        hint: What to do about it, in one sentence.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Fault:
    """One fault of a recipe.

    Attributes:
        path: Dotted path of the field, e.g. `schedule.0.epochs`.
        problem: What is wrong with it.
        received: The received value as it would be written, or None.
        allowed: What would be accepted, or None.
        hint: The nearest right spelling or another way out, or None.
        line: Line in the recipe file (counted from 1), or None.
    """

    path: str
    problem: str
    received: str | None = None
    allowed: str | None = None
    hint: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.path} (line {self.line})" if self.line else self.path
        parts = [f"{where}: {self.problem}"]
        if self.received is not None:
            parts.append(f"received: {self.received}")
        if self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.hint is not None:
            parts.append(f"hint: {self.hint}")
        return "\n    ".join(parts)


class RecipeError(TltoolError):
    """A recipe with one or more faults; `faults` holds every one of them."""

    def __init__(
        self, message: str, *, faults: Sequence[Fault] = (), hint: str | None = None
    ) -> None:
        super().__init__("\n  ".join([message, *map(str, faults)]), hint=hint)
        self.faults = tuple(faults)


class DataError(TltoolError):
    """Files, rows, labels or splits that cannot be used."""


class NoTaskError(DataError):
    """Data in a form that is known, and that no task reads."""


class BackboneError(TltoolError):
    """A pretrained model that cannot be had or cannot be loaded right."""


class HeadError(TltoolError):
    """A task head that cannot be found or built."""


class TargetError(TltoolError):
    """A kind of target that cannot be found, or is none."""


class PlanError(TltoolError):
    """A freezing plan that names unknown groups or trains nothing."""


class DeviceError(TltoolError):
    """A device or a distribution that this machine does not have."""


class WorkerError(TltoolError):
    """A worker of a cluster that died at its work."""

    exit_code = 1


class TrainingError(TltoolError):
    """Training that must not go on, such as a loss that is not a number."""

    exit_code = 1


class RunError(TltoolError):
    """A run folder that is missing, incomplete or damaged."""


class EvaluationError(TltoolError):
    """Metrics that cannot be computed from what was given."""


class ExportError(TltoolError):
    """An export that could not be made."""


class DamagedError(ExportError):
    """A file that is cut off, or overwritten, or not what it seems."""


class GateError(ExportError):
    """An exported artifact that differs from the trained model by more than allowed."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """What another library's error says, cut to one line; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(name: str, options: Iterable[str]) -> str | None:
    """Returns the hint "did you mean `x`?" for the closest option, or None."""
    near = closest(name, options)
    return None if near is None else f"did you mean `{near}`?"


def closest(name: str, options: Iterable[str]) -> str | None:
    """The option that a name is most like, or None where it is like none."""
    matches = difflib.get_close_matches(str(name), list(options), n=1, cutoff=0.6)
    return matches[0] if matches else None

"""The workers that train one model together: their meetings, what they agree on, how they end.

They talk through `tltool.training.coordination`: nothing but the addresses in
`tltool.training.place` is needed, no folder that all of them see.
"""

from __future__ import annotations

import hashlib
import json
import signal
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from tltool.recipe.recipe import Recipe
from tltool.support import stopping
from tltool.support.errors import (
    Fault,
    RecipeError,
    TltoolError,
    TrainingError,
    first_line,
)
from tltool.support.progress import Progress
from tltool.training.coordination import (
    SILENT_SECONDS,
    abort,
    answers,
    connect,
    get,
    gone_workers,
    put,
)
from tltool.training.place import Place, need_place

if TYPE_CHECKING:
    import tensorflow as tf

    from tltool.data.examples import Examples

# How long one question to the chief waits before it is looked whether somebody failed.
_LOOK_SECONDS = 1.0
_FAILED = "tltool/failed"
_DIFFERENCES = 10


class Workers:
    """All workers as one of them sees them. Alone, everything is its own and at once.

    Args:
        place: Of this worker; None is alone.
        strategy: Connected with the others; None is alone.
        seconds: How long to wait for others at a meeting.
    """

    def __init__(
        self,
        place: Place | None = None,
        strategy: tf.distribute.Strategy | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.place = place
        self.strategy = strategy
        self._seconds = seconds
        self._meetings = 0

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self.strategy is not None

    @property
    def is_chief(self) -> bool:
        """Whether this one writes what is written; it is where it is alone."""
        return self.place is None or self.place.is_chief

    @property
    def index(self) -> int:
        """Of this one."""
        return 0 if self.place is None else self.place.index

    @property
    def number(self) -> int:
        """How many there are."""
        return 1 if self.place is None else len(self.place.workers)

    def has(self, name: str) -> bool:
        """Whether of things with names, which are divided among all, this one is this worker's."""
        return zlib.crc32(name.encode(errors="surrogatepass")) % self.number == self.index

    def voice(self, progress: Progress) -> Progress:
        """What tells of the work: the chief alone talks."""
        return progress if self.is_chief else Progress()

    def meet(self, stage: str, value: Any = None) -> list[Any]:
        """Waits until every worker is here; returns what each brought, ready for JSON.

        Raises:
            TrainingError: A worker has failed, is gone, is somewhere else, or does not come.
        """
        if self.place is None or not self.are_several:
            return [value]
        self._meetings += 1
        key = f"tltool/{self._meetings}"
        put(f"{key}/{self.index}", json.dumps([stage, value]))
        found = []
        for other in range(len(self.place.workers)):
            where, brought = self._wait(f"{key}/{other}", stage, other)
            if where != stage:
                raise TrainingError(
                    f"The workers are not at the same place: {self.place.name(other)} is at "
                    f"{where!r}, this one at {stage!r}.",
                    hint="start all of them with the same command",
                )
            found.append(brought)
        return found

    def told(self, stage: str, value: Any = None) -> Any:
        """What the chief brings to a meeting, for all."""
        return self.meet(stage, value if self.is_chief else None)[0]

    def check(self, stage: str) -> None:
        """Raises `Stopped` if this process was asked to stop, or `Agreed` if a worker was."""
        if not self.are_several:
            stopping.check()
        elif any(self.meet(stage, stopping.asked() is not None)):
            stopping.agree()
            stopping.check()

    def compare(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Sees that all workers have the same facts, which are ready for JSON.

        Raises:
            RecipeError: Names what differs, and between which workers.
        """
        first, *rest = self.meet(stage, dict(facts))
        for index, other in enumerate(rest, start=1):
            if different := _differences(first, other):
                shown = [
                    f"{name}: worker 0 has {a!r}, worker {index} has {b!r}"
                    for name, a, b in different[:_DIFFERENCES]
                ]
                more = len(different) - len(shown)
                raise RecipeError(
                    "\n  ".join([f"The workers differ in {stage}:", *shown]
                                + [f"and {more} more"] * (more > 0)),
                    hint="give every worker the same recipe, overrides, data and versions",
                )  # fmt: skip

    def _wait(self, key: str, stage: str, other: int) -> list[Any]:
        from tensorflow import errors

        place = self._place()
        deadline = time.monotonic() + self._seconds
        while True:
            stopping.check()
            try:
                return list(json.loads(get(key, _LOOK_SECONDS)))
            except errors.DeadlineExceededError:
                self._look()
            except errors.OpError as error:
                self._raise_lost(error)
            if time.monotonic() > deadline:
                raise TrainingError(
                    f"{place.title(other)} did not come to {stage!r} within "
                    f"{self._seconds:g} seconds.",
                    hint="look into its output; a larger training.barrier_seconds waits longer",
                )

    def _place(self) -> Place:
        if self.place is None:
            raise ValueError("There is no other worker.")
        return self.place

    def _look(self) -> None:
        """Raises what another worker said when it ended; or says which one is gone."""
        if (told := self._told_failure()) is not None:
            self._raise_told(told)
        if gone := gone_workers(len(self._place().workers)):
            _raise_gone(self._place(), gone)

    def _told_failure(self) -> dict[str, Any] | None:
        from tensorflow import errors

        try:
            told: dict[str, Any] = json.loads(get(_FAILED, 0.001))
        except (errors.OpError, ValueError):
            return None
        return None if told["index"] == self.index else told

    def _raise_told(self, told: Mapping[str, Any]) -> NoReturn:
        if (number := told["signal"]) is not None:
            stopping.ask(number)
            raise stopping.Stopped
        raise _ElsewhereError(
            f"{self._place().title(told['index'])} has failed: {told['message']}",
            hint=told["hint"],
        )

    def _raise_lost(self, error: BaseException) -> NoReturn:
        """Says why steps or questions fail: who failed, who is gone; at the least, the error."""
        deadline = time.monotonic() + 2 * SILENT_SECONDS
        while time.monotonic() < deadline:
            self._look()
            if not self.is_chief and not answers(self._place().workers[0]):
                _raise_gone(self._place(), [0], error)
            time.sleep(_LOOK_SECONDS / 4)
        raise TrainingError(
            f"The connection with the other workers is lost: {first_line(error)}",
            hint="look into the output of the other workers, and start all of them again",
        ) from error

    def explained(self, error: BaseException) -> BaseException:
        """What ended this worker: an error of its own, which the others are told, or of theirs."""
        if not self.are_several or isinstance(error, _ElsewhereError):
            return error
        try:
            self._explain(error)
        except BaseException as found:
            return found
        return error

    def _explain(self, error: BaseException) -> None:
        from tensorflow import errors

        own = isinstance(error, TltoolError | KeyboardInterrupt)
        if not own and (told := self._told_failure()) is not None:
            self._raise_told(told)
        if isinstance(error, errors.OpError) and not isinstance(
            error, errors.ResourceExhaustedError | errors.InvalidArgumentError
        ):
            self._raise_lost(error)
        self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Tells the others why this worker ends, and ends their steps."""
        from tensorflow import errors

        stopped = isinstance(error, KeyboardInterrupt)
        number = (stopping.asked() or int(signal.SIGINT)) if stopped else None
        told = {
            "index": self.index,
            "message": str(error) if isinstance(error, TltoolError) else
            f"{type(error).__name__}: {first_line(error)}",
            "hint": error.hint if isinstance(error, TltoolError) else None,
            "signal": number,
        }  # fmt: skip
        with suppress(errors.OpError):
            put(_FAILED, json.dumps(told))
            abort(str(told["message"]))

    def dismiss(self) -> None:
        """The chief has written everything; the others wait for that, and all go together.

        Raises:
            TrainingError: The chief has failed; not in the chief, which is done.
        """
        from tensorflow import errors

        if not self.are_several:
            return
        # Those that were asked to stop wait for the chief's last word too.
        with stopping.in_agreement():
            try:
                self.meet("the end")
            except (TrainingError, stopping.Stopped):
                if not self.is_chief:
                    raise
            with suppress(TrainingError, stopping.Stopped, errors.OpError):
                self.meet("the end, seen")


class _ElsewhereError(TrainingError):
    """What ended another worker ends this one."""


_ALONE = Workers()
_current = _ALONE
_connected: Workers | None = None


def current() -> Workers:
    """The workers that this process trains with now."""
    return _current


@contextmanager
def joined(recipe: Recipe, versions: Mapping[str, Any]) -> Iterator[Workers]:
    """Joins the workers where a recipe asks for several; tells them if this one fails.

    Must be entered before TensorFlow computes anything: it configures its collective operations
    when it starts, and never again.

    Args:
        recipe, versions: All workers must have the same.

    Raises:
        DeviceError: This process has no place among workers, or can't take it.
        RecipeError: The recipe asks for what several workers can't do, or they differ.
        TrainingError: Another worker failed, is gone, or did not come.
    """
    global _current  # noqa: PLW0603 - the process trains, and TensorFlow connects it
    try:
        if recipe.training.distribution == "multi_worker":
            _check(recipe)
            _current = _found(need_place(), recipe.training.barrier_seconds)
        _current.compare("versions", versions)
        _current.compare("the recipe", _flat(recipe.to_values()))
        yield _current
    except BaseException as error:
        why = _current.explained(error)
        if why is error:
            raise
        raise why from error
    finally:
        _current = _ALONE


def _found(place: Place, seconds: float) -> Workers:
    """The workers of a place, connected now or by an earlier training."""
    global _connected  # noqa: PLW0603 - TensorFlow connects a process once
    if len(place.workers) == 1:
        return Workers(place)
    if _connected is None or _connected.place != place:
        _connected = Workers(place, connect(place, seconds), seconds)
    return _connected


def _check(recipe: Recipe) -> None:
    training = recipe.training
    alone = "Run `{}` in one process first, and write what it finds into the recipe."
    faults = [
        Fault(path, f"can't be used with several workers: {why}", hint=hint)
        for path, used, why, hint in (
            ("training.devices", training.devices is not None,
             "each uses all devices that it sees",
             "Choose GPUs by CUDA_VISIBLE_DEVICES; `tltool launch --workers` does so."),
            ("training.tokens_per_batch", training.tokens_per_batch is not None,
             "batches of different numbers of texts can't be divided",
             "Use `training.batch_size`."),
            ("training.static_shapes", training.static_shapes == "always",
             "their batches are not completed", "Leave it out."),
            ("training.jit", training.jit == "always",
             "their steps are not compiled with XLA", "Leave it out."),
            ("training.steps_per_execution", training.steps_per_execution not in {"auto", 1},
             "they meet after each step", "Leave it out."),
            ("head.search", recipe.head.search, "it is no work for several",
             alone.format("tltool tune-head")),
            ("schedule", recipe.schedule == "few_examples", "few_examples is no work for several",
             "Choose a schedule; a handful of rows is trained on in one process."),
        ) if used
    ]  # fmt: skip
    if faults:
        raise RecipeError("The recipe can't be trained by several workers:", faults=faults)


def examples_digest(examples: Examples) -> dict[str, Any]:
    """What tells the data of two workers apart: rows by split, and their answers in order."""
    digest = hashlib.sha256()
    for split, target in zip(examples.splits, examples.targets, strict=True):
        digest.update(f"{split}\t{target}\n".encode(errors="surrogatepass"))
    return {"rows": len(examples), "digest of splits and targets": digest.hexdigest()[:16]}


def _differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    names = dict.fromkeys([*one, *two])
    return [(n, one.get(n), two.get(n)) for n in names if one.get(n) != two.get(n)]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """The fields of nested values by their dotted paths."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, Any] = {}
    for name, part in inner:
        where = f"{path}.{name}" if path else str(name)
        found |= _flat(part, where) if isinstance(part, dict | list) and part else {where: part}
    return found


def _raise_gone(place: Place, gone: list[int], error: BaseException | None = None) -> NoReturn:
    named = " and ".join(place.title(index) for index in gone)
    raise TrainingError(
        f"{named} {'is' if len(gone) == 1 else 'are'} gone.",
        hint="look into its output; `tltool launch --max-restarts 1` starts all again",
    ) from error

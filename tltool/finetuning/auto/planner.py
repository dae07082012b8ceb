"""What to try next, by what it takes and what is left; nothing here computes or touches a model.

Each step is taken only where, after it, the best model so far could still be trained, exported and
checked in time. What steps take is asked of `Work`, which measures it as it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tltool.finetuning.auto.budget import Budget
from tltool.finetuning.auto.candidates import Candidate
from tltool.support.errors import BackboneError, HeadError, TrainingError

if TYPE_CHECKING:
    from tltool.evaluation.comparison import Comparison

# What may be spent on more backbones than the first, on a head search and on a rehearsal of the
# export: shares of the time that the best model so far does not need to be delivered.
_RANKING, _HEAD_SEARCH, _REHEARSAL = 0.4, 0.15, 0.2
# The first backbone's features may take this share of what is left; of more rows some are taken.
_FIRST_FEATURES = 0.5
# An estimate is trusted up to so much more.
_MARGIN = 1.1

Verdict = Literal["kept", "not kept", "left out"]


@dataclass(frozen=True)
class Measured:
    """What folds say of a candidate.

    Attributes:
        candidate: It.
        folds: What it says of the rows that each fold holds out, by the number of the fold, which
            the training on the others has not seen.
    """

    candidate: Candidate
    folds: dict[int, Any]


@dataclass(frozen=True)
class Tried:
    """One line of the trail.

    Attributes:
        name: The candidate, or the backbone.
        verdict: What became of it.
        why: In words.
        seconds: What it took.
        score: Of the rows that it was measured on; None where it was not.
        interval: 95 % of that score, where it has one.
        folds: On how many folds it was measured.
        rows: How many rows they hold out.
        gain: Of the headline score over the best before, on the rows that both were measured on.
        gain_interval: 95 % of it, paired.
    """

    name: str
    verdict: Verdict
    why: str
    seconds: float
    score: float | None = None
    interval: tuple[float, float] | None = None
    folds: int = 0
    rows: int = 0
    gain: float | None = None
    gain_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Found:
    """What the search came to.

    Attributes:
        candidate: The winner, as it is to be trained.
        measured: Whether folds have chosen it; else its own training does, which keeps it only
            if it is better than the linear model on the validation rows.
        trail: All that was tried, in order.
        ended: Why nothing more was tried.
        short: Whether that is for want of time.
    """

    candidate: Candidate
    measured: bool
    trail: tuple[Tried, ...]
    ended: str
    short: bool


class Work(Protocol):
    """What is planned: steps, and what they are expected to take (seconds)."""

    folds: int
    """How many the rows are divided into."""

    @property
    def guards(self) -> bool:
        """Whether there are validation rows enough for a training to choose between what it
        trained and the linear model."""

    def opening(self, backbone: str) -> float:
        """Expected of `open`."""

    def open(self, backbone: str) -> str | None:
        """Loads a backbone and measures its speed; why it can't be taken, if so.

        Raises:
            BackboneError, HeadError: It can't be used.
        """

    def solving(self, backbone: str) -> float:
        """Expected of `solve`, of one that is open."""

    def limit(self, seconds: float) -> None:
        """Takes so many rows that `solve` of the open backbone takes so long."""

    def solve(self, backbone: str) -> Measured:
        """Computes an open backbone's features and solves its head, for all folds."""

    def rehearsing(self, backbone: str) -> float:
        """Expected of `rehearse`; 0 where it is done."""

    def rehearse(self, backbone: str) -> None:
        """Exports the untrained model, to know what that takes."""

    def search_head(self, backbone: str, seconds: float) -> Candidate | None:
        """The best head that was found in about so long; None where that is too short, or none is
        better than the one that is there."""

    def settings(self, backbone: str) -> Sequence[Candidate]:
        """Known ways to train the backbone's layers, the most promising first."""

    def pacing(self, candidate: Candidate) -> float:
        """Expected of `pace`."""

    def pace(self, candidate: Candidate) -> None:
        """Trains a few steps to know what one takes.

        Raises:
            TrainingError: They failed.
        """

    def folding(self, candidate: Candidate) -> float:
        """Expected of `measure` of one fold."""

    def finishing(self, candidate: Candidate) -> float:
        """Expected of the final training with all that follows it, export and gate too."""

    def measure(self, candidate: Candidate, fold: int, until: float) -> Any | None:
        """Trains on all folds but one; what that says of its rows, None if it can't end in time.

        Args:
            candidate: To train.
            fold: From 0.
            until: Latest end, by the budget's clock.

        Raises:
            TrainingError: It failed.
        """

    def compare(self, one: Measured, other: Measured) -> Comparison | None:
        """The first with the second, on the rows of the folds that both were measured on."""

    def scored(self, measured: Measured) -> dict[str, Any]:
        """`score`, `interval` and `rows` of a `Tried`."""


class Planner:
    """Searches within a budget.

    Args:
        work: Does what is planned.
        budget: Of all, the final training and its end included.
        changed: Is called with each new line of the trail, and the best so far.
    """

    def __init__(
        self, work: Work, budget: Budget, changed: Callable[[Tried, Candidate | None], None]
    ) -> None:
        self._work, self._budget, self._changed = work, budget, changed
        self._best: Measured | None = None
        self._trail: list[Tried] = []
        self._solved: list[Measured] = []
        self._unmeasured: list[Candidate] = []
        self._short = False
        self._began = budget.begun

    def run(self, backbones: Sequence[str]) -> Found:
        """Tries what fits.

        Args:
            backbones: By name, the first one to be ready first.

        Raises:
            BackboneError: None of them can be used.
        """
        self._rank(backbones)
        best = self._known()
        if self._affords(self._work.rehearsing(best.candidate.backbone), _REHEARSAL):
            self._work.rehearse(best.candidate.backbone)
        self._search_head()
        self._fine_tune()
        return self._found()

    # ---- the time ----------------------------------------------------------------------------

    def _known(self) -> Measured:
        if self._best is None:
            raise BackboneError("No backbone has been measured.")
        return self._best

    def _reserve(self, *candidates: Candidate) -> float:
        """What delivering the dearest of them takes, and the best so far."""
        known = () if self._best is None else (self._best.candidate,)
        return _MARGIN * max(map(self._work.finishing, (*known, *candidates)))

    def _affords(self, seconds: float, share: float = 1.0, *candidates: Candidate) -> bool:
        """Whether a step fits into a share of what need not be kept for the end."""
        return _MARGIN * seconds <= share * (self._budget.left - self._reserve(*candidates))

    def _told(self, name: str, verdict: Verdict, why: str, **facts: Any) -> None:
        now = self._budget.now()
        line = Tried(name, verdict, why, round(now - self._began, 2), **facts)
        self._began = now
        self._trail.append(line)
        self._changed(line, None if self._best is None else self._best.candidate)

    def _too_long(self, name: str, seconds: float, what: str) -> None:
        self._short = True
        left, kept = max(0.0, self._budget.left), self._reserve()
        self._told(
            name, "left out", f"{what} would take about {seconds:.0f} s; {left:.0f} s are left, "
            f"of which the end of the best so far needs up to {kept:.0f} s",
        )  # fmt: skip

    # ---- the steps ---------------------------------------------------------------------------

    def _rank(self, backbones: Sequence[str]) -> None:
        """Opens backbones and solves a head on each, as long as there is time for it."""
        reasons, hint = [], None
        for name in backbones:
            first = self._best is None
            if not first and not self._affords(self._work.opening(name), _RANKING):
                self._too_long(name, self._work.opening(name), "loading it")
                continue
            try:
                problem = self._work.open(name)
                if problem is None:
                    problem = self._solve(name, first=first)
            except (BackboneError, HeadError) as error:
                problem, hint = error.message, error.hint
            if problem is not None:
                reasons.append(f"{name}: {problem}")
                self._told(name, "left out", problem)
        if self._best is None:
            told = "\n  ".join(["None of the backbones can be used:", *reasons])
            raise BackboneError(told, hint=hint)

    def _solve(self, name: str, *, first: bool) -> str | None:
        """Solves the head of an open backbone; why not, where there is no time for it."""
        seconds = self._work.solving(name)
        if first:
            allowed = _FIRST_FEATURES * max(0.0, self._budget.left)
            if _MARGIN * seconds > allowed:
                self._work.limit(allowed / _MARGIN)
        elif not self._affords(seconds, _RANKING):
            self._short = True
            return f"its features would take about {seconds:.0f} s"
        measured = self._work.solve(name)
        self._solved.append(measured)
        self._offer(measured)
        return None

    def _search_head(self) -> None:
        """Searches a head for the best backbone so far, in a part of the time."""
        best = self._known().candidate
        seconds = _HEAD_SEARCH * (self._budget.left - self._reserve())
        if seconds <= 0:
            return
        found = self._work.search_head(best.backbone, seconds)
        if found is not None:
            self._try(found)

    def _fine_tune(self) -> None:
        """Tries the settings of the backbones that are promising, the best of them first."""
        for backbone in self._promising():
            waiting = list(self._work.settings(backbone))
            while waiting:
                candidate = waiting.pop(0)
                if self._try(candidate):
                    best = self._known().candidate
                    longer = best.longer() if best.epochs >= candidate.epochs else None
                    waiting += [longer] if longer is not None else []

    def _promising(self) -> Iterator[str]:
        """Backbones whose solved head is not clearly worse than the best one's, that one first."""
        own = self._known().candidate.backbone
        (best,) = (one for one in self._solved if one.candidate.backbone == own)
        yield own
        for one in self._solved:
            if one is not best:
                found = self._work.compare(one, best)
                if found is not None and not found.is_worse:
                    yield one.candidate.backbone

    def _try(self, candidate: Candidate) -> bool:
        """Measures a candidate if there is time; whether it is the best now."""
        try:
            return self._measured(candidate)
        except TrainingError as error:
            self._told(candidate.name, "left out", error.message)
            return False

    def _measured(self, candidate: Candidate) -> bool:
        work = self._work
        if not self._affords(work.pacing(candidate)):
            self._too_long(candidate.name, work.pacing(candidate), "finding its pace")
            return False
        work.pace(candidate)
        fitting = self._fitting(candidate, work.folding)
        if fitting is None:
            alone = self._fitting(candidate, lambda one: 0.0)
            self._unmeasured += [] if alone is None else [alone]
            shortest = candidate.with_epochs(candidate.least)
            seconds = work.folding(shortest) + work.finishing(shortest)
            what = "measuring it on a fold, training and exporting it"
            self._too_long(shortest.name, seconds, what)
            return False
        measured = Measured(fitting, {})
        with self._telling_of_failure(measured):
            problem = self._on_folds(measured)
        if problem is not None and not measured.folds:
            self._told(fitting.name, "left out", problem)
            return False
        return self._offer(measured)

    @contextmanager
    def _telling_of_failure(self, measured: Measured) -> Iterator[None]:
        """A fold that fails rules the candidate out, whatever the folds before it said."""
        try:
            yield
        except TrainingError:
            measured.folds.clear()
            raise

    def _fitting(self, candidate: Candidate, folding: Callable[[Candidate], float]
                 ) -> Candidate | None:  # fmt: skip
        """The candidate with as many of its epochs as leave the time for a fold and the end."""
        for epochs in range(candidate.epochs, candidate.least - 1, -1):
            one = candidate.with_epochs(epochs)
            if self._affords(folding(one), 1.0, one):
                return one
        return None

    def _on_folds(self, measured: Measured) -> str | None:
        """Measures on one fold after the other until it is plain which is better.

        Returns:
            Why it ended before that, where it did.
        """
        best, candidate = self._known(), measured.candidate
        for fold in sorted(best.folds):
            if not self._affords(self._work.folding(candidate), 1.0, candidate):
                self._short = True
                return "there was no time for its folds"
            until = self._budget.end - self._reserve(candidate)
            outputs = self._work.measure(candidate, fold, until)
            if outputs is None:
                self._short = True
                return "it was slower than its first steps, and was stopped"
            measured.folds[fold] = outputs
            found = self._work.compare(measured, best)
            if found is not None and (found.is_better or found.is_worse):
                break
        return None

    def _offer(self, measured: Measured) -> bool:
        """Keeps a candidate if it is better than the best so far and can be delivered in time."""
        name, before = measured.candidate.name, self._best
        facts = {"folds": len(measured.folds), **self._work.scored(measured)}
        if before is None:
            self._best = measured
            self._told(name, "kept", "the first", **facts)
            return True
        found = self._work.compare(measured, before)
        if found is None:
            self._told(name, "not kept", "its score is undefined on these rows", **facts)
            return False
        facts |= {"gain": found.gain, "gain_interval": found.interval}
        if found.gain <= 0:
            self._told(name, "not kept", f"no better than {before.candidate.name}", **facts)
            return False
        if self._work.finishing(measured.candidate) > self._budget.left:
            self._short = True
            self._told(name, "not kept", "it could not be trained and exported in time", **facts)
            return False
        self._best = measured
        surely = "" if found.is_better else ", though not clearly"
        self._told(name, "kept", f"better than {before.candidate.name}{surely}", **facts)
        return True

    def _found(self) -> Found:
        best = self._known().candidate
        if best.usual == 0 and self._work.guards:
            for candidate in self._unmeasured:
                if self._affords(0.0, 1.0, candidate):
                    self._told(
                        candidate.name, "kept", "there was no time to cross-validate it: its own "
                        "training keeps it only if it is better than the linear model on the "
                        "validation rows",
                    )  # fmt: skip
                    return Found(candidate, False, tuple(self._trail), _SHORT, True)
        ended = _SHORT if self._short else _ALL
        return Found(best.kept_as_trained(), True, tuple(self._trail), ended, self._short)


_SHORT = "what was left of the time is kept for the final training, the export and its check"
_ALL = "all known settings of the promising backbones were tried"

"""The page that tells what was tried, and the same for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tltool.finetuning.auto.planner import Tried
from tltool.report.wording import code, markdown, table
from tltool.tasks.reports import Score


@dataclass(frozen=True)
class Account:
    """What a search is told of with.

    Attributes:
        data: What it was given, for people.
        task: As a recipe names it.
        minutes: That it was given.
        score: What sums a model up.
        trail: All that was tried, in order.
        winner: Name of the best so far; None before there is one.
        ended: Why nothing more was tried; None while it goes on, or where it was interrupted.
        short: Whether that is for want of time.
        seconds: That the whole took, final training and export too; None before the end.
        run: Folder of the final run; None before there is one.
        test: The winner's score on the test rows, with its interval; None before it is known, or
            where there are no such rows.
        notes: Other sentences.
    """

    data: str
    task: str
    minutes: float
    score: Score
    trail: Sequence[Tried]
    winner: str | None = None
    ended: str | None = None
    short: bool = False
    seconds: float | None = None
    run: str | None = None
    test: tuple[float, tuple[float, float] | None] | None = None
    notes: tuple[str, ...] = ()

    @property
    def tried(self) -> int:
        """How many were tried, without what was left out."""
        return sum(one.verdict != "left out" for one in self.trail)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "score": self.score.key, "trail": [asdict(t) for t in self.trail]}

    def to_markdown(self) -> str:
        """As a page."""
        return "\n".join([*self._summary(), "", "## What was tried", "", self._table(), "",
                          *_EXPLAINED, ""])  # fmt: skip

    def _summary(self) -> list[str]:
        used = "" if self.seconds is None else f", {self.seconds / 60:.1f} were used"
        winner = "not known yet" if self.winner is None else markdown(self.winner)
        title = "Best so far" if self.ended is None else "Winner"
        lines = [
            f"# The best model for {markdown(self.data)} in {self.minutes:g} minutes",
            "",
            f"- Task: {self.task}",
            f"- {title}: {winner}",
            f"- Time: {self.minutes:g} minutes were given{used}",
        ]
        if self.test is not None:
            lines.append(f"- {self.score.title} on the test rows, which nothing before has touched:"
                         f" {_with_interval(self.score, *self.test)}")  # fmt: skip
        if self.run is not None:
            lines.append(f"- Run: {code(self.run)}; `recipe.yaml` beside this page trains it again")
        if self.ended is not None:
            lines.append(f"- Then {self.ended}.")
        return [*lines, *(f"- {markdown(note)}" for note in self.notes)]

    def _table(self) -> str:
        header = ["Candidate", self.score.title, "Folds", "Gain over the best before", "Seconds",
                  "Verdict", "Why"]  # fmt: skip
        rows = [
            [
                markdown(one.name),
                "" if one.score is None else _with_interval(self.score, one.score, one.interval),
                str(one.folds) if one.folds else "",
                "" if one.gain is None else _gain(self.score, one.gain, one.gain_interval),
                f"{one.seconds:.1f}",
                one.verdict,
                markdown(one.why),
            ]
            for one in self.trail
        ]
        return table(header, rows, right=(2, 4))


_EXPLAINED = (
    "Scores are of the rows that folds of the training rows hold out, each by a model that has not "
    "seen it, with their 95 % interval. A candidate that is better or worse beyond doubt is "
    "measured on no more folds. The gain is paired: on the rows that both were measured on, with "
    "its 95 % interval; more is better. The best of several looks a little better here than it is. "
    "Seconds are all that passed since the line above; the first line has the start of the program "
    "and the reading of the data too.",
)


def _with_interval(score: Score, value: float, interval: tuple[float, float] | None) -> str:
    bounds = "" if interval is None else f" ({' to '.join(map(score.text, interval))})"
    return f"{score.text(value)}{bounds}"


def _gain(score: Score, gain: float, interval: tuple[float, float] | None) -> str:
    factor, unit = (100, " points") if score.share else (1, "")
    bounds = ""
    if interval is not None:
        bounds = f" ({' to '.join(f'{factor * one:+.3g}' for one in interval)})"
    return f"{factor * gain:+.3g}{unit}{bounds}"

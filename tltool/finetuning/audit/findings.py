"""What an audit found: values that its files, its page and the terminal are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tltool.finetuning.audit.leaks import Leak
from tltool.support.words import count, excerpt, percent, plural
from tltool.tasks.doubts import Overlap
from tltool.tasks.reports import Score

Kind = Literal["label", "duplicate", "outlier"]
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """A row that someone should look at.

    Attributes:
        kind: A label that is probably wrong, a near duplicate of `other`, or a row like no other.
        row: Its number in the audit.
        score: How sure that is, the surest least: self-confidence of the label, 1 less the
            likeness of duplicates, or minus the distance to the nearest rows.
        suggested: The label that it would have instead; None where none is offered.
        other: Number of the row that it is nearly the same as; None for others.
    """

    kind: Kind
    row: int
    score: float
    suggested: Any = None
    other: int | None = None


@dataclass(frozen=True)
class GroupFound:
    """Rows that seem to belong together though nothing says so.

    Attributes:
        source: What names the groups.
        groups: How many there are.
        share, chance: Rows with their nearest one there, and what that would be by chance, 0..1.
    """

    source: str
    groups: int
    share: float
    chance: float


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ScoreFound:
    """The probe's score, and what it would be.

    Attributes:
        measured_on: Which rows, in words.
        rows: How many.
        as_it_is: Of the data as it is.
        without_leaks: Of the same rows by probes that have seen no near duplicate of them; None
            where there are none.
        leak: What the near duplicates are worth: paired, on the same rows.
        if_right: Were all labels right, by probes of corrected labels; None where it is not told.
        gain_if_right: What that is more than the score as it is.
        wrong_labels: Estimated share of labels that are wrong.
    """

    measured_on: str
    rows: int
    as_it_is: Estimate
    without_leaks: Estimate | None = None
    leak: Estimate | None = None
    if_right: Estimate | None = None
    gain_if_right: Estimate | None = None
    wrong_labels: Estimate | None = None


@dataclass(frozen=True)
class CurvePoint:
    """The probe's score when it is fitted on so many rows; the mean of some draws of them."""

    rows: int
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassGain:
    """What as many rows again of one class would bring.

    Attributes:
        name: Of the class.
        rows: It has, and would get.
        gain: Of the headline score.
    """

    name: str
    rows: int
    gain: Estimate


@dataclass(frozen=True)
class CurveFound:
    """The learning curve of the probe, and what more rows would bring.

    Attributes:
        points: From few rows to all.
        twice: Rows of twice the data.
        gain: Of the headline score by twice the rows; more is better, also of errors.
        by_class: What as many rows again of single classes would bring, the most first.
    """

    points: Sequence[CurvePoint]
    twice: int
    gain: Estimate
    by_class: Sequence[ClassGain] = ()


@dataclass(frozen=True)
class Found:
    """All that an audit found.

    Attributes:
        data: What was audited, as it was named.
        task: As a recipe names it.
        backbone: Whose features were looked at.
        rows: Number of rows of each split.
        score: What sums a model up.
        findings: Rows, by kind and then the surest first.
        across_splits: How many pairs of near duplicates lie in different splits.
        overlaps, leaks, groups: Of the data as a whole.
        cost: What the faults do to the score.
        curve: What more rows would bring; None where it was not asked for.
        unanswered: What can't be told of such data, in sentences.
        notes: What the reading of the data told.
        seconds: The whole took.
    """

    data: str
    task: str
    backbone: str
    rows: Mapping[str, int]
    score: Score
    findings: Sequence[Finding]
    across_splits: int
    overlaps: Sequence[Overlap]
    leaks: Sequence[Leak]
    groups: Sequence[GroupFound]
    cost: ScoreFound
    curve: CurveFound | None
    unanswered: Sequence[str]
    notes: Sequence[str]
    seconds: float

    def of_kind(self, kind: Kind) -> list[Finding]:
        """Findings of one kind, the surest first."""
        return [one for one in self.findings if one.kind == kind]

    def to_json(self) -> dict[str, Any]:
        """As JSON values, but for the rows that findings are of."""
        values = asdict(self)
        del values["findings"]
        return {**values, "score": self.score.key}

    def lines(self) -> list[str]:
        """What a person wants to know, short."""
        total = sum(self.rows.values())
        splits = ", ".join(f"{number:,} {name}" for name, number in self.rows.items())
        return [
            f"{excerpt(self.data)}: {total:,} rows ({splits}), {self.task}, {self.backbone}",
            *self._score_lines(),
            *self._finding_lines(total),
            *self._data_lines(),
            *self._curve_lines(),
            *(f"not told: {one}" for one in self.unanswered),
        ]

    def _score_lines(self) -> list[str]:
        cost, text = self.cost, self.score.text
        where = f"{count(cost.rows, 'row')}, {cost.measured_on}"
        lines = [f"{self.score.title} of a linear probe: {shown(cost.as_it_is, text)} ({where})"]
        if cost.without_leaks is not None and cost.leak is not None:
            lines.append(
                f"  without near duplicates of fitted rows: {shown(cost.without_leaks, text)}; "
                f"they are worth {self.amount(cost.leak)}"
            )
        if cost.if_right is not None and cost.gain_if_right is not None:
            lines.append(
                f"  with corrected labels: {shown(cost.if_right, text)}; "
                f"that is {self.amount(cost.gain_if_right)}"
            )
        if cost.wrong_labels is not None:
            lines.append(f"  labels that are wrong: {shown(cost.wrong_labels, percent)}, estimated")
        return lines

    def _finding_lines(self, total: int) -> list[str]:
        labels, pairs = self.of_kind("label"), self.of_kind("duplicate")
        outliers = self.of_kind("outlier")
        share = percent(len(labels) / total)
        return [
            f"labels to look at: {len(labels):,} ({share})",
            f"near duplicates: {count(len(pairs), 'pair')}, {self.across_splits:,} of them across "
            "splits",
            f"outliers: {count(len(outliers), 'row')}",
        ]

    def _data_lines(self) -> list[str]:
        lines = [
            f"overlap: {excerpt(one.one, 60)} and {excerpt(one.other, 60)}: {one.confused:,} of "
            f"{one.rows:,} rows are taken for the other"
            for one in self.overlaps[:_SHOWN]
        ]
        if len(self.overlaps) > _SHOWN:
            lines.append(f"and {len(self.overlaps) - _SHOWN:,} more overlaps in audit.json")
        lines += [
            f"leak: {leak.fact} alone gives {self.score.title} {self.score.text(leak.score)}, "
            f"shuffled labels {self.score.text(leak.shuffled)}"
            for leak in self.leaks
            if leak.named
        ]
        lines += [
            f"missing groups: {percent(one.share)} of rows have the nearest one of their label in "
            f"the same group by {one.source} ({one.groups:,} groups; by chance "
            f"{percent(one.chance)}): name them in data.group_column"
            for one in self.groups
        ]
        return lines

    def _curve_lines(self) -> list[str]:
        if self.curve is None:
            return []
        points = ", ".join(f"{self.score.text(one.score)} with {one.rows:,}"
                           for one in self.curve.points)  # fmt: skip
        lines = [
            f"learning curve: {points}",
            f"  twice the rows ({self.curve.twice:,} to fit): {self.amount(self.curve.gain)}",
        ]
        return lines + [
            f"  {count(one.rows, 'more row')} of {excerpt(one.name, 60)}: {self.amount(one.gain)}"
            for one in self.curve.by_class[:_SHOWN]
        ]

    def amount(self, gain: Estimate) -> str:
        """A change of the score: `+1.2 points (95 % interval -0.2 to +2.6)`."""
        factor, unit = (100, " points") if self.score.share else (1, "")
        digits = "+.1f" if self.score.share else "+.3g"
        value, low, high = (f"{factor * one + 0.0:{digits}}" for one in
                            (gain.value, gain.low, gain.high))  # fmt: skip
        return f"{value}{unit} (95 % interval {low} to {high})"


def shown(estimate: Estimate, text: Any) -> str:
    """A value with its interval, in words."""
    return f"{text(estimate.value)} ({text(estimate.low)} to {text(estimate.high)})"


def noun_of(kind: Kind, number: int) -> str:
    """So many findings of a kind, in words."""
    nouns = {"label": "label to look at", "duplicate": "near duplicate", "outlier": "outlier"}
    if number == 1 or kind != "label":
        return count(number, nouns[kind])
    return f"{number:,} {plural('label')} to look at"

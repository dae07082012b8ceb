"""Whether new rows differ from the sketch of those that a model was measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from tltool.evaluation.drift.samples import (
    discrepancy_p,
    holm,
    larger_p,
    mean_difference_p,
    named_p,
    ordered_p,
    stratified_larger_p,
)
from tltool.evaluation.drift.sketch import Column, Layout, Sketch, Tally
from tltool.support.words import number, percent
from tltool.tasks.watched import CONFIDENCE

Array = np.ndarray[Any, Any]
Aspect = Literal["inputs", "predictions", "quality"]

ASPECTS: tuple[Aspect, ...] = ("inputs", "predictions", "quality")
ALPHA = 0.01
"""How often all tests together may raise an alarm on rows that have not drifted."""
FEWEST_ROWS = 20
"""Fewer rows are not compared: hardly any drift would show in them."""


@dataclass(frozen=True)
class Finding:
    """One test.

    Attributes:
        aspect: What it tests.
        what: Which column, vector or slice.
        test: Its name.
        before, now: What it compares, in words.
        p: Its p-value by itself.
        corrected: After Holm's correction for all tests of the verdict.
        drifted: Whether that is at most the verdict's level.
    """

    aspect: Aspect
    what: str
    test: str
    before: str
    now: str
    p: float
    corrected: float = 1.0
    drifted: bool = False


@dataclass(frozen=True)
class Slice:
    """Quality in one part of the rows.

    Attributes:
        what: Which part, such as `brightness below 0.31`.
        rows_before, rows: Labelled rows in it, in the sketch and now.
        wrong_before, wrong: Mean of how wrong they are, as `Target.wrongness`; None without rows.
    """

    what: str
    rows_before: int
    rows: int
    wrong_before: float | None
    wrong: float | None


@dataclass(frozen=True)
class Verdict:
    """What all tests say together.

    Attributes:
        rows_before, rows: In the sketch and now.
        level: How often any of the tests may raise an alarm without drift.
        findings: All tests, the most telling first.
        slices: Quality by parts; empty where no labels are known.
    """

    rows_before: int
    rows: int
    level: float
    findings: tuple[Finding, ...]
    slices: tuple[Slice, ...] = ()

    @property
    def drifted(self) -> tuple[Aspect, ...]:
        """What has drifted, in the order of `ASPECTS`."""
        return tuple(
            aspect
            for aspect in ASPECTS
            if any(one.drifted and one.aspect == aspect for one in self.findings)
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"drifted": list(self.drifted), **asdict(self)}


def judge(sketch: Sketch, new: Tally, *, level: float = ALPHA) -> Verdict:
    """Compares new rows with a sketch.

    Args:
        sketch: Of held-out rows.
        new: Of new rows, in its layout.
        level: How often any test may raise an alarm without drift, 0..1.
    """
    slices = [] if not _labelled(sketch, new) else list(_slices(sketch, new))
    findings = [*_of_columns(sketch, new), *_of_vectors(sketch, new)]
    if _labelled(sketch, new):
        findings += [*_of_quality(sketch, new), *(finding for finding, _ in slices)]
    corrected = holm([finding.p for finding in findings])
    judged = [
        replace(finding, corrected=value, drifted=value <= level)
        for finding, value in zip(findings, corrected, strict=True)
    ]
    judged.sort(key=lambda finding: finding.p)
    return Verdict(
        sketch.reference.rows, new.rows, level, tuple(judged), tuple(part for _, part in slices)
    )


def _labelled(sketch: Sketch, new: Tally) -> bool:
    return bool(sketch.layout.wrong and sketch.reference.wrong and new.wrong)


def _of_columns(sketch: Sketch, new: Tally) -> Iterator[Finding]:
    old = sketch.reference
    for name, column in sketch.layout.columns.items():
        before, now = old.counts[name], new.counts[name]
        if column.names:
            place = int(np.argmax(np.abs(now / new.rows - before / old.rows)))
            words = [
                f"{column.names[place]}: {percent(float(counts[place] / rows))}"
                for counts, rows in ((before, old.rows), (now, new.rows))
            ]
            p, test = named_p(before, now), "chi-square of the counts"
        else:
            words = [f"mean {number(one.sums[name] / one.rows)}" for one in (old, new)]
            p, test = ordered_p(before, now), "Anderson-Darling of the counts"
        yield Finding(column.group, name, test, words[0], words[1], p)


def _of_vectors(sketch: Sketch, new: Tally) -> Iterator[Finding]:
    old = sketch.reference
    sizes = old.rows, new.rows
    for name, features in sketch.layout.features.items():
        mean_before, scatter_before = old.moments(name)
        mean, scatter = new.moments(name)
        gap, pooled = mean - mean_before, (scatter + scatter_before) / (sum(sizes) - 2)
        cut = features.directions.shape[1]
        spread = float(np.sqrt(np.trace(pooled[:cut, :cut])))
        distance = float(np.linalg.norm(gap[:cut])) / (spread or 1.0)
        yield Finding(
            features.group, f"{name}, mean", "Hotelling's T²", "0",
            f"moved by {number(distance)} of the rows' spread",
            mean_difference_p(gap[:cut], pooled[:cut, :cut], sizes),
        )  # fmt: skip
        yield Finding(
            features.group, f"{name}, distribution", "maximum mean discrepancy", "0",
            number(float(np.linalg.norm(gap[cut:]))),
            discrepancy_p(gap[cut:], pooled[cut:, cut:], sizes),
        )  # fmt: skip


def _of_quality(sketch: Sketch, new: Tally) -> Iterator[Finding]:
    before, now = (_any_table(one).sum(0) for one in (sketch.reference, new))
    was, found = (_wrong_words(sketch.layout, _mean_wrong(one)) for one in (sketch.reference, new))
    p = larger_p(before, now)
    yield Finding("quality", "all rows", "rank sum, one-sided", was, found, p)
    if CONFIDENCE in new.wrong and now.size == 2:
        tables = sketch.reference.wrong[CONFIDENCE], new.wrong[CONFIDENCE]
        was, found = (
            f"confidence less accuracy {_overconfidence(one):+.3f}"
            for one in (sketch.reference, new)
        )
        p = stratified_larger_p(*tables)
        test = "Mantel-Haenszel by confidence"
        yield Finding("quality", "calibration", test, was, found, p)


def _any_table(tally: Tally) -> Array:
    return next(iter(tally.wrong.values()))


def _wrong_words(layout: Layout, mean: float | None, rows: str = "") -> str:
    if mean is None:
        return "no rows"
    two = layout.wrong is not None and layout.wrong.bins == 2
    return (f"{percent(1 - mean)} right" if two else f"mean error {number(mean)}") + rows


def _mean_wrong(tally: Tally, name: str | None = None, bins: slice = slice(None)) -> float | None:
    """How wrong the labelled rows in some bins of a column are on average; None without rows."""
    name = next(iter(tally.wrong)) if name is None else name
    rows = tally.wrong[name][bins].sum()
    return float(tally.wrong_sums[name][bins].sum() / rows) if rows else None


def _overconfidence(tally: Tally) -> float:
    return tally.sums[CONFIDENCE] / tally.rows - 1 + (_mean_wrong(tally) or 0.0)


def _slices(sketch: Sketch, new: Tally) -> Iterator[tuple[Finding, Slice]]:
    """Quality by parts of each fact of the inputs."""
    layout = sketch.layout
    for name, column in layout.columns.items():
        if column.group != "inputs" or not column.slices:
            continue
        bounds = [0, *column.slices, column.bins]
        for first, end in pairwise(bounds):
            both, part = (sketch.reference, new), slice(first, end)
            before, now = (one.wrong[name][part].sum(0) for one in both)
            means = [_mean_wrong(one, name, part) for one in both]
            counts = [int(rows.sum()) for rows in (before, now)]
            was, found = (_wrong_words(layout, mean, f" of {rows:,} rows")
                          for mean, rows in zip(means, counts, strict=True))  # fmt: skip
            what = _between(name, column, first, end)
            p = larger_p(before, now)
            finding = Finding("quality", what, "rank sum, one-sided", was, found, p)
            yield finding, Slice(what, *counts, *means)


def _between(name: str, column: Column, first: int, end: int) -> str:
    low = "" if not first else f"from {number(column.edges[first - 1])}"
    high = "" if end == column.bins else f"below {number(column.edges[end - 1])}"
    return " ".join(filter(None, [name, low, high]))


def lines(verdict: Verdict) -> Sequence[str]:
    """The verdict in a few sentences."""
    said = {
        "inputs": "The inputs have drifted",
        "predictions": "The predictions have drifted",
        "quality": "The answers have become worse",
    }
    found = [
        f"{said[aspect]}: "
        + "; ".join(
            f"{one.what} ({one.before} before, {one.now} now)"
            for one in verdict.findings
            if one.drifted and one.aspect == aspect
        )
        + "."
        for aspect in verdict.drifted
    ]
    return found or ["No drift was found."]

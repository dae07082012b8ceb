"""Charts for pages, as SVG: lines over epochs, points, shares with their intervals.

Colours come from page.css, so that they fit a light and a dark page; lines differ in dashes as
well. What a chart shows is told in words too, for who does not see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tltool.report.page import join
from tltool.support.words import excerpt, number, percent

_WIDTH, _HEIGHT = 420.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 24.0, 30.0, 40.0
_COLOURS = ("one", "two", "three")
_TICKS = 4
_MOST_POINTS = 1_000

Value = float | None


@dataclass(frozen=True)
class Series:
    """A line, or points.

    Attributes:
        name: For people.
        x, y: One of each for each point; a None leaves a gap.
        interval: Of each y, or nothing.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Value]
    interval: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Mark:
    """A line upright across a chart, with a word beneath its top."""

    x: float
    name: str


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_name: str,
    share: bool = False,
    marks: Sequence[Mark] = (),
) -> Markup:
    """Lines over a common axis; empty without a value.

    Args:
        title: What it shows.
        series: Up to three.
        x_name: What the axis is.
        share: Whether values are shares, told in per cent.
        marks: Upright lines.
    """
    known = [s for s in series if any(_finite(v) for v in s.y)]
    if not known:
        return Markup("")
    frame = _Frame.around(known, percent if share else number)
    body = [*frame.axes(x_name, whole_x=True), *(frame.mark(mark) for mark in marks)]
    for colour, one in zip(_COLOURS, known, strict=False):
        body += [frame.path(one, colour), *frame.dots(one, colour)]
    body += _legend([s.name for s in known])
    told = "; ".join(_told(s, frame.words) for s in known)
    return _svg(title, f"{title}. {told}.", body)


def reliability_chart(title: str, points: Series) -> Markup:
    """Shares that came true (y, with intervals) over those that were stated (x), both 0 to 1."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0), percent)
    body = [*frame.axes("Stated", x_words=percent), frame.diagonal()]
    for x, (low, high) in zip(points.x, points.interval, strict=True):
        body.append(_element("path", "one line", d=f"M{frame.x(x)} {frame.y(low)}V{frame.y(high)}"))
    body += [*frame.dots(points, "one"), *_legend([points.name])]
    pairs = zip(points.x, points.y, strict=True)
    told = ", ".join(f"{percent(x)}: {percent(y or 0.0)}" for x, y in pairs)
    return _svg(title, f"{title}. Stated and true: {told}.", body)


def scatter_chart(title: str, points: Series, *, x_name: str, diagonal: bool = False) -> Markup:
    """Points in a plane, 1,000 of them at most, evenly drawn; with the line of equal values."""
    step = max(1, math.ceil(len(points.x) / _MOST_POINTS))
    few = Series(points.name, points.x[::step], points.y[::step])
    frame = _Frame.around([few], number, square=diagonal)
    places = (
        f"M{frame.x(x)} {frame.y(y)}h0"
        for x, y in zip(few.x, few.y, strict=True)
        if y is not None and _finite(y)
    )
    body = [*frame.axes(x_name)]
    if diagonal:
        body.append(frame.diagonal())
    body += [_element("path", "one cloud", d="".join(places)), *_legend([points.name])]
    return _svg(title, f"{title}: {len(few.x):,} points.", body)


@dataclass(frozen=True)
class _Frame:
    """Where values stand in a chart: the ranges of both axes, and how values are written."""

    across: tuple[float, float]
    up: tuple[float, float]
    words: Callable[[float], str]

    @classmethod
    def around(
        cls, series: Sequence[Series], words: Callable[[float], str], *, square: bool = False
    ) -> _Frame:
        across = _bounds([x for s in series for x in s.x])
        up = _bounds([y for s in series for y in s.y if y is not None and _finite(y)])
        if square:
            across = up = (min(across[0], up[0]), max(across[1], up[1]))
        return cls(across, up, words)

    def x(self, value: float) -> float:
        low, high = self.across
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.up
        room = _HEIGHT - _TOP - _BOTTOM
        return round(_HEIGHT - _BOTTOM - (value - low) / (high - low) * room, 1)

    def axes(
        self,
        x_name: str,
        *,
        whole_x: bool = False,
        x_words: Callable[[float], str] = number,
    ) -> list[Markup]:
        left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        parts = [_element("path", "axis", d=f"M{left} {_TOP}V{bottom}H{right}")]
        for value in _ticks(*self.up):
            parts.append(_element("path", "axis", d=f"M{left} {self.y(value)}H{right}"))
            parts.append(_text(self.words(value), left - 6, self.y(value) + 4, "end"))
        for value in _ticks(*self.across, whole=whole_x):
            parts.append(_text(x_words(value), self.x(value), bottom + 16))
        return [*parts, _text(x_name, (left + right) / 2, _HEIGHT - 6)]

    def diagonal(self) -> Markup:
        low, high = max(self.across[0], self.up[0]), min(self.across[1], self.up[1])
        way = f"M{self.x(low)} {self.y(low)}L{self.x(high)} {self.y(high)}"
        return _element("path", "mark", d=way)

    def mark(self, mark: Mark) -> Markup:
        at = self.x(mark.x)
        line = _element("path", "mark", d=f"M{at} {_TOP}V{_HEIGHT - _BOTTOM}")
        anchor = "end" if at > _WIDTH / 2 else "start"
        place = at - 4 if anchor == "end" else at + 4
        return line + _text(mark.name, place, _TOP + 10, anchor) if mark.name else line

    def path(self, series: Series, colour: str) -> Markup:
        way, pen = "", "M"
        for x, y in zip(series.x, series.y, strict=True):
            if y is None or not _finite(y):
                pen = "M"
                continue
            way += f"{pen}{self.x(x)} {self.y(y)}"
            pen = "L"
        return _element("path", f"{colour} line", d=way)

    def dots(self, series: Series, colour: str) -> list[Markup]:
        return [
            _element("circle", f"{colour} dot", cx=self.x(x), cy=self.y(y), r=3)
            for x, y in zip(series.x, series.y, strict=True)
            if y is not None and _finite(y)
        ]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round numbers within a range, some four of them: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * s for s in (1, 2, 5, 10) if power * s >= rough)
    step = max(1.0, round(step)) if whole else step
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]


def _finite(value: Value) -> bool:
    return value is not None and math.isfinite(value)


def _told(series: Series, words: Callable[[float], str]) -> str:
    values = [v for v in series.y if v is not None and _finite(v)]
    if len(values) == 1:
        return f"{series.name} {words(values[0])}"
    return f"{series.name} from {words(values[0])} to {words(values[-1])}"


def _legend(names: Sequence[str]) -> list[Markup]:
    room = (_WIDTH - _LEFT) / len(names)
    return [
        _text(excerpt(name, 48 // len(names)), _LEFT + i * room, 16, "start", colour)
        for i, (name, colour) in enumerate(zip(names, _COLOURS, strict=False))
    ]


def _text(words: str, x: float, y: float, anchor: str = "middle", kind: str = "") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, round(x, 1), round(y, 1), anchor, words
    )


def _element(name: str, kind: str, **attributes: float | str) -> Markup:
    given = Markup("").join(Markup(' {}="{}"').format(k, v) for k, v in attributes.items())
    return Markup('<{} class="{}"{}/>').format(Markup(name), kind, given)


def _svg(title: str, told: str, body: Sequence[Markup]) -> Markup:
    head = Markup('<figure><svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return Markup("{}{}</svg><figcaption>{}</figcaption></figure>").format(
        head.format(int(_WIDTH), int(_HEIGHT), told), join(body, ""), title
    )

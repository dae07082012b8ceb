"""Curves, confusion matrix and scatter as PNG files.

Drawn with matplotlib's object interface: no window system, no global state,
usable from any thread. Colours are Okabe and Ito's (jfly.uni-koeln.de/color),
which colour-blind readers can tell apart, and lines differ in style as well.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tltool.support.files import atomic_path
from tltool.support.words import excerpt
from tltool.tasks.reports import Bars, Map, Matrix, Picture, Scatter, Score

DPI = 150
LABEL_CHARACTERS = 28
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_INK, _GREY, _FAINT = "#222222", "#767676", "#D9D9D9"
_COUNTS_UP_TO = 20  # classes; with more, numbers no longer fit the cells
_TICKS_UP_TO = 100
_PANELS_ACROSS = 3
_MARKS = ("o", "x", "^", "+")  # of points, each in three colours
_CHARACTERS_ACROSS = 60  # of small type above a curve
# Fonts for scripts that matplotlib's own does not cover, where installed.
_MORE_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Arial Unicode MS", "Microsoft YaHei")


def learning_curves(
    history: Sequence[Mapping[str, Any]],
    path: Path,
    score: Score,
    unit: str = "",
    best: Mapping[str, Any] | None = None,
) -> None:
    """Draws loss, metric and learning rate over the epochs of all phases.

    Args:
        history: One row an epoch, in order: `phase`, `loss`, `val_loss`, the
            key of `score` with its `val_…`, `learning_rate`. Missing and None
            values leave a gap.
        score: The metric.
        unit: Of its values, in words.
        best: The row whose weights the model has: its epoch is marked.
        path: The PNG file; written whole or not at all.
    """
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(3.2, 1))
    loss = figure.add_subplot(grid[0, 0])
    _curves(loss, history, "loss", "Loss", best)
    if any(score.key in row for row in history):
        axes = figure.add_subplot(grid[0, 1], sharex=loss)
        title = f"{score.title} ({unit})" if unit else score.title
        _curves(axes, history, score.key, title, best)
        if score.share:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    rate = figure.add_subplot(grid[1, :])
    rate.plot(*_series(history, "learning_rate"), color=_GREEN, marker="o", markersize=3)
    if any(r.get("learning_rate") for r in history):
        rate.set_yscale("log")
    _dress(rate, "Learning rate", "Epoch")
    _mark_phases(rate, history, named=False)
    _save(figure, path)


def rate_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    marks: Mapping[str, float],
    path: Path,
) -> None:
    """Draws the loss of a learning-rate range test over the rate, on a logarithmic axis.

    Args:
        rates, losses, smoothed: One of each for each step.
        marks: What to mark by a vertical line: a name and its rate.
        path: The PNG file; written whole or not at all.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, color=_GREY, linewidth=0.8, alpha=0.7, label="each step")
    axes.plot(rates, smoothed, color=_BLUE, linewidth=2, label="smoothed")
    styles = zip(marks.items(), (_GREEN, _ORANGE, _INK), ("-", "--", ":"), strict=False)
    for (name, rate), colour, style in styles:
        label = f"{name}: {rate:.2g}"
        axes.axvline(rate, color=colour, linestyle=style, linewidth=1.2, label=label)
    # What diverged would press the rest flat.
    low, high = min(smoothed), max(smoothed[: 1 + len(smoothed) // 4])
    axes.set_xscale("log")
    axes.set_ylim(low - 0.15 * (high - low), high + 0.6 * (high - low) or None)
    _dress(axes, "Loss", "Learning rate")
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    _save(figure, path)


def draw(picture: Picture, path: Path) -> None:
    """Draws what the held-out rows gave, as a PNG file, written whole or not at all."""
    match picture:
        case Matrix():
            confusion_matrix(picture.counts, picture.labels, path)
        case Scatter():
            regression_scatter(picture.panels, path)
        case Bars():
            label_bars(picture, path)
        case Map():
            group_map(picture, path)


def group_map(picture: Map, path: Path) -> None:
    """Draws points in a plane: the largest groups in colours and marks, the others grey."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    names = np.array(picture.names)
    largest = [name for name, _ in Counter(picture.names).most_common(len(_MARKS) * 3)]
    rest = ~np.isin(names, largest)
    if rest.any():
        axes.scatter(
            picture.points[rest, 0], picture.points[rest, 1], s=8, color=_FAINT, label="others"
        )
    for number, name in enumerate(largest):
        colour, mark = (_BLUE, _ORANGE, _GREEN)[number % 3], _MARKS[number // 3]
        own = picture.points[names == name]
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=16,
            color=colour,
            marker=mark,
            linewidths=0.8,
            label=shorten(name),
        )
    _dress(axes, "Second component", "First component")
    axes.set_title(picture.title, loc="left", fontsize=11, color=_INK)
    axes.legend(frameon=False, fontsize=8, prop={"family": _fonts(), "size": 8},
                loc="upper left", bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    _save(figure, path)


def label_bars(picture: Bars, path: Path) -> None:
    """Draws shares of each label as bars, the labels from top to bottom."""
    labels, groups = picture.labels, picture.shares
    height = 0.8 / max(1, len(groups))
    figure = Figure(figsize=(7, max(2.4, 0.34 * len(labels) + 1.2)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(labels))
    for number, (name, shares) in enumerate(groups.items()):
        values = [0.0 if share is None else share for share in shares]
        colour = (_BLUE, _ORANGE, _GREEN)[number % 3]
        offset = (number - (len(groups) - 1) / 2) * height
        axes.barh(places + offset, values, height * 0.9, color=colour, label=name)
    axes.set_yticks(places, [shorten(label) for label in labels], family=_fonts(), parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    _dress(axes, None, "Share")
    axes.set_title(picture.title, loc="left", fontsize=11, color=_INK)
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.04), ncols=3)
    _save(figure, path)


def confusion_matrix(
    matrix: Sequence[Sequence[int]] | np.ndarray, labels: Sequence[str], path: Path
) -> None:
    """Draws a confusion matrix: colours are shares of the true class.

    Counts are written into the cells for up to 20 classes. Classes without
    rows stay grey.

    Args:
        matrix: (classes, classes) counts; rows are true, columns predicted.
        labels: Class names, in that order; long ones are shortened in the middle.
        path: The PNG file; written whole or not at all.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    support = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(
        counts / np.maximum(support, 1), np.repeat(support == 0, len(counts), 1)
    )
    few = len(counts) <= _COUNTS_UP_TO
    side = max(3.0, 0.52 * len(counts)) if few else float(np.clip(0.155 * len(counts), 7, 20))
    margin = 0.075 * min(LABEL_CHARACTERS, max(map(len, labels)))
    figure = Figure(figsize=(side + margin + 1.6, side + margin + 0.9), layout="constrained")
    axes = figure.add_subplot()
    # With many classes the usual confusion is a few per cent: the square root shows it.
    norm = PowerNorm(1.0 if few else 0.5, vmin=0.0, vmax=1.0)
    image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    axes.set_facecolor(_FAINT)
    _class_ticks(axes, labels, support[:, 0])
    if few:
        _write_counts(axes, counts, shares)
    beside = axes.inset_axes((1.0 + 0.15 / side, 0.0, 0.2 / side, 1.0))
    bar = figure.colorbar(image, cax=beside, format=PercentFormatter(1.0))
    bar.set_label("Share of the true class", color=_INK)
    bar.ax.tick_params(labelsize=9, labelcolor=_INK)
    bar.outline.set_visible(False)
    _save(figure, path)


def regression_scatter(
    panels: Sequence[tuple[str, Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    path: Path,
) -> None:
    """Draws predicted against true values with the diagonal of exact ones.

    Args:
        panels: For each number its name, predictions and true values, both (n,).
        path: The PNG file; written whole or not at all.
    """
    columns = min(len(panels), _PANELS_ACROSS)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(5.6 * columns, 5.4 * rows), layout="constrained")
    for number, (name, predictions, targets) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        title = "Predicted against true values" + (f": {name}" if len(panels) > 1 else "")
        _scatter(axes, np.ravel(predictions), np.ravel(targets), excerpt(title, 60))
    _save(figure, path)


def _scatter(axes: Axes, predictions: np.ndarray, targets: np.ndarray, title: str) -> None:
    both = np.concatenate([predictions, targets])
    margin = 0.04 * float(np.ptp(both)) or 1.0
    limits = (float(both.min()) - margin, float(both.max()) + margin)
    axes.plot(limits, limits, color=_GREY, linestyle="--", linewidth=1, label="exact")
    # The more points, the fainter and smaller, so that dense regions show as such.
    alpha = float(np.clip(20 / math.sqrt(len(targets)), 0.15, 0.8))
    axes.scatter(
        targets,
        predictions,
        s=22 if len(targets) < 1000 else 9,
        color=_BLUE,
        alpha=alpha,
        linewidths=0,
        label=f"{len(targets):,} rows",
    )
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    _dress(axes, "Predicted", "True value")
    axes.set_title(title, loc="left", fontsize=11, color=_INK, parse_math=False)
    axes.legend(frameon=False, fontsize=9, loc="upper left")


@dataclass(frozen=True)
class TradeOff:
    """One export in a picture of size against quality.

    Attributes:
        name: Written beside its mark.
        size_bytes: Of its file.
        latency_ms: For one example; None where unknown.
        value: Of the metric.
        interval: 95 % of the value; None where there is none.
        passed: Whether the gate let it pass.
        chosen: Whether it is the one to ship.
    """

    name: str
    size_bytes: int
    latency_ms: float | None
    value: float
    interval: tuple[float, float] | None
    passed: bool
    chosen: bool


def trade_off(points: Sequence[TradeOff], score: Score, trained: float, path: Path) -> None:
    """Draws the metric of exports over the size of their files.

    Args:
        points: The exports.
        score: The metric.
        trained: The trained model's value, drawn as a line.
        path: The PNG file; written whole or not at all.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(trained, color=_GREY, linestyle="--", linewidth=1, label="trained model")
    for point in points:
        size = point.size_bytes / 1e6
        colour = _GREEN if point.chosen else _BLUE if point.passed else _ORANGE
        marker = "*" if point.chosen else "o" if point.passed else "x"
        if point.interval is not None:
            axes.plot([size, size], point.interval, color=colour, linewidth=1, alpha=0.6)
        verdict = "chosen" if point.chosen else "passed" if point.passed else "refused"
        taken = "" if point.latency_ms is None else f", {point.latency_ms:.3g} ms"
        label = f"{point.name}: {size:.3g} MB{taken}, {verdict}"
        width = 14 if point.chosen else 8
        axes.plot([size], [point.value], marker, color=colour, markersize=width, label=label)
    axes.set_xlim(0, 1.1 * max(point.size_bytes for point in points) / 1e6)
    if score.share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _dress(axes, score.title, "Size (MB)")
    axes.set_title("Size and quality of each precision", loc="left", fontsize=11, color=_INK)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, path)


def _curves(
    axes: Axes,
    history: Sequence[Mapping[str, Any]],
    key: str,
    name: str,
    best: Mapping[str, Any] | None,
) -> None:
    lines = (
        (key, "training", _BLUE, "-", "o"),
        (f"val_{key}", "validation", _ORANGE, "--", "s"),
    )
    for column, label, colour, style, marker in lines:
        if any(row.get(column) is not None for row in history):
            epochs, values = _series(history, column)
            axes.plot(
                epochs,
                values,
                color=colour,
                linestyle=style,
                marker=marker,
                markersize=4,
                linewidth=1.8,
                label=label,
            )
    axes.set_title(name, loc="left", fontsize=11, color=_INK, pad=20)
    _dress(axes, None, "Epoch")
    _mark_phases(axes, history, named=True)
    if best is not None and "total_epoch" in best:
        axes.axvline(best["total_epoch"], color=_INK, linewidth=1, label="weights of the model")
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)


def _series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    values = [row.get(key) for row in history]
    numbers = [float("nan") if value is None else float(value) for value in values]
    return list(range(1, len(history) + 1)), numbers


def _mark_phases(axes: Axes, history: Sequence[Mapping[str, Any]], *, named: bool) -> None:
    """A line before each phase; above it the phase's name, or its number where space is short."""
    starts = [
        i
        for i, row in enumerate(history)
        if i == 0 or row.get("phase") != history[i - 1].get("phase")
    ]
    for i in starts:
        if i > 0:
            axes.axvline(i + 0.5, color=_GREY, linestyle=":", linewidth=1, label="_phase")
    if len(starts) < 2 or not named:
        return
    ends = [*starts[1:], len(history)]
    names = [shorten(str(history[start].get("phase")), 14) for start in starts]
    widths = [
        _CHARACTERS_ACROSS * (end - start) / len(history)
        for start, end in zip(starts, ends, strict=True)
    ]
    if any(len(name) > width for name, width in zip(names, widths, strict=True)):
        names = [str(i + 1) for i in range(len(starts))]
    for name, start, end in zip(names, starts, ends, strict=True):
        axes.text(
            (start + end + 1) / 2,
            1.01,
            name,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
            color=_GREY,
            parse_math=False,
        )


def _dress(axes: Axes, y: str | None, x: str) -> None:
    axes.set_xlabel(x, fontsize=9, color=_INK)
    if y:
        axes.set_ylabel(y, fontsize=9, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(labelsize=9, color=_GREY, labelcolor=_INK)
    axes.grid(visible=True, color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    if x == "Epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _class_ticks(axes: Axes, labels: Sequence[str], support: np.ndarray) -> None:
    few = len(labels) <= _COUNTS_UP_TO
    size = 9 if few else 7
    ticks = range(0, len(labels), math.ceil(len(labels) / _TICKS_UP_TO))
    names = [shorten(labels[i]) for i in ticks]
    rows = [f"{name} ({support[i]})" for name, i in zip(names, ticks, strict=True)]
    upright = few and max(map(len, names)) <= 5
    fonts = _fonts()
    axes.set_xticks(
        ticks, names, rotation=0 if upright else 90, fontsize=size, family=fonts, parse_math=False
    )
    axes.set_yticks(ticks, rows, fontsize=size, family=fonts, parse_math=False)
    axes.set_xlabel("Predicted class", fontsize=10, color=_INK)
    axes.set_ylabel("True class (number of rows)", fontsize=10, color=_INK)
    axes.tick_params(length=0, labelcolor=_INK)
    axes.spines[:].set_visible(False)
    edges = np.arange(len(labels) + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white" if few else _FAINT, linewidth=1.0 if few else 0.3)
    axes.tick_params(which="minor", length=0)


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ma.MaskedArray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        dark = shares.filled(0.0)[row, column] > 0.55
        axes.text(
            column,
            row,
            f"{count:,}",
            ha="center",
            va="center",
            fontsize=9 if count < 1000 else 7,
            color="white" if dark else _INK if count else _GREY,
        )


def shorten(label: str, characters: int = LABEL_CHARACTERS) -> str:
    """A label on one line, cut in the middle, where similar names differ least."""
    line = excerpt(label, characters=10_000)
    if len(line) <= characters:
        return line
    head = (characters - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (characters - 1 - head) :]}"


def _fonts() -> list[str]:
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)]


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings(), atomic_path(path) as temporary:
        # A script no installed font covers is drawn as boxes; the reports have the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasAgg(figure).print_figure(
            temporary,
            dpi=DPI,
            format="png",
            facecolor="white",
            bbox_inches="tight",
            pad_inches=0.15,
        )

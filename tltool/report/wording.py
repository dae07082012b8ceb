"""Numbers in words, and text made safe for Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tltool.evaluation.evaluate import excerpt


def percent(share: float) -> str:
    """0.934 as "93.4 %"."""
    return f"{100 * share:.1f} %"


def number(value: float | None) -> str:
    """Four significant digits, or a dash for what is undefined."""
    return "–" if value is None else f"{value:.4g}"


def score(metric: str, value: float) -> str:
    """Accuracy in per cent, errors in the target's units."""
    return percent(value) if metric == "accuracy" else number(value)


def count(amount: int, noun: str) -> str:
    """1 as "1 text", 1200 as "1,200 texts"; nouns in -s take -es."""
    if amount == 1:
        return f"1 {noun}"
    return f"{amount:,} {noun}{'es' if noun.endswith('s') else 's'}"


def duration(seconds: float) -> str:
    """75 as "1 min 15 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def markdown(text: object) -> str:
    """Any text on one line with Markdown's own characters escaped.

    Underscores within words stay, as GitHub Flavored Markdown takes them literally.
    """
    line = excerpt(str(text), characters=1000)
    return re.sub(r"([\\`*\[\]<>|~$#])|(?<!\w)(_)|(_)(?!\w)", r"\\\g<0>", line)


def code(text: object) -> str:
    """Any text on one line as a Markdown code span, even with backquotes in it."""
    line = excerpt(str(text), characters=1000)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    space = " " if "`" in line else ""
    return "`" * (longest + 1) + space + line + space + "`" * (longest + 1)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table of cells that are Markdown already; `right` lists right-aligned columns."""
    rule = ["---:" if i in right else "---" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))

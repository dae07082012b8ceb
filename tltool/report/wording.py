"""Text made safe for Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tltool.support.words import excerpt


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

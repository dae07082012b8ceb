"""Keeps RESULTS.md: each benchmark program replaces its own section and no other."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from tltool.support.files import write_text

RESULTS = Path(__file__).parent / "RESULTS.md"
INTRODUCTION = """\
# Results

Written by the programs in this folder; see README.md for how to run them.
"""


def write_section(name: str, text: str, file: Path = RESULTS) -> None:
    """Writes a section between its two markers, in place or at the end of the file.

    Args:
        name: Of the section, such as "accuracy trash6"; stands in the markers.
        text: Markdown without the markers.
        file: The file, made where it is not there yet.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}\n"
    document = file.read_text(encoding="utf-8") if file.is_file() else INTRODUCTION
    existing = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}\n", re.DOTALL)
    if existing.search(document):
        document = existing.sub(lambda _: section, document)
    else:
        document = f"{document.rstrip()}\n\n{section}"
    write_text(file, document)


def table_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean and, of several, in brackets the sample standard deviation."""
    spread = f" ({statistics.stdev(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"

"""The end-of-run summary: on the terminal, and as Markdown.

Both are rendered from one value, `RunSummary`, which the caller fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tltool.report.content import (
    Artifact,
    Phase,
    RunSummary,
    file_lines,
    headline,
    mistake_lines,
    mistakes_title,
    notes,
    remarks,
    result_lines,
    tables,
)
from tltool.report.wording import code, markdown, table
from tltool.support.words import excerpt

__all__ = ["Artifact", "Phase", "RunSummary", "render", "to_markdown"]


def render(summary: RunSummary, console: Console) -> None:
    """Prints the summary for a newcomer; without styles where the console is no terminal.

    Names, texts and paths are printed as they are (no markup), each on one
    line that is never broken, so that it can be copied and searched. Only the
    sentences at the top are wrapped, and only on a terminal.
    """
    _print(console, "", headline(summary), prose=True)
    for note in notes(summary):
        _print(console, "note: ", note, "yellow", prose=True)
    for warning in summary.warnings:
        _print(console, "warning: ", warning, "yellow", prose=True)
    _title(console, f"Result on the {summary.split} split")
    results = result_lines(summary)
    width = max(15, *(len(label) + 2 for label, _ in results))
    for label, text in results:
        _print(console, f"  {label:<{width}}", text, "bold")
    for found in tables(summary):
        title, rows, left_out = found.brief or (found.title, found.rows, "")
        _title(console, title)
        _table(console, found.header, rows)
        if left_out:
            _print(console, "  ", left_out)
    for title, lines in remarks(summary):
        _list(console, title, lines)
    _list(console, mistakes_title(summary), mistake_lines(summary))
    _list(console, "Files", file_lines(summary))
    if summary.next_commands:
        _title(console, "Next, try")
    for command, purpose in summary.next_commands:
        _print(console, f"  {excerpt(command, 10_000)}", "", "cyan")
        _print(console, "      ", purpose)


def to_markdown(summary: RunSummary) -> str:
    """The summary as a Markdown page."""
    results = [f"{label}: {text}" for label, text in result_lines(summary)]
    parts = [f"# {markdown(summary.name)}", markdown(headline(summary))]
    parts += [f"> {markdown(text)}" for text in (*notes(summary), *summary.warnings)]
    parts += _section(f"Result on the {summary.split} split", results)
    for found in tables(summary):
        title, rows, left_out = found.brief or (found.title, found.rows, "")
        parts += [f"## {title}", markdown_table(found.header, rows)]
        if left_out:
            parts.append(left_out)
    for title, lines in remarks(summary):
        parts += _section(title, lines)
    parts += _section(mistakes_title(summary), mistake_lines(summary))
    parts += _section("Files", file_lines(summary))
    if summary.next_commands:
        commands = [f"- {code(command)}: {markdown(why)}" for command, why in summary.next_commands]
        parts += ["## Next, try", "\n".join(commands)]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    bullets = "\n".join(f"- {markdown(line)}" for line in lines)
    return [f"## {title}", bullets] if bullets else []


def _title(console: Console, text: str) -> None:
    console.print()
    _print(console, text, "", "bold")


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    if lines:
        _title(console, title)
    for line in lines:
        _print(console, "  ", line)


def _print(
    console: Console, label: str, text: str, style: str = "", *, prose: bool = False
) -> None:
    """A styled label and a text, as they are; only prose is wrapped, and only on a terminal."""
    line = Text(label, style) + Text(excerpt(text, 10_000))
    unbroken = not (prose and console.is_terminal)
    console.print(line, soft_wrap=unbroken, emoji=False, highlight=False)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of a report: the first column is text, the others are numbers."""
    cells = [[markdown(label), *values] for label, *values in rows]
    return table(header, cells, right=range(1, len(header)))


def _table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column("  " + header[0], no_wrap=True)
    for name in header[1:]:
        grid.add_column(name, justify="right", no_wrap=True)
    for label, *cells in rows:
        grid.add_row(Text(f"  {label}"), *cells)
    console.print(grid)

"""The end-of-run summary: on the terminal, and as Markdown.

Both are rendered from one value, `RunSummary`, which the caller fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tltool.evaluation.evaluate import excerpt
from tltool.report.content import (
    CLASS_HEADER,
    Artifact,
    Phase,
    RunSummary,
    class_rows,
    confusion_lines,
    file_lines,
    headline,
    mistake_lines,
    mistakes_title,
    notes,
    result_lines,
)
from tltool.report.wording import code, markdown, table

__all__ = ["Artifact", "Phase", "RunSummary", "render", "to_markdown"]


def render(summary: RunSummary, console: Console) -> None:
    """Prints the summary for a newcomer; without styles where the console is no terminal.

    Names, texts and paths are printed as they are (no markup), each on one
    line that is never broken, so that it can be copied and searched. Only the
    sentences at the top are wrapped, and only on a terminal.
    """
    metrics = summary.evaluation.metrics
    _print(console, "", headline(summary), prose=True)
    for note in notes(summary):
        _print(console, "note: ", note, "yellow", prose=True)
    for warning in summary.warnings:
        _print(console, "warning: ", warning, "yellow", prose=True)
    _title(console, f"Result on the {summary.split} split")
    for label, text in result_lines(summary):
        _print(console, f"  {label:<15}", text, "bold")
    rows, left_out = class_rows(metrics)
    if rows:
        _title(console, "Classes (the weakest)" if left_out else "Classes")
        _class_table(console, rows)
    if left_out:
        _print(console, "  ", f"and {left_out} more classes in the report")
    _list(console, "Most frequent confusions", confusion_lines(metrics))
    _list(console, mistakes_title(summary), mistake_lines(summary))
    _list(console, "Files", file_lines(summary))
    if summary.next_commands:
        _title(console, "Next, try")
    for command, purpose in summary.next_commands:
        _print(console, f"  {excerpt(command, 10_000)}", "", "cyan")
        _print(console, "      ", purpose)


def to_markdown(summary: RunSummary) -> str:
    """The summary as a Markdown page."""
    metrics = summary.evaluation.metrics
    results = [f"{label}: {text}" for label, text in result_lines(summary)]
    rows, left_out = class_rows(metrics)
    parts = [f"# {markdown(summary.name)}", markdown(headline(summary))]
    parts += [f"> {markdown(text)}" for text in (*notes(summary), *summary.warnings)]
    parts += _section(f"Result on the {summary.split} split", results)
    if rows:
        cells = [[markdown(label), *values] for label, *values in rows]
        parts.append("## Classes (the weakest)" if left_out else "## Classes")
        parts.append(table(CLASS_HEADER, cells, right=(1, 2, 3, 4)))
    if left_out:
        parts.append(f"and {left_out} more classes in the metrics file")
    parts += _section("Most frequent confusions", confusion_lines(metrics))
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


def _class_table(console: Console, rows: Sequence[Sequence[str]]) -> None:
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column("  " + CLASS_HEADER[0], no_wrap=True)
    for name in CLASS_HEADER[1:]:
        grid.add_column(name, justify="right", no_wrap=True)
    for label, *cells in rows:
        grid.add_row(Text(f"  {label}"), *cells)
    console.print(grid)

"""The page that sets runs side by side, paired by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from tltool.evaluation.paired import Paired
from tltool.report.content import amount
from tltool.report.page import Section, join, page, paragraph, table
from tltool.report.rows import Rows
from tltool.report.thumbnails import Thumbnails
from tltool.support.words import count, excerpt, percent

SHOWN = 24


def compare_page(
    first: str,
    facts: Sequence[Mapping[str, Any]],
    changes: Mapping[str, Paired],
    warnings: Sequence[str] = (),
) -> str:
    """The page, as HTML.

    Args:
        first: Name of the run that the others are compared with.
        facts: Of each run: `run`, its figures, and the fields in which recipes differ.
        changes: Each other run by its name, against the first.
        warnings: What speaks against trusting the comparison.
    """
    names = [str(row["run"]) for row in facts]
    keys = dict.fromkeys(key for row in facts for key in row if key != "run")
    cells = [[key, *(_cell(row.get(key)) for row in facts)] for key in keys]
    width = len(names) + 1
    figures = table(
        "Figures, and what differs between the recipes", ("", *names), cells, texts=width
    )
    thumbnails = Thumbnails()
    parts = [Section("runs", "The runs", figures)]
    for number, (name, change) in enumerate(changes.items(), start=1):
        parts += _sections(number, f"{name} against {first}", change, thumbnails)
    notices = (paragraph(warning, "notice") for warning in warnings)
    lead = join([paragraph(f"Compared with {first}, row by row."), *notices])
    return page("Runs side by side", parts, lead=lead)


def _sections(number: int, title: str, change: Paired, thumbnails: Thumbnails) -> list[Section]:
    parts = [Section(f"change-{number}", title, _told(change))]
    for key, what, rows in (
        ("gained", "What it gained", change.gained),
        ("lost", "What it lost", change.lost),
    ):
        if rows is not None:
            body = _cards(change, rows, thumbnails) or paragraph("No row.", "soft")
            parts.append(Section(f"{key}-{number}", f"{what}: {count(len(rows), 'row')}", body))
    return parts


def _told(change: Paired) -> Markup:
    comparison = change.comparison
    if comparison is None:
        return paragraph("Their score is undefined on these rows.")
    score = change.target.headline()
    verdict = "no clear difference"
    if comparison.is_better:
        verdict = "better"
    elif comparison.is_worse:
        verdict = "worse"
    values = f"{score.title} {score.text(comparison.value)} against {score.text(comparison.other)}"
    return join(
        [
            paragraph(f"{values} on {count(comparison.rows, 'row')}: {verdict}."),
            paragraph(f"Gain: {amount(comparison, score)}."),
            paragraph(f"Interval: {comparison.method}.", "soft"),
        ]
    )


def _cards(change: Paired, rows: np.ndarray[Any, Any], thumbnails: Thumbnails) -> Markup:
    def before(row: int) -> Markup:
        value, confidence = change.target.mistake(row, change.before, change.examples.targets)
        sure = "" if confidence is None else f" ({percent(confidence)} sure)"
        return paragraph(f"Before: {excerpt(change.target.words(value), 120)}{sure}")

    shown = Rows(change.examples, change.after, change.target, thumbnails, notes=before)
    left_out = len(rows) - SHOWN
    more = paragraph(f"{left_out:,} more are not shown.", "soft") if left_out > 0 else Markup("")
    found = shown.cards(rows[:SHOWN].tolist())
    return found + more if found else found


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)

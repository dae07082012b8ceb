"""What decisions changed of the data, and what the audit found that they are of, on pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from tltool.data.decided import Decided
from tltool.report.page import (
    Section,
    bullets,
    cards,
    disclosure,
    heading,
    image,
    join,
    paragraph,
    table,
)
from tltool.report.thumbnails import Thumbnails
from tltool.support.words import count, excerpt

SHOWN = 6
"""Rows that were left out, and as many that were given another label."""
_CHARACTERS = 300
_FINDINGS = {
    "label": "A label that is probably wrong",
    "duplicate": "A near duplicate",
    "outlier": "An outlier",
}
_DECISIONS = {"drop": "Left out", "relabel": "Relabelled", "keep": "Kept", "": "Undecided"}


def decisions_section(
    decided: Decided | None, thumbnails: Thumbnails, audit: Sequence[str] = ()
) -> Section:
    """The part of a page; without a body where nothing was decided.

    Args:
        decided: What a table of decisions changed.
        thumbnails: Makes the pictures.
        audit: What the audit said, in lines.
    """
    if decided is None:
        return Section("audit", "What was changed in the data", Markup(""))
    dropped = [
        _card(decided, origin, [f"Left out: {excerpt(origin, 120)}"], thumbnails)
        for origin in decided.dropped[:SHOWN]
    ]
    relabelled = [
        _card(decided, origin, [f"Was: {excerpt(before, 80)}", f"Is: {excerpt(after, 80)}",
                                excerpt(origin, 120)], thumbnails)
        for origin, before, after in decided.relabelled[:SHOWN]
    ]  # fmt: skip
    body = [
        paragraph(f"{decided}."),
        _counts(decided),
        _examples("Given another label", relabelled, len(decided.relabelled)),
        _examples("Left out", dropped, len(decided.dropped)),
        disclosure("What the audit said", bullets(audit)),
    ]
    return Section("audit", "What was changed in the data", join(body))


def _counts(decided: Decided) -> Markup:
    """How many rows of each finding were decided how."""
    by_finding: dict[str, Counter[str]] = {}
    for (finding, decision), number in decided.findings.items():
        by_finding.setdefault(finding, Counter())[decision] += number
    rows = [
        (
            _FINDINGS.get(finding, finding or "Named by hand"),
            f"{counts.total():,}",
            *(f"{counts[decision]:,}" for decision in _DECISIONS),
        )
        for finding, counts in sorted(by_finding.items())
    ]
    header = ("Finding", "Rows", *_DECISIONS.values())
    return table("What was found, and what was decided of it", header, rows)


def _examples(title: str, shown: Sequence[Markup], number: int) -> Markup:
    if not shown:
        return Markup("")
    more = ""
    if number > len(shown):
        more = f"{count(number - len(shown), 'more row')}: data.json names all of them."
    return heading(f"{title}: {count(number, 'row')}") + cards(shown) + paragraph(more, "soft")


def _card(decided: Decided, origin: str, lines: Sequence[str], thumbnails: Thumbnails) -> Markup:
    shown = _input(decided.shown.get(origin), origin, decided.pictures, thumbnails)
    return join([shown, *map(paragraph, lines)])


def _input(value: Any, origin: str, pictures: bool, thumbnails: Thumbnails) -> Markup:
    if value is None:
        return Markup("")
    if not pictures:
        return paragraph(f"“{excerpt(value, _CHARACTERS)}”")
    content = thumbnails.of(value)
    return Markup("") if content is None else image(content, f"Picture of {excerpt(origin, 120)}")

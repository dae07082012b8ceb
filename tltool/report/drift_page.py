"""The page of `tltool monitor`: what has drifted, by how much, and where."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from tltool.evaluation.drift.verdict import Finding, Slice, Verdict, lines
from tltool.report.page import Section, join, page, paragraph, table, terms
from tltool.support.words import percent

_TITLES = {
    "inputs": "Inputs",
    "predictions": "Predictions",
    "quality": "Quality of the answers",
}


def drift_page(verdict: Verdict, export: str, data: str) -> str:
    """A whole page, to be written with `write_text`.

    Args:
        verdict: What the tests say.
        export, data: What was compared, for the reader.
    """
    kind = "bad" if verdict.drifted else "good"
    said = join(paragraph(line, kind) for line in lines(verdict))
    lead = join([said, _about(verdict, export, data)])
    sections = [
        Section(aspect, title, _tests(title, [f for f in verdict.findings if f.aspect == aspect]))
        for aspect, title in _TITLES.items()
    ]
    sections.append(Section("slices", "By parts of the inputs", _slices(verdict)))
    return page("Has the data drifted?", sections, lead=lead)


def _about(verdict: Verdict, export: str, data: str) -> Markup:
    return terms(
        [
            ("Export", export),
            ("New data", f"{data}: {verdict.rows:,} rows"),
            ("Compared with", f"{verdict.rows_before:,} held-out rows, by the export's sketch"),
            (
                "Tests",
                f"{len(verdict.findings)} together, which raise an alarm on "
                f"{percent(verdict.level)} of data that has not drifted, at most (Holm 1979)",
            ),
        ]
    )


def _tests(title: str, findings: list[Finding]) -> Markup:
    return table(
        f"{title}: the most telling first",
        ("What", "Test", "Before", "Now", "p", "p, corrected", "Drifted"),
        (
            [one.what, one.test, one.before, one.now, f"{one.p:.2g}", f"{one.corrected:.2g}",
             "yes" if one.drifted else "no"]
            for one in findings
        ),
        texts=4,
    )  # fmt: skip


def _slices(verdict: Verdict) -> Markup:
    return table(
        "How wrong answers are by parts of the inputs: the share that is, or the mean error",
        ("Part", "Rows before", "Rows now", "Wrong before", "Wrong now"),
        _slice_rows(verdict.slices),
    )


def _slice_rows(slices: tuple[Slice, ...]) -> Iterator[list[str]]:
    for one in slices:
        wrong = [
            "–" if value is None else f"{value:.3f}" for value in (one.wrong_before, one.wrong)
        ]
        yield [one.what, f"{one.rows_before:,}", f"{one.rows:,}", *wrong]

"""Slices in reports."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from tltool.data.examples import Examples
from tltool.evaluation.facts import facts_of
from tltool.evaluation.slices import Slice, Slices, slices_of
from tltool.recipe.schema import DataSection
from tltool.report.page import Section, paragraph, table
from tltool.report.thumbnails import affordable
from tltool.support.words import number, percent
from tltool.tasks.target import Target

SHOWN = 20


def quick_slices(examples: Examples, outputs: Any, truth: Any, target: Target) -> Slices | None:
    """Slices by what rows show of themselves; None where looking at their pictures is much work."""
    if examples.modality == "image" and not affordable(examples.inputs):
        return None
    numbers, names = facts_of(examples, target.labels, (), DataSection())
    return slices_of(np.asarray(outputs), truth, target, numbers, names)


def slice_rows(slices: Slices, *, signed: bool = False) -> list[tuple[str, ...]]:
    """A header and a row for each slice, found ones first, the worst first.

    Args:
        slices: The slices.
        signed: Whether values are differences.
    """
    title = slices.score.title
    shown = [*slices.found, *slices.told]
    rest = () if signed else ("Other rows",)
    header = ("Slice", "Rows", title, "95 % interval", *rest, "Worse")
    return [header, *(_cells(one, slices, signed=signed) for one in shown)]


def slices_section(slices: Slices | None) -> Section:
    """The part of a page; without a body where there are none."""
    body = Markup("")
    if slices is not None and (slices.told or slices.found):
        header, *rows = slice_rows(slices)
        told = paragraph(
            "The worst first. “yes” says that more is wrong than on the other rows, and more than "
            "chance gives over all slices that were looked at (Benjamini and Hochberg, 5 %). Found "
            "slices were found on one half of the rows and measured on the other."
        )
        caption = f"{slices.score.title} by slice, the worst {min(SHOWN, len(rows))} of {len(rows)}"
        body = told + table(caption, header, rows[:SHOWN])
    return Section("slices", "Where it is worse", body)


def _cells(one: Slice, slices: Slices, *, signed: bool) -> tuple[str, ...]:
    share = slices.score.share

    def words(value: float | None) -> str:
        if value is None:
            return "–"
        if signed:
            return f"{100 * value:+.1f} points" if share else f"{value:+.4g}"
        return percent(value) if share else number(value)

    bounds = "–" if one.interval is None else " to ".join(map(words, one.interval))
    rest = () if signed else (words(one.rest),)
    name = f"found: {one.name}" if one.found else one.name
    worse = "yes" if one.stands_out else "–"
    return (name, f"{len(one.rows):,}", words(one.value), bounds, *rest, worse)

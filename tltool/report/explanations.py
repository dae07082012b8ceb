"""Explanations as pictures and as a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from tltool.evaluation.explaining.explanation import Explanation
from tltool.report.page import Section, cards, image, join, page, paragraph
from tltool.support.files import atomic_path, write_text
from tltool.support.words import excerpt, number
from tltool.tasks.target import Target

Array = np.ndarray[Any, Any]

_STRENGTH = 0.6
_SHADES = 5
_PAGE_PX = 320

_STYLE = (
    "\n".join(
        f".for{i} {{ background: color-mix(in srgb, var(--one) {i * 9}%, transparent); }}\n"
        f".against{i} {{ background: color-mix(in srgb, var(--two) {i * 9}%, transparent); }}"
        for i in range(1, _SHADES + 1)
    )
    + """
mark { color: inherit; background: none; border-radius: .2rem; padding: 0 .1rem; }
.words { line-height: 1.9; }
"""
)


def write_explanations(found: Sequence[Explanation], target: Target, folder: Path) -> None:
    """Writes `index.html`, and `1.png`, `2.png` … of pictures, into a folder.

    Args:
        found: The explanations.
        target: Says answers in words.
        folder: Made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place, one in enumerate(found, start=1):
        if one.picture is not None:
            with atomic_path(folder / f"{place}.png") as temporary:
                temporary.write_bytes(overlay(one))
    told = paragraph(
        "What speaks for an answer is marked. Deletion is the mean answer while the marked parts "
        "are taken away first, insertion while they are given first: a map that means something "
        "has a deletion below, and an insertion above, what a random order gives."
    )
    section = Section("explanations", "Inputs", cards(_card(one, target) for one in found))
    write_text(folder / "index.html", page("Why", [section], lead=told, style=_STYLE))


def overlay(one: Explanation, side_px: int | None = None) -> bytes:
    """A picture with its map over it, as PNG: bright where it speaks for the answer.

    Args:
        one: Of a picture.
        side_px: Of the longer side; None leaves it at the model's size.
    """
    from matplotlib import colormaps
    from PIL import Image

    if one.picture is None or one.map is None:
        raise ValueError("an explanation of a text has no picture")
    colours = 255 * colormaps["inferno"](one.map)[..., :3]
    weight = _STRENGTH * one.map[..., None]
    mixed = one.picture * (1 - weight) + colours * weight
    drawn = Image.fromarray(np.round(mixed).astype(np.uint8))
    if side_px is not None:
        drawn.thumbnail((side_px, side_px))
    stream = io.BytesIO()
    drawn.save(stream, "PNG")
    return stream.getvalue()


def _card(one: Explanation, target: Target) -> Markup:
    shown = _marked(one)
    if one.picture is not None:
        told = f"{one.origin}: what speaks for {one.label} is bright"
        shown = image(overlay(one, _PAGE_PX), told)
    check = one.check
    return join(
        [
            shown,
            paragraph(f"Answer: {excerpt(target.words(one.answer), 120)}"),
            paragraph(f"Explained: {one.label}, {number(one.value)}, by {one.method}"),
            paragraph(
                f"Deletion {number(check.deletion)}, insertion {number(check.insertion)}, random "
                f"{number(check.random)}",
                "soft",
            ),
            paragraph(excerpt(one.origin, 300), "soft"),
        ]
    )


def _marked(one: Explanation) -> Markup:
    """A text with its words marked, what they weigh in their titles."""
    words = one.words()
    largest = max((abs(weight) for _, weight in words), default=0.0) or 1.0
    marks = []
    for word, weight in words:
        shade = round(_SHADES * abs(weight) / largest)
        kind = f"{'for' if weight > 0 else 'against'}{shade}" if shade else ""
        mark = Markup('<mark class="{}" title="{}">{}</mark>')
        marks.append(mark.format(kind, f"{weight:+.3f}", excerpt(word, 400)))
    return Markup('<p class="words">{}</p>').format(join(marks, " "))

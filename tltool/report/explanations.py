"""Explanations as pictures, as marked texts, and as a page of their own."""

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

_LONGEST = 100_000
_STRENGTH = 0.6
_SHADES = 5
_PAGE_PX = 320
_NAMED = 3
# Of the heaviest word: lighter ones are not named.
_LIGHT = 0.2
_HEIGHTS, _SIDES = ("top", "", "bottom"), ("left", "", "right")

STYLE = (
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
"""CSS of pages that have what `marked` gives."""


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
    lead = paragraph(
        "What speaks for an answer is marked. Deletion is the mean answer while the marked parts "
        "are taken away first, insertion while they are given first: a map that means something "
        "has a deletion below, and an insertion above, what a random order gives."
    )
    section = Section("explanations", "Inputs", cards(_card(one, target) for one in found))
    write_text(folder / "index.html", page("Why", [section], lead=lead, style=STYLE))


def overlay(one: Explanation, side_px: int | None = None) -> bytes:
    """A picture with its map over it, as PNG: bright where it speaks for the answer.

    Args:
        one: Of a picture.
        side_px: Of the longer side; None leaves it at the model's size.
    """
    from PIL import Image

    drawn = Image.fromarray(overlaid(one))
    if side_px is not None:
        drawn.thumbnail((side_px, side_px))
    stream = io.BytesIO()
    drawn.save(stream, "PNG")
    return stream.getvalue()


def overlaid(one: Explanation) -> Array:
    """A picture with its map over it, uint8 (height, width, 3)."""
    from matplotlib import colormaps

    if one.picture is None or one.map is None:
        raise ValueError("an explanation of a text has no picture")
    colours = 255 * colormaps["inferno"](one.map)[..., :3]
    weight = _STRENGTH * one.map[..., None]
    mixed = one.picture * (1 - weight) + colours * weight
    return np.round(mixed).astype(np.uint8)


def marked(one: Explanation, characters: int = _LONGEST) -> Markup:
    """A text with its words marked, what they weigh in their titles; empty for pictures.

    Args:
        one: Of a text.
        characters: Of a longer text only the words that weigh most are there, in their order.
    """
    words = one.words()
    largest = _largest(words)
    kept = _heaviest(words, characters)
    marks = []
    for place, (word, weight) in enumerate(words):
        if place not in kept:
            continue
        shade = round(_SHADES * abs(weight) / largest)
        kind = f"{'for' if weight > 0 else 'against'}{shade}" if shade else ""
        if place and place - 1 not in kept:
            marks.append(Markup("…"))
        mark = Markup('<mark class="{}" title="{}">{}</mark>')
        marks.append(mark.format(kind, f"{weight:+.3f}", excerpt(word, characters)))
    return Markup('<p class="words">{}</p>').format(join(marks, " ")) if marks else Markup("")


def told(one: Explanation) -> str:
    """What an explanation shows, for who does not see colours."""
    if one.map is not None:
        return f"{one.label}: what speaks for it is brightest {_place(one.map)}"
    words = one.words()
    heavy = _LIGHT * _largest(words)
    sides = []
    for side, sign in (("for", 1), ("against", -1)):
        found = sorted((p for p in words if sign * p[1] >= heavy), key=lambda p: -abs(p[1]))
        names = ", ".join(f"“{excerpt(word, 40)}”" for word, _ in found[:_NAMED])
        sides += [f"{side} it {names}"] if names else []
    return f"{one.label}: {'; '.join(sides) or 'no word counts alone'}"


def _place(heat: Array) -> str:
    """Where in a picture a map is brightest, by thirds of its height and width."""
    if not heat.max():
        return "nowhere"
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    places = (_HEIGHTS[3 * int(row) // heat.shape[0]], _SIDES[3 * int(column) // heat.shape[1]])
    where = " ".join(filter(None, places))
    return f"at the {where}" if where else "in the middle"


def _heaviest(words: Sequence[tuple[str, float]], characters: int) -> set[int]:
    """The places of the words to show: all where there is room, else those that weigh most."""
    kept: set[int] = set()
    for place in sorted(range(len(words)), key=lambda place: -abs(words[place][1])):
        characters -= len(words[place][0]) + 1
        if characters < 0 and kept:
            break
        kept.add(place)
    return kept


def _largest(words: Sequence[tuple[str, float]]) -> float:
    return max((abs(weight) for _, weight in words), default=0.0) or 1.0


def _card(one: Explanation, target: Target) -> Markup:
    shown = marked(one)
    if one.picture is not None:
        shown = image(overlay(one, _PAGE_PX), f"{one.origin}: {told(one)}")
    return join(
        [
            shown,
            paragraph(f"Answer: {excerpt(target.words(one.answer), 120)}"),
            paragraph(f"Explained: {one.label}, {number(one.value)}, by {one.method}"),
            paragraph(_checked(one), "soft"),
            paragraph(excerpt(one.origin, 300), "soft"),
        ]
    )


def _checked(one: Explanation) -> str:
    check = one.check
    if check is None:
        return ""
    return (
        f"Deletion {number(check.deletion)}, insertion {number(check.insertion)}, random "
        f"{number(check.random)}"
    )

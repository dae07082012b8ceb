"""Which words of a text an answer comes from, by leaving them out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Value = str | tuple[str, ...]

MOST_PARTS = 128
"""Parts of a text that are left out one by one; of longer ones several words together."""


class Part(NamedTuple):
    """Words of a text, or one of them.

    Attributes:
        text: Which text of the row, from 0.
        start, end: Where in it, in characters.
    """

    text: int
    start: int
    end: int


def parts_of(value: Value, most: int = MOST_PARTS) -> list[Part]:
    """The words of a text or of several, or runs of words: about `most` of them at most."""
    texts = (value,) if isinstance(value, str) else value
    words = [
        Part(number, found.start(), found.end())
        for number, text in enumerate(texts)
        for found in re.finditer(r"\S+", text)
    ]
    step = -(-len(words) // most) or 1
    runs: list[Part] = []
    for number in range(len(texts)):
        own = [word for word in words if word.text == number]
        runs += [
            Part(number, own[i].start, own[min(i + step, len(own)) - 1].end)
            for i in range(0, len(own), step)
        ]
    return runs


def without(value: Value, parts: Sequence[Part]) -> Value:
    """The text or texts without some parts."""
    texts = [value] if isinstance(value, str) else list(value)
    for part in sorted(parts, reverse=True):
        text = texts[part.text]
        texts[part.text] = text[: part.start] + text[part.end :]
    return texts[0] if isinstance(value, str) else tuple(texts)


def variants_of(value: Value, parts: Sequence[Part]) -> list[Value]:
    """A text or several as they are, and then without each part."""
    return [value, *(without(value, [part]) for part in parts)]


def word_weights(raw: Array, number: int) -> Array:
    """How much each part of a text raises one of the model's raw outputs.

    The output less what it is without the part (Li, Monroe and Jurafsky 2016, arXiv:1612.08220,
    "Understanding Neural Networks through Representation Erasure").

    Args:
        raw: Raw outputs of `variants_of`, (1 + parts, outputs).
        number: Of the output.

    Returns:
        float64 (parts,): above 0 speaks for the output.
    """
    values = np.asarray(raw, np.float64)[:, number]
    return values[0] - values[1:]

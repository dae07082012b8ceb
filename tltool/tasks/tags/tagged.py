"""A text whose words have tags, and what a model says of the words of a text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tltool.tasks.tags.schemes import OUTSIDE

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class Tagged(NamedTuple):
    """The words of a text and their tags; tuples, so that rows can be compared and counted.

    Attributes:
        starts, ends: Of each word in characters of the text, the end excluded.
        tags: In IOB2, or plain classes.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    tags: tuple[str, ...]

    def __str__(self) -> str:
        named = [f"{tag} at {start}" for start, _, tag in zip(*self, strict=True) if tag != OUTSIDE]
        return ", ".join(named[:5]) + (" …" if len(named) > 5 else "") or "no tags"

    def between(self, start: int, end: int) -> Tagged:
        """The words that begin in a part of the text, placed from the part's own start on."""
        words = [
            (first - start, last - start, tag)
            for first, last, tag in zip(*self, strict=True)
            if start <= first < end
        ]
        return Tagged(*zip(*words, strict=True)) if words else Tagged((), (), ())


@dataclass(frozen=True)
class WordScores:
    """What a model says of each word of one text.

    Attributes:
        text: The text.
        starts, ends: Of each word in characters, int32 (words,); words of which
            the tokenizer makes nothing, such as control characters, are left out.
        values: Raw outputs or probabilities, float32 (words, tags).
    """

    text: str
    starts: Array
    ends: Array
    values: Array

    def with_values(self, values: Array) -> WordScores:
        """The same words with other values."""
        return replace(self, values=values)


class AtWords(NamedTuple):
    """What a model says of the words that targets have, one after the other.

    Attributes:
        values: Of each word, (words, width).
        numbers: Of the tags that the targets give, int64 (words,).
        rows, places: Which row's word it is, and which of the row's target, int64 (words,).
    """

    values: Array
    numbers: Array
    rows: Array
    places: Array


@dataclass(frozen=True)
class WordTags:
    """The tags that were chosen for the words of one text.

    Attributes:
        text: The text.
        starts, ends: Of each word in characters, int32 (words,).
        tags: Numbers of the tags, int32 (words,).
        scores: Probability of each, float32 (words,).
    """

    text: str
    starts: Array
    ends: Array
    tags: Array
    scores: Array

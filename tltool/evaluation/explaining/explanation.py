"""What in one input an answer rests on, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tltool.evaluation.explaining.curves import Faithfulness
from tltool.evaluation.explaining.words import Part, Value

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Explanation:
    """What in one input an answer rests on.

    Attributes:
        origin: Where the input came from.
        answer: What the model says of it, for `Target.words`.
        label: Which of its outputs this is of.
        value: That output, as a user reads it.
        method: How it was found, in words.
        check: Whether it means something; None where that was not asked.
        picture: As the model reads it, uint8 (height, width, 3); None for texts.
        map: What of it speaks for the output, 0 to 1, float32 (height, width); None for texts.
        text: Or several of a row; None for pictures.
        parts, weights: Of texts: the words, and how much each raises the raw output.
    """

    origin: str
    answer: Any
    label: str
    value: float
    method: str
    check: Faithfulness | None = None
    picture: Array | None = field(default=None, repr=False, compare=False)
    map: Array | None = field(default=None, repr=False, compare=False)
    text: Value | None = None
    parts: tuple[Part, ...] = ()
    weights: Array | None = field(default=None, repr=False, compare=False)

    def words(self) -> list[tuple[str, float]]:
        """Of texts each part with its weight, in order; empty for pictures."""
        if self.text is None or self.weights is None:
            return []
        texts = (self.text,) if isinstance(self.text, str) else self.text
        found = zip(self.parts, self.weights.tolist(), strict=True)
        return [(texts[part.text][part.start : part.end], weight) for part, weight in found]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; of a picture without its map."""
        return {
            "origin": self.origin,
            "answer": self.answer,
            "label": self.label,
            "value": self.value,
            "method": self.method,
            **({} if self.check is None else self.check.to_json()),
            "words": [{"word": word, "weight": weight} for word, weight in self.words()],
        }

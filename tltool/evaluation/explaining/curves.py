"""Whether a map means something: what the answer becomes as what it marks is taken away or given.

Deletion and insertion, Petsiuk et al. 2018 (arXiv:1806.07421, "RISE", section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tltool.evaluation.explaining.words import Part, Value, without

Array = np.ndarray[Any, Any]

STEPS = 10
_SEED = 0


@dataclass(frozen=True)
class Faithfulness:
    """Means of the explained output while an input is changed in ten steps.

    Attributes:
        deletion: While what counts most is taken away first: the lower, the better.
        insertion: While it is given first to an empty input: the higher, the better.
        random: The mean of both with parts in a random order; what a map that means nothing gives.
    """

    deletion: float
    insertion: float
    random: float

    def to_json(self) -> dict[str, float]:
        """As JSON values."""
        return asdict(self)


def of_picture(said: Callable[[Array], Array], picture: Array, weights: Array) -> Faithfulness:
    """Of a picture, whose places are painted over with its mean colour.

    Args:
        said: Gives the explained output (n,) of preprocessed pictures (n, height, width, 3).
        picture: Preprocessed, (height, width, 3).
        weights: Of its places, (rows, columns), coarser than the picture: a random order of
            single pixels would be noise, which says nothing of a map.
    """
    blank = np.broadcast_to(picture.mean(axis=(0, 1)), picture.shape)
    height, width = picture.shape[:2]
    rows, columns = weights.shape
    above, beside = np.arange(height) * rows // height, np.arange(width) * columns // width

    def kept(keep: Array) -> Array:
        there = keep.reshape(len(keep), rows, columns)[:, above][:, :, beside]
        return np.where(there[..., None], picture, blank).astype(np.float32)

    return _curves(lambda keep: said(kept(keep)), weights.ravel())


def of_text(
    said: Callable[[Sequence[Value]], Array], value: Value, parts: Sequence[Part], weights: Array
) -> Faithfulness:
    """Of a text, whose parts are left out.

    Args:
        said: Gives the explained output (n,) of texts.
        value: The text, or several of a row.
        parts, weights: As `parts_of` and `word_weights` give them.
    """

    def texts(keep: Array) -> list[Value]:
        return [
            without(value, [part for part, there in zip(parts, row, strict=True) if not there])
            for row in keep
        ]

    return _curves(lambda keep: said(texts(keep)), weights)


def _curves(said: Callable[[Array], Array], weights: Array) -> Faithfulness:
    """From what is said of rows of what is kept, bool (n, parts)."""
    order = np.argsort(-weights, kind="stable")
    shuffled = np.random.default_rng(_SEED).permutation(len(weights))
    keeps = [~_first(order), _first(order), ~_first(shuffled), _first(shuffled)]
    values = np.asarray(said(np.concatenate(keeps)), np.float64).reshape(4, -1).mean(axis=1)
    deletion, insertion, *by_chance = values.tolist()
    return Faithfulness(deletion, insertion, float(np.mean(by_chance)))


def _first(order: Array) -> Array:
    """Which parts are the first 0, 10, … 100 % of an order, bool (11, parts)."""
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(len(order))
    counts = np.round(np.linspace(0, len(order), STEPS + 1)).astype(np.int64)
    return numbers[None] < counts[:, None]

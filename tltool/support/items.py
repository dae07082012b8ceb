"""What must be several things, given from Python: one thing alone is not taken apart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from tltool.support.errors import TltoolError

_ALONE = (str, bytes, bytearray, memoryview, os.PathLike)
CHANNELS = (1, 3, 4)
"""How many an image array may have: grey, RGB, RGB and alpha."""


def items_of(value: Any, field: str, error: type[TltoolError]) -> list[Any]:
    """The items of a list, a tuple, an array, a column of a table, or anything else with an order.

    Args:
        value: As the caller gave it.
        field: What it is called, for messages.
        error: What to raise.

    Raises:
        TltoolError: It is one text, path or image, or has no order.
    """
    if isinstance(value, _ALONE) or _is_one_array(value):
        hint = f"put it into a list, also where it is the only one: [{_shown(value)}]"
    elif isinstance(value, Mapping | Set) or not isinstance(value, Iterable):
        hint = "give a list"
    else:
        return list(value)
    raise error(f"{field}: several are asked for, received the {_named(value)}.", hint=hint)


def _is_one_array(value: Any) -> bool:
    """Whether it is one value, one image, or a data frame, which gives the names of its columns."""
    shape = getattr(value, "shape", None)
    if shape is None or len(shape) in (1, 4):
        return False
    if getattr(getattr(value, "dtype", None), "kind", None) in ("O", "S", "U"):
        return not shape  # rows of texts
    return len(shape) != 3 or shape[-1] in CHANNELS


def _named(value: Any) -> str:
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    return f"{kind} {_shown(value)}" if shape is None else f"{kind} of shape {tuple(shape)}"


def _shown(value: Any) -> str:
    text = "value" if hasattr(value, "shape") else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def shape_fits(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether a shape is one that is wanted, None for any size."""
    return len(shape) == len(wanted) and all(
        size in (None, given) for given, size in zip(shape, wanted, strict=True)
    )

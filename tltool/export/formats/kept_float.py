"""What a file of 8 bits keeps in float, in words and as values."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class KeptFloat:
    """What stays in float, and what that was decided by.

    Attributes:
        kinds: The operators that compute in float in the file, those without
            an 8-bit kernel too: kind to how many.
        layers: Of them the layers with weights, by name.
        change: How much the answers on the training rows change; see
            `tltool.export.formats.litert.quantisation.trial.change_of`. None where it was
            not measured.
        change_in_8_bits: The same with nothing kept in float; infinite where
            that cannot run.
        trials: Files that were made and run.
    """

    kinds: dict[str, int]
    layers: tuple[str, ...]
    change: float | None = None
    change_in_8_bits: float | None = None
    trials: int = 0

    def __str__(self) -> str:
        text = kinds_text(self.kinds) or "nothing"
        if self.change is None or self.change_in_8_bits is None:
            return text
        text += f" (answers on training rows change by {self.change:.2g}"
        if self.change_in_8_bits == self.change:
            return f"{text})"
        if math.isinf(self.change_in_8_bits):
            return f"{text}; all in 8 bits, it does not run)"
        return f"{text}; by {self.change_in_8_bits:.2g} all in 8 bits)"


def kinds_text(kinds: dict[str, int]) -> str:
    """`26 MEAN, 13 RSQRT`."""
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())

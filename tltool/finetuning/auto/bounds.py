"""What an exported model may be at most, measured on the LiteRT file of the untrained model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tltool.recipe.export_section import LiteRTPrecision
from tltool.support.errors import RecipeError


@dataclass(frozen=True)
class FileFacts:
    """What a LiteRT file is like.

    Attributes:
        size_mb: In megabytes (10^6 bytes).
        latency_ms: Median milliseconds of one example.
    """

    size_mb: float
    latency_ms: float


@dataclass(frozen=True)
class Bounds:
    """What is asked of a LiteRT file.

    Attributes:
        size_mb: Most megabytes (10^6 bytes); None is any.
        latency_ms: Longest median time of one example, in milliseconds; None is any.
        threads: Of LiteRT, while it is timed.

    Raises:
        RecipeError: A limit is not a number above 0.
    """

    size_mb: float | None = None
    latency_ms: float | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("size_mb", "latency_ms"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise RecipeError(
                    f"{name}: a number above 0 is needed, received {value}.",
                    hint="leave it out for no limit",
                )
        if self.threads < 1:
            raise RecipeError(f"threads: at least 1 is needed, received {self.threads}.")

    @property
    def are_any(self) -> bool:
        """Whether there is a limit."""
        return self.size_mb is not None or self.latency_ms is not None

    def within(self, facts: FileFacts) -> bool:
        """Whether a file keeps them."""
        return (self.size_mb is None or facts.size_mb <= self.size_mb) and (
            self.latency_ms is None or facts.latency_ms <= self.latency_ms
        )

    def __str__(self) -> str:
        parts = [] if self.size_mb is None else [f"{self.size_mb:g} MB"]
        if self.latency_ms is not None:
            threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
            parts.append(f"{self.latency_ms:g} ms with {threads}")
        return " and ".join(parts)


Files = Mapping[LiteRTPrecision, FileFacts]
"""What the LiteRT files of a backbone are like, by precision."""


def extremes(found: Mapping[str, Files]) -> str:
    """The smallest and the quickest of the files of some backbones, in words."""
    each = [(f"{name} ({precision})", facts) for name, files in found.items()
            for precision, facts in files.items()]  # fmt: skip
    small, small_facts = min(each, key=lambda one: one[1].size_mb)
    quick, quick_facts = min(each, key=lambda one: one[1].latency_ms)
    return (
        f"the smallest is {small} with {small_facts.size_mb:.1f} MB, the quickest {quick} with "
        f"{quick_facts.latency_ms:.1f} ms"
    )

"""What a model that can say "unknown" was asked for, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

SCORE, ACCEPTED = "unknown_score", "accepted"
"""Names of the outputs that exports have beside the answer."""
Method = Literal["knn", "mahalanobis", "max_probability", "energy"]
ON_FEATURES: tuple[Method, ...] = ("knn", "mahalanobis")
"""Those that measure a distance from the training rows' features; the others read logits."""


@dataclass(frozen=True)
class Unknown:
    """How a model tells inputs that it does not know.

    Attributes:
        method: What its score is.
        coverage: Share of inputs like the training rows that were to be accepted.
        threshold: The highest score that is accepted.
        rows: Rows that the threshold was chosen on.
        source: What rows these are, in words.
    """

    method: Method
    coverage: float
    threshold: float
    rows: int
    source: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Restores it.

        Raises:
            LookupError, TypeError, ValueError: The values are not those of it.
        """
        return cls(
            str(values["method"]),  # type: ignore[arg-type]
            float(values["coverage"]),
            float(values["threshold"]),
            int(values["rows"]),
            str(values["source"]),
        )

"""What an audit finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tltool.export.formats.places import Place
from tltool.support.errors import ExportError


@dataclass(frozen=True)
class Problem:
    """One reason why a model cannot be exported.

    Attributes:
        form: The format it keeps from being made, or "model.keras" for the run's own file.
        what: What is wrong.
        hint: What to do about it.
        operator: The TensorFlow operator that the format lacks, or None.
        places: The layers that cause it.
    """

    form: str
    what: str
    hint: str
    operator: str | None = None
    places: tuple[Place, ...] = ()

    def __str__(self) -> str:
        layers = ", ".join(map(str, self.places))
        return f"{self.form}: {self.what}" + (f", needed by {layers}" if layers else "")

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        layers = [{"path": place.path, "class": place.kind} for place in self.places]
        return {
            "format": self.form,
            "problem": self.what,
            "operator": self.operator,
            "layers": layers,
            "hint": self.hint,
        }


@dataclass(frozen=True)
class Audit:
    """Whether a model can be exported as a recipe asks.

    Attributes:
        forms: The formats that were tried.
        problems: What keeps them from being made; empty where nothing does.
        litert_operators: LiteRT operator to how often it occurs; empty where
            the model was not converted.
        int8_in_float: LiteRT operators that stay in float in the precision
            "int8", since they have no 8-bit kernel.
    """

    forms: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    litert_operators: Mapping[str, int] = field(default_factory=dict)
    int8_in_float: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What there is to say of each format that was tried and can be made."""
        refused = {problem.form for problem in self.problems}
        return [f"{form}: ok{self._details(form)}" for form in self.forms if form not in refused]

    def _details(self, form: str) -> str:
        if not self.litert_operators or form != "litert":
            return ""
        text = f", {sum(self.litert_operators.values()):,} operators, all built in"
        if self.int8_in_float:
            kept = ", ".join(f"{name} {count:,}" for name, count in self.int8_in_float.items())
            text += f"; without an 8-bit kernel, so float in int8: {kept}"
        return text

    def raise_problems(self) -> None:
        """Tells of all problems at once.

        Raises:
            ExportError: There are any.
        """
        if self.problems:
            lines = "\n  ".join(map(str, self.problems))
            raise ExportError(
                f"The trained model could not be exported as the recipe asks:\n  {lines}",
                hint=f"{self.problems[0].hint}; --no-audit (audit=False) trains all the same",
            )

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "formats": list(self.forms),
            "problems": [problem.to_json() for problem in self.problems],
            "litert_operators": dict(self.litert_operators),
            "int8_in_float": dict(self.int8_in_float),
        }


def joined(audits: Iterable[Audit]) -> Audit:
    """What several audits found, in their order."""
    forms: list[str] = []
    problems: list[Problem] = []
    operators: dict[str, int] = {}
    in_float: dict[str, int] = {}
    for audit in audits:
        forms += audit.forms
        problems += audit.problems
        operators |= audit.litert_operators
        in_float |= audit.int8_in_float
    return Audit(tuple(forms), tuple(problems), operators, in_float)

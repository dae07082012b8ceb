"""What every section of a recipe is made of: its base class and its kinds of numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tltool.tasks.values import BadValueError, label_text


def _no_bool(value: Any) -> Any:
    """YAML's `yes` must not become the number 1."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


# The last of a field's annotations, after its limits: the JSON Schema would lack them else.
NOT_BOOL = BeforeValidator(_no_bool)
Count = Annotated[int, NOT_BOOL]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def _label(value: Any) -> str:
    """A key that names a label, as labels of data are read: 1 is "1"."""
    try:
        return label_text(value)
    except BadValueError as error:
        raise ValueError(str(error)) from None


Label = Annotated[str, BeforeValidator(_label)]


def _patterns_given(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError("a list of patterns must hold at least one")
    return patterns


Patterns = Annotated[tuple[str, ...], AfterValidator(_patterns_given)]


class Section(BaseModel):
    """Base of every section: immutable, numbers finite, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

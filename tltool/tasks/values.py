"""Single values of tables, JSON, NumPy and Python, as text and as numbers."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from tltool.support.words import half_character, natural_key

HALF = 0.5
"""The probability from which on a label is given where no threshold was chosen."""
NO_LABEL = "no label"
"""What people read where a row has none of several labels."""
LONGEST_LABEL = 1_000
"""Characters of a label at most: a column of texts is no column of labels."""


class BadValueError(Exception):
    """A single value that cannot be used; its message is told with the row it is in."""


def as_text(value: Any) -> str:
    """A scalar of a table, of JSON, NumPy or Python, as text.

    Numbers and booleans become text as JSON writes them, whole numbers without
    a fraction (`3`, `0.5`, `true`).

    Raises:
        BadValueError: The value is missing, NaN, or not a scalar.
    """
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number_text(value)
    if isinstance(value, str | int) or hasattr(value, "__fspath__"):
        return str(value)
    if is_missing(value):
        raise BadValueError("is missing")
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    raise BadValueError(f"is not a single value but a {type(value).__name__}")


def is_missing(value: Any) -> bool:
    """Whether a cell is None, NaN, or one of pandas' words for nothing."""
    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return value is None or type(value).__name__ in {"NAType", "NaTType"}


def label_text(value: Any) -> str:
    """A label as text, without white space around it.

    Raises:
        BadValueError: It is missing, empty, no single value, or none that a
            line of a file can hold: with a line break, a control character or
            half a character, or of more than `LONGEST_LABEL` characters.
    """
    try:
        text = as_text(value).strip()
    except BadValueError as error:
        raise BadValueError(f"the label {error}") from None
    if not text:
        raise BadValueError("the label is empty")
    if len(text) > LONGEST_LABEL:
        raise BadValueError(
            f"the label has {len(text):,} characters, more than {LONGEST_LABEL:,}; is it another "
            "column?"
        )
    check_unicode(text, "label")
    if strange := [c for c in text if unicodedata.category(c) in {"Cc", "Zl", "Zp"}]:
        raise BadValueError(
            f"the label {text[:60]!r} holds {strange[0]!r}; a label is one line without control "
            "characters"
        )
    return text


def check_unicode(text: str, noun: str) -> None:
    """Raises BadValueError where a text holds a `half_character`."""
    if half := half_character(text):
        raise BadValueError(f"the {noun} holds {half}")


def choices_in(cell: Any) -> list[Any] | None:
    """The labels of a list, of JSON of one, or of Label Studio's `{"choices": […]}`; else None."""
    value = cell
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, dict) and value.keys() == {"choices"}:
        value = value["choices"]
    return list(value) if isinstance(value, list | tuple | set | frozenset) else None


def finite_number(value: Any) -> float:
    """A label as a number: `float`, without its liking for `1_000`, `nan` and `inf`.

    Raises:
        BadValueError: It is missing, empty, or not a finite number.
    """
    text = label_text(value)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text:
        comma = "; the decimal sign is a point, and thousands have none" if "," in text else ""
        if re.fullmatch(
            r"[+-]?(0,\d+|\d+,(\d{1,2}|\d{4,}))", text
        ):  # of three digits, thousands perhaps
            comma = f": it has a decimal comma; write {text.replace(',', '.')!r}"
        raise BadValueError(f"the label {text[:60]!r} is not a finite number{comma}")
    return number


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels in natural order ("2" before "10"); by value if all of them are numbers."""
    distinct = set(labels)
    try:
        return tuple(sorted(distinct, key=lambda label: (_value(label), label)))
    except ValueError:
        return tuple(sorted(distinct, key=natural_key))


def _value(label: str) -> float:
    number = float(label)
    if not math.isfinite(number):
        raise ValueError(label)
    return number


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadValueError("is not UTF-8 text") from None


def _number_text(value: float) -> str:
    if math.isnan(value):
        raise BadValueError("is missing")
    return str(int(value)) if value.is_integer() else str(value)

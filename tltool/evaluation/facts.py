"""By what rows are sliced: their facts, their groups, and columns of their tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.facts import name_facts, number_facts
from tltool.data.reading.beside import column_values
from tltool.recipe.schema import DataSection

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_FEWEST_NUMBERS = 8
"""Different values from which on a column of numbers is one, and not of names."""


def facts_of(
    examples: Examples, labels: Collection[str], by: Sequence[str], section: DataSection
) -> tuple[dict[str, Array], dict[str, Sequence[str]]]:
    """Numbers and names that each row has, for `slices_of`.

    Args:
        examples: The rows.
        labels: Names of labels, which a folder that is called as one tells nothing but.
        by: Columns of the rows' tables.
        section: How these are read.

    Raises:
        DataError: The rows are of no table, or it lacks a column.
    """
    numbers = number_facts(examples)
    names: dict[str, Sequence[str]] = dict(name_facts(examples, labels))
    if examples.groups:
        names["group"] = list(examples.groups)
    columns = column_values(examples, by, section) if by else {}
    for name, values in columns.items():
        read = as_numbers(values)
        if read is None:
            names[name] = values
        else:
            numbers[name] = read
    return numbers, names


def as_numbers(values: Sequence[str]) -> Array | None:
    """A column of numbers, NaN where a cell is empty; None for one of names."""
    import numpy as np

    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return None
    known = numbers[np.isfinite(numbers)]
    return numbers if len(np.unique(known)) >= _FEWEST_NUMBERS else None

"""Other columns of the tables that rows came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tltool.data.examples import Examples
from tltool.data.reading.columns import Columns
from tltool.data.reading.rows import Row
from tltool.data.reading.tables import column_names, read_table, table_suffix, text_options
from tltool.recipe.schema import DataSection
from tltool.support.errors import DataError, did_you_mean
from tltool.support.words import listed

# `file:17`, `file: row 17`, `file: item 17`: see `read_table`.
_PLACE = re.compile(r"^(.+?):(?: (?:row|item|record) )?[^:]*$")


def column_values(
    examples: Examples, names: Sequence[str], section: DataSection
) -> dict[str, list[str]]:
    """What stands in other columns of the rows' tables, as text; empty where a cell is.

    Args:
        examples: Rows of tables.
        names: Of the columns.
        section: How the text of the tables is read.

    Raises:
        DataError: The rows are of no table, or it lacks a column; says which it has.
    """
    found: dict[str, Sequence[object]] = {}
    for table in _tables(examples):
        known = column_names(table, **text_options(section))
        if lacking := [name for name in names if name not in known]:
            raise DataError(
                f"{table} has no column {lacking[0]!r}; it has {listed(known, 30)}.",
                hint=did_you_mean(lacking[0], known),
            )
        for row in read_table(table, Columns(names[0], more=tuple(names[1:])),
                              **text_options(section)):  # fmt: skip
            if isinstance(row, Row):
                found[row.origin] = row.input if len(names) > 1 else (row.input,)
    rows = [found.get(origin, [None] * len(names)) for origin in examples.origins]
    return {
        name: ["" if row[i] is None else str(row[i]).strip() for row in rows]
        for i, name in enumerate(names)
    }


def _tables(examples: Examples) -> list[Path]:
    places = (_PLACE.match(origin) for origin in examples.origins)
    paths = dict.fromkeys(place[1] for place in places if place)
    tables = [Path(path) for path in paths if table_suffix(Path(path)) and Path(path).is_file()]
    if not tables:
        raise DataError(
            "The rows are of no table, so they have no columns to slice by.",
            hint="leave the columns out: size, length, brightness and groups need none",
        )
    return tables

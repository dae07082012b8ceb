"""Excel workbooks: the first sheet, its first row the names of the columns."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from tltool.data.reading.columns import Columns, check_columns
from tltool.data.reading.rows import Broken, Row
from tltool.support.errors import DataError, first_line

_LOG = logging.getLogger(__name__)

WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")
_UNSTORED = (
    "a formula without a stored value: open the workbook in a spreadsheet program and save it"
)
# openpyxl has no error of its own for some damage, nor for a workbook of charts alone.
_DAMAGE = (
    *(OSError, EOFError, BadZipFile, zlib.error),
    *(KeyError, ValueError, SyntaxError, AttributeError),
)


def workbook_rows(path: Path, columns: Columns) -> Iterator[Row | Broken]:
    """The rows of a workbook's first sheet but for blank ones; see `read_table`.

    Of a formula the value counts that was stored with it. Dates are text, as ISO 8601 has them.
    """
    formulas, told = _Formulas(path), set[str]()
    with _lines(path) as lines:
        names = _header(lines)
        check_columns(path, names, columns)
        at = [names.index(name) for name in columns.names]
        for number, cells in enumerate(lines, start=2):
            wanted = [cells[i] if i < len(cells) else None for i in at]
            faults = {
                name: fault
                for name, cell in zip(columns.names, wanted, strict=True)
                if (fault := _fault(cell, formulas))
            }
            if faults and not columns.sparse:
                name, fault = next(iter(faults.items()))
                yield Broken(f"{path}:{number}", f"the cell of {name!r} is {fault}")
            elif faults or any(cell.value is not None for cell in cells):
                yield columns.row(list(map(_value, wanted)), f"{path}:{number}")
            for name, fault in faults.items() if columns.sparse else ():
                if fault == _UNSTORED and name not in told:
                    told.add(name)
                    _LOG.warning("%s:%d: the cell of %r is %s", path, number, name, fault)


def workbook_names(path: Path) -> tuple[str, ...]:
    """The names of the columns of a workbook's first sheet."""
    with _lines(path) as lines:
        return tuple(_header(lines))


def _header(lines: Iterator[Sequence[Any]]) -> list[str]:
    first = next(iter(islice(lines, 1)), ())
    return ["" if cell.value is None else str(cell.value).strip() for cell in first]


class _Formulas:
    """The formulas of a workbook that no value is stored with."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _places(self) -> set[tuple[int, int]]:
        with _lines(self._path, formulas=True) as lines:
            return {(c.row, c.column) for cells in lines for c in cells if c.data_type == "f"}

    def __contains__(self, cell: Any) -> bool:
        # A stored empty text has a type of its own, and where no cell was written it has no place.
        empty = cell.value is None and cell.data_type == "n" and hasattr(cell, "row")
        return empty and (cell.row, cell.column) in self._places


def _fault(cell: Any, formulas: _Formulas) -> str:
    """What is wrong with a cell; nothing for a sound one, or for none."""
    if cell is None:
        return ""
    if cell.data_type == "e" and cell.value is not None:
        return f"an error, {cell.value}"
    return _UNSTORED if cell in formulas else ""


def _value(cell: Any) -> Any:
    """What counts of a cell: dates as text."""
    if cell is None or cell.data_type == "e":
        return None
    dated = cell.data_type == "d" and cell.value is not None
    return str(cell.value).removesuffix(" 00:00:00") if dated else cell.value


@contextmanager
def _lines(path: Path, *, formulas: bool = False) -> Iterator[Iterator[Sequence[Any]]]:
    """The rows of cells of the first sheet, the first at the top of the sheet.

    Args:
        path: The workbook.
        formulas: Whether formulas stand in place of the values that are stored with them.

    Raises:
        DataError: openpyxl is not installed, or the file is no workbook.
    """
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise DataError(
            f"{path} is an Excel workbook, which openpyxl reads, and that is not installed.",
            hint="pip install 'tltool[xlsx]', or save the sheet as CSV (UTF-8)",
        ) from None
    with ExitStack() as opened:
        with _damage_told(path):
            file = opened.enter_context(path.open("rb"))  # openpyxl leaves damaged ones open
            book = openpyxl.load_workbook(file, read_only=True, data_only=not formulas)
        opened.enter_context(closing(book))
        if not book.worksheets:
            raise DataError(f"{path} has no sheet of cells.")
        first, *others = book.worksheets
        if others and not formulas:
            number = len(others) + 1
            _LOG.warning(
                "%s has %d sheets; the first is read, %r: to read another one, move it to the "
                "front or save it as CSV",
                *(path, number, first.title),
            )
        first.reset_dimensions()  # what programs write there is often wrong
        yield opened.enter_context(closing(_sound(path, first.iter_rows())))


def _sound(path: Path, lines: Iterator[Sequence[Any]]) -> Generator[Sequence[Any], None, None]:
    with _damage_told(path):
        yield from lines


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{path} is not a readable workbook: {first_line(error)}.") from error

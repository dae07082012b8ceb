"""Excel workbooks: the first sheet, its first row the names of the columns."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from tltool.data.reading.columns import Columns, check_columns
from tltool.data.reading.rows import Broken, Row
from tltool.support.errors import DataError, first_line

_LOG = logging.getLogger(__name__)

WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")
# openpyxl has no error of its own for some damage, nor for a workbook of charts alone.
_DAMAGE = (
    *(OSError, EOFError, BadZipFile, zlib.error),
    *(KeyError, ValueError, SyntaxError, AttributeError),
)


def workbook_rows(path: Path, columns: Columns) -> Iterator[Row | Broken]:
    """The rows of a workbook's first sheet but for blank ones; see `read_table`.

    Of a formula the value counts that was stored with it.
    """
    with _lines(path) as lines:
        names = _header(lines)
        check_columns(path, names, columns)
        at = [names.index(name) for name in columns.names]
        for number, cells in enumerate(lines, start=2):
            if any(cell is not None for cell in cells):
                values = [cells[i] if i < len(cells) else None for i in at]
                yield columns.row(values, f"{path}:{number}")


def workbook_names(path: Path) -> tuple[str, ...]:
    """The names of the columns of a workbook's first sheet."""
    with _lines(path) as lines:
        return tuple(_header(lines))


def _header(lines: Iterator[Sequence[Any]]) -> list[str]:
    first = next(iter(islice(lines, 1)), ())
    return ["" if cell is None else str(cell).strip() for cell in first]


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[Sequence[Any]]]:
    """The rows of cells of the first sheet, the first at the top of the sheet.

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
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        opened.enter_context(closing(book))
        if not book.worksheets:
            raise DataError(f"{path} has no sheet of cells.")
        first, *others = book.worksheets
        if others:
            number = len(others) + 1
            _LOG.warning("%s has %d sheets; the first is read, %r", path, number, first.title)
        first.reset_dimensions()  # what programs write there is often wrong
        yield opened.enter_context(closing(_sound(path, first.iter_rows(values_only=True))))


def _sound(path: Path, lines: Iterator[Sequence[Any]]) -> Generator[Sequence[Any], None, None]:
    with _damage_told(path):
        yield from lines


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{path} is not a readable workbook: {first_line(error)}.") from error

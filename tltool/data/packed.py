"""Columns of rows in few bytes: texts end to end, and values that occur often by number.

A Python string takes some 50 bytes besides its characters. Here a text takes its
characters and 12 bytes more, and beyond `IN_MEMORY_BYTES` the characters are in a
file without a name, mapped into memory, whose pages the system may take back.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Self, overload

from tltool.support.errors import DataError
from tltool.support.files import cache_dir

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = Sequence[int] | npt.NDArray[Any]

IN_MEMORY_BYTES = 1 << 24
"""Bytes of a column up to which it stays in memory; what is larger goes to a file."""
_MOST_VALUES = 1 << 16
_AT_A_TIME = 1 << 12


class Spool:
    """Bytes that are written end to end, kept in memory while they are few, else in a file.

    The file has no name and ends with the process. It lies in the cache folder, since the
    system's folder for temporary files is often memory itself.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._memory = bytearray()
        self.num_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Adds bytes at the end.

        Raises:
            DataError: The cache folder cannot be written, or its disk is full.
        """
        self._memory += data
        self.num_bytes += len(data)
        if len(self._memory) > IN_MEMORY_BYTES:
            self._empty()

    def finish(self) -> memoryview:
        """All bytes; nothing can be written after that."""
        if self._file is None:
            return memoryview(self._memory)
        self._empty()
        with self._file as file:
            return memoryview(mmap.mmap(file.fileno(), self.num_bytes, access=mmap.ACCESS_READ))

    def _empty(self) -> None:
        """Moves what is in memory to the file."""
        try:
            if self._file is None:
                self._file = unnamed_file()
            self._file.write(self._memory)
            self._file.flush()
        except OSError as error:
            raise spooled_badly(error) from error
        self._memory = bytearray()


def unnamed_file() -> IO[bytes]:
    """A new file in the cache folder that is gone with the process."""
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


def spooled_badly(error: OSError) -> DataError:
    """The error for rows that do not fit into the cache folder."""
    return DataError(
        f"Rows beyond {IN_MEMORY_BYTES >> 20} MB are kept in {cache_dir()}, which cannot be "
        f"written: {error.strerror}.",
        hint="make room there, or name another folder with the variable TLTOOL_CACHE",
    )


def new_array(shape: Sequence[int], dtype: Any) -> npt.NDArray[Any]:
    """An array of zeros to be filled, in memory or, beyond `IN_MEMORY_BYTES`, in a mapped file.

    Raises:
        DataError: The cache folder cannot be written, or its disk is full.
    """
    import numpy as np

    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    try:
        with unnamed_file() as file:
            # Where a page finds no room when it is written, the process is killed.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=tuple(shape))
    except OSError as error:
        raise spooled_badly(error) from error


class Column(Sequence[Any]):
    """Values of rows that are made when they are asked for; equal to a list of them."""

    def take(self, rows: Numbers) -> Self:
        """The values at `rows`, in that order; what they are made of is shared."""
        raise NotImplementedError

    def _at(self, row: int) -> Any:
        raise NotImplementedError

    @overload
    def __getitem__(self, row: int) -> Any: ...

    @overload
    def __getitem__(self, row: slice) -> list[Any]: ...

    def __getitem__(self, row: int | slice) -> Any:
        if isinstance(row, slice):
            return [self._at(one) for one in range(*row.indices(len(self)))]
        count = len(self)
        if not -count <= row < count:
            raise IndexError(f"There are {count} rows, and none {row}.")
        return self._at(row % count)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _AT_A_TIME):
            yield from self[start : start + _AT_A_TIME]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(
            one == two for one, two in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        more = f", … {len(self)} in all" if len(self) > 3 else ""
        return f"[{', '.join(map(repr, self[:3]))}{more}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return packed, (list(self),)


class TextColumn(Column):
    """Texts.

    Args:
        data: Their UTF-8, half surrogate pairs included, end to end.
        starts: Where each begins, an array of int64 (n,).
        sizes: Their bytes, an array of int32 (n,).
    """

    def __init__(self, data: memoryview, starts: Numbers, sizes: Numbers) -> None:
        self._data, self._starts, self._sizes = data, starts, sizes

    def __len__(self) -> int:
        return len(self._starts)

    def take(self, rows: Numbers) -> TextColumn:
        """See `Column.take`."""
        return TextColumn(self._data, _at_rows(self._starts, rows), _at_rows(self._sizes, rows))

    def _at(self, row: int) -> str:
        start = int(self._starts[row])
        return str(self._data[start : start + int(self._sizes[row])], "utf-8", "surrogatepass")


class CodedColumn(Column):
    """Values of which many are equal.

    Args:
        codes: The place of each row's value in `values`, an array of uint16 (n,).
        values: The different ones.
    """

    def __init__(self, codes: Numbers, values: Sequence[Any]) -> None:
        self._codes, self._values = codes, values

    def __len__(self) -> int:
        return len(self._codes)

    def take(self, rows: Numbers) -> CodedColumn:
        """See `Column.take`."""
        return CodedColumn(_at_rows(self._codes, rows), self._values)

    def rows_with(self, value: Any) -> npt.NDArray[np.int64]:
        """The rows that have a value, ascending, int64 (m,)."""
        import numpy as np

        places = [place for place, one in enumerate(self._values) if one == value]
        return np.flatnonzero(np.isin(self._codes, places))

    def _at(self, row: int) -> Any:
        return self._values[self._codes[row]]


class TextBuilder:
    """Makes a `TextColumn` of texts that come one by one; a list, once a value is no text."""

    def __init__(self) -> None:
        self._spool, self._starts, self._sizes = Spool(), array("q"), array("i")
        self._others: list[Any] | None = None

    def append(self, value: Any) -> None:
        """Adds a value."""
        if self._others is None and type(value) is not str:
            self._others = list(self._column())
        if self._others is not None:
            self._others.append(value)
            return
        data = value.encode("utf-8", "surrogatepass")
        self._starts.append(self._spool.num_bytes)
        self._spool.write(data)
        self._sizes.append(len(data))

    def finish(self) -> Sequence[Any]:
        """The values; nothing can be added after that."""
        return self._column() if self._others is None else self._others

    def _column(self) -> TextColumn:
        return TextColumn(self._spool.finish(), self._starts, self._sizes)


class CodedBuilder:
    """Makes a `CodedColumn` of values that come one by one; a list where few are equal."""

    def __init__(self) -> None:
        self._codes, self._known = array("H"), dict[Hashable, int]()
        self._values: list[Any] = []
        self._others: list[Any] | None = None

    def append(self, value: Any) -> None:
        """Adds a value."""
        if self._others is None:
            key = _key(value)
            code = None if key is _NONE else self._known.setdefault(key, len(self._values))
            if code is not None and code < _MOST_VALUES:
                if code == len(self._values):
                    self._values.append(value)
                self._codes.append(code)
                return
            self._others = [self._values[known] for known in self._codes]
        self._others.append(value)

    def finish(self) -> Sequence[Any]:
        """The values; nothing can be added after that."""
        return CodedColumn(self._codes, self._values) if self._others is None else self._others


_NONE = object()


def _key(value: Any) -> Any:
    """What tells values apart, also such as are equal to one of another type; or `_NONE`."""
    if value is None or type(value) is str:
        return value
    if type(value) is tuple and all(type(one) is str for one in value):
        return value
    return (type(value), value) if type(value) in {int, bool} else _NONE


def packed(values: Iterable[Any]) -> Sequence[Any]:
    """A column of texts, or the list of other values."""
    builder = TextBuilder()
    for value in values:
        builder.append(value)
    return builder.finish()


def coded(values: Iterable[Any]) -> Sequence[Any]:
    """A column of values of which many are equal, or a list where they are not."""
    builder = CodedBuilder()
    for value in values:
        builder.append(value)
    return builder.finish()


def taken(column: Sequence[Any], rows: Numbers) -> Sequence[Any]:
    """The values of a column or another sequence at `rows`."""
    return column.take(rows) if isinstance(column, Column) else [column[row] for row in rows]


def _at_rows(values: Numbers, rows: Numbers) -> Any:
    import numpy as np

    return np.asarray(values)[np.asarray(rows, np.int64)]

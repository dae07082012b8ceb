"""FlatBuffers read with every offset checked, and written: from a schema as its .fbs states it.

The reader that flatc generates trusts the file, and LiteRT's interpreter can
end the process on a damaged one. The layout is that of
https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np

from tltool.support.errors import DamagedError

# Name in an .fbs file: layout, as NumPy and `struct` know it, and the name in the methods of
# `flatbuffers.Builder`.
_SCALARS = {
    "bool": ("?", "Bool"),
    "byte": ("<b", "Int8"),
    "ubyte": ("<B", "Uint8"),
    "int": ("<i", "Int32"),
    "uint": ("<I", "Uint32"),
    "long": ("<q", "Int64"),
    "ulong": ("<Q", "Uint64"),
    "float": ("<f", "Float32"),
}
# A small file can name one table very often; a large language model has some 20,000.
_MAX_TABLES = 200_000


@dataclass(frozen=True)
class Schema:
    """Tables and unions as an .fbs file lists them.

    Attributes:
        tables: For each table its fields in order and their types: a scalar
            such as `int`, `string`, a table, a union, or one of these (but a
            union) in brackets.
        unions: For each union its tables in order.
    """

    tables: Mapping[str, Mapping[str, str]]
    unions: Mapping[str, Sequence[str]]

    def slots(self, table: str) -> dict[str, int]:
        """Number of each field of a table; a union has its type there, and its value next."""
        numbers, number = {}, 0
        for name, kind in self.tables.get(table, {}).items():
            numbers[name] = number
            number += 2 if kind in self.unions else 1
        return numbers

    def width(self, table: str) -> int:
        """How many numbers the fields of a table take."""
        return sum(2 if kind in self.unions else 1 for kind in self.tables[table].values())


class Table:
    """One table in a file; `table["field"]` reads a field.

    A scalar that is absent is 0, any other field None. A vector of scalars is
    a NumPy array that shares the file's memory; a vector of tables or strings
    is a list. A union is its table, whose `kind` says which.

    Raises:
        DamagedError: On reading, where the file cannot be right.
    """

    def __init__(self, file: _File, schema: Schema, kind: str, position: int) -> None:
        file.tables += 1
        if file.tables > _MAX_TABLES:
            raise DamagedError("it has more tables than a model can have")
        self.kind = kind
        self._file, self._schema, self._position = file, schema, position
        self._slots = schema.slots(kind)
        vtable = position - file.number("<i", position)
        size, self._size = file.numbers("<HH", vtable)
        if size < 4 or size % 2:
            raise DamagedError(f"a table of {size} bytes is too small")
        self._offsets = file.numbers(f"<{size // 2 - 2}H", vtable + 4)

    @property
    def num_slots(self) -> int:
        """How many fields the writer of the file knew, up to the last one it wrote."""
        return len(self._offsets)

    def __getitem__(self, field: str) -> Any:
        kind, slot = self._schema.tables[self.kind][field], self._slots[field]
        if kind in self._schema.unions:
            return self._union(kind, slot)
        position = self._field(slot)
        if kind in _SCALARS:
            return 0 if position is None else self._file.number(_SCALARS[kind][0], position)
        return None if position is None else self._value(kind, self._file.follow(position))

    def start_of(self, slot: int) -> int | None:
        """Position in the file of the string, vector or table that a field holds."""
        position = self._field(slot)
        return None if position is None else self._file.follow(position)

    def starts_in(self, field: str) -> list[int]:
        """Positions in the file of the tables that a vector holds."""
        start = self.start_of(self._slots[field])
        return [] if start is None else self._file.follow_all(start)

    def _field(self, slot: int) -> int | None:
        offset = self._offsets[slot] if slot < len(self._offsets) else 0
        if offset >= self._size and offset:
            raise DamagedError("a field lies outside its table")
        return self._position + offset if offset else None

    def _value(self, kind: str, start: int) -> Any:
        if kind == "string":
            return self._file.text(start)
        if not kind.startswith("["):
            return Table(self._file, self._schema, kind, start)
        inner = kind[1:-1]
        if inner in _SCALARS:
            count = self._file.number("<I", start)
            return self._file.vector(_SCALARS[inner][0], start + 4, count)
        return [self._value(inner, position) for position in self._file.follow_all(start)]

    def _union(self, kind: str, slot: int) -> Table | None:
        where, value = self._field(slot), self.start_of(slot + 1)
        number = 0 if where is None else self._file.number("<B", where)
        tables = self._schema.unions[kind]
        if number == 0 or value is None:
            return None
        # A newer schema may have more tables: they are named by number and have no fields here.
        name = tables[number - 1] if number <= len(tables) else f"{kind} {number}"
        return Table(self._file, self._schema, name, value)


class _File:
    """Bytes, and reading from them; never outside of them."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.tables = 0

    def number(self, layout: str, position: int) -> Any:
        return self.numbers(layout, position)[0]

    def numbers(self, layout: str, position: int) -> tuple[Any, ...]:
        self._check(position, struct.calcsize(layout))
        return struct.unpack_from(layout, self.content, position)

    def vector(self, layout: str, position: int, count: int) -> np.ndarray[Any, Any]:
        self._check(position, count * struct.calcsize(layout))
        return np.frombuffer(self.content, layout, count, position)

    def _check(self, position: int, size: int) -> None:
        if position < 0 or position + size > len(self.content):
            raise DamagedError("it ends before its content does")

    def follow(self, position: int) -> int:
        return position + int(self.number("<I", position))

    def follow_all(self, start: int) -> list[int]:
        offsets = self.vector("<I", start + 4, self.number("<I", start))
        return [start + 4 + 4 * i + int(offset) for i, offset in enumerate(offsets)]

    def text(self, start: int) -> str:
        characters = self.vector("<B", start + 4, self.number("<I", start)).tobytes()
        try:
            return characters.decode()
        except UnicodeDecodeError as error:
            raise DamagedError("a name in it is not UTF-8") from error


def read_root(content: bytes, schema: Schema, kind: str, identifier: bytes) -> Table:
    """The outermost table of a file.

    Args:
        content: The file; what follows its FlatBuffer does no harm.
        schema: Of the file.
        kind: Name of the outermost table.
        identifier: The four bytes that such a file has at place 4.

    Raises:
        DamagedError: The file is of another kind, or cut off.
    """
    if content[4:8] != identifier:
        raise DamagedError(f"it does not have the mark {identifier.decode()}")
    file = _File(content)
    return Table(file, schema, kind, file.follow(0))


def write_root(schema: Schema, kind: str, values: Mapping[str, Any], identifier: bytes) -> bytes:
    """A file whose outermost table is `values`.

    Args:
        schema: Of the file.
        kind: Name of the outermost table.
        values: Field to value; fields that are None are left out. A table is a
            mapping, a union a pair of a table's name and its mapping.
        identifier: The four bytes that such a file has at place 4.
    """
    builder = flatbuffers.Builder()
    builder.Finish(_write_table(builder, schema, kind, values), identifier)
    return bytes(builder.Output())


def _write_table(
    builder: flatbuffers.Builder, schema: Schema, kind: str, values: Mapping[str, Any]
) -> int:
    fields, slots = schema.tables[kind], schema.slots(kind)
    given = {name: value for name, value in values.items() if value is not None}
    # What a table points to lies behind it, and a FlatBuffer is written from its end.
    starts = {
        name: _write_value(builder, schema, fields[name], value)
        for name, value in given.items()
        if fields[name] not in _SCALARS
    }
    builder.StartObject(schema.width(kind))
    for name, value in given.items():
        slot, field = slots[name], fields[name]
        if field in _SCALARS:
            getattr(builder, f"Prepend{_SCALARS[field][1]}Slot")(slot, value, 0)
        elif field in schema.unions:
            number = list(schema.unions[field]).index(value[0]) + 1
            builder.PrependUint8Slot(slot, number, 0)
            builder.PrependUOffsetTRelativeSlot(slot + 1, starts[name], 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, starts[name], 0)
    return builder.EndObject()


def _write_value(builder: flatbuffers.Builder, schema: Schema, kind: str, value: Any) -> int:
    if kind == "string":
        return builder.CreateString(value)
    if kind in schema.unions:
        return _write_table(builder, schema, *value)
    if not kind.startswith("["):
        return _write_table(builder, schema, kind, value)
    inner = kind[1:-1]
    if inner in _SCALARS:
        return builder.CreateNumpyVector(np.asarray(value, _SCALARS[inner][0]))
    return write_offsets(builder, [_write_value(builder, schema, inner, item) for item in value])


def write_offsets(builder: flatbuffers.Builder, starts: Sequence[int]) -> int:
    """A vector of what was written before; `starts` are the places that writing gave."""
    builder.StartVector(4, len(starts), 4)
    for start in reversed(starts):
        builder.PrependUOffsetTRelative(start)
    return builder.EndVector()

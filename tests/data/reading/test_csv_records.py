from __future__ import annotations

import csv
import io
import random
import tracemalloc
from pathlib import Path

import pytest

from tltool.data.reading.csv_records import csv_header, csv_records
from tltool.data.reading.encoding import decode_bytes
from tltool.support.errors import DataError

PATH = Path("table.csv")


@pytest.fixture
def short_fields():
    """Fields of more than a few characters are long ones."""
    limit = csv.field_size_limit(2)
    yield
    csv.field_size_limit(limit)


def test_a_long_cell_costs_no_more_than_a_few_times_its_size():
    cell = "hello, card " * 800_000
    text = "\n".join(["text,label", "a,0", f'"{cell}",1', "b,0"])
    tracemalloc.start()
    records = list(csv_records(PATH, text, None, ["text", "label"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [fields for _, fields in records] == [
        ["text", "label"], ["a", "0"], [cell, "1"], ["b", "0"],
    ]  # fmt: skip
    assert peak < 3.5 * len(text)


def test_the_encoding_of_many_odd_bytes_is_found_without_a_list_of_them():
    data = b"text;label\n" + "Ñü".encode("cp1252") * 1_000_000
    tracemalloc.start()
    assert decode_bytes(data, "table").endswith("Ñü")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * len(data)


@pytest.mark.parametrize("quoting", ["minimal", "none"])
@pytest.mark.parametrize("spaces", [False, True])
def test_long_fields_are_divided_as_short_ones(quoting, spaces, short_fields):
    """Against Python's reader of strict CSV, on texts of the characters that mean something."""
    draw, compared = random.Random(0), 0
    for _ in range(3_000):
        letters = 'aaaaa,,,"""\n\r' + ("  " if spaces else "")
        rest = "".join(draw.choices(letters, k=draw.randint(1, 30)))
        text = ('a, "b"\n' if spaces else "a,b\n") + rest
        expected = python_records(text, quoting, spaces=spaces)
        try:
            found = list(csv_records(PATH, text, ",", [], quoting))
        except DataError:
            found = None
        if expected is None or python_records(text, quoting, spaces=False) is None:
            assert found is None, text
            continue
        compared += 1
        assert found is not None, text
        assert [(n, f) for n, f in found if isinstance(f, list)] == expected, text
    assert compared > 500


def python_records(text, quoting, *, spaces):
    """Records and their lines where all of them are right; None where a quote spoils the rest."""
    limit = csv.field_size_limit(1_000)
    style = csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL
    reader = csv.reader(
        io.StringIO(text, newline=""),
        strict=True,
        quoting=style,
        skipinitialspace=spaces and quoting != "none",
    )
    found = []
    try:
        while True:
            line = reader.line_num + 1
            try:
                if fields := next(reader):
                    found.append((line, fields))
            except StopIteration:
                return found
            except csv.Error as error:
                if reader.line_num > line or "unexpected end" in str(error):
                    return None
    finally:
        csv.field_size_limit(limit)


def test_a_header_of_long_names_is_read(short_fields):
    assert csv_header(PATH, 'first,"the second"\n1,2\n', ",") == ["first", "the second"]

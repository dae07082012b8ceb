"""Columns of rows that are no lists, and behave as lists do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tltool.data import packed as module
from tltool.data.batches import mapped
from tltool.data.examples import Examples
from tltool.data.packed import CodedColumn, TextColumn, coded, new_array, packed
from tltool.data.reading.rows import Broken, KeptRows, Row
from tltool.support.errors import DataError

TEXTS = [f"row {number} é\udc80" for number in range(60)] + ["", "\N{PILE OF POO}"]


@pytest.fixture(params=["in memory", "in a file"])
def room(request, monkeypatch, tmp_path):
    """Columns of any size, in a cache that shows what is left behind."""
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    if request.param == "in a file":
        monkeypatch.setattr(module, "IN_MEMORY_BYTES", 100)
    return tmp_path / "cache"


def test_a_column_of_texts_is_what_a_list_of_them_is(room):
    column = packed(iter(TEXTS))
    assert isinstance(column, TextColumn)
    assert column == TEXTS
    assert [*column] == TEXTS
    assert column != TEXTS[:-1]
    assert (column[-1], column[3], column[5:9]) == (TEXTS[-1], TEXTS[3], TEXTS[5:9])
    some = column.take([9, 0, 9]).take(np.array([2, 1]))
    assert list(some) == [TEXTS[9], TEXTS[0]]
    assert pickle.loads(pickle.dumps(some)) == some
    with pytest.raises(IndexError, match="none 62"):
        column[62]
    assert not room.exists() or not list(room.iterdir()), "files without a name"


def test_values_that_are_no_texts_stay_as_they_are():
    values = ["a", None, 3, ["b"], np.zeros(2)]
    assert packed(iter(values)) == values
    assert [type(packed(["a", value])) for value in values[1:]] == [list] * 4
    assert packed([]) == []


def test_equal_values_share_a_number_and_keep_their_types():
    values = ["a", None, ("a", "b"), True, 1, "a", False, 0, None]
    column = coded(iter(values))
    assert isinstance(column, CodedColumn)
    assert [(type(one), one) for one in column] == [(type(one), one) for one in values]
    assert column.rows_with("a").tolist() == [0, 5]
    assert column.rows_with(None).tolist() == [1, 8]
    assert column.rows_with("z").tolist() == []
    assert column.take([8, 0]) == [None, "a"]


def test_values_that_are_seldom_equal_are_a_list(monkeypatch):
    monkeypatch.setattr(module, "_MOST_VALUES", 3)
    values = ["a", "b", "a", "c", "d", "a"]
    assert isinstance(coded(values[:4]), CodedColumn)
    assert (type(coded(values)), coded(values)) == (list, values)
    for other in ([1.0], [("a", 1)], [{"a": 1}]):
        assert type(coded(["a", *other])) is list


def test_rows_come_back_as_they_were(room):
    rows = [
        Row("text", "a", "t.csv:2"),
        Broken("t.csv:3", "is empty"),
        Row(None, ["a", "b"], "t.csv:4", "test", "patient"),
    ]
    kept = KeptRows.of(iter(rows))
    assert list(kept) == rows
    assert [kept[number] for number in range(3)] == rows
    assert (kept[-2], kept[1:], len(kept)) == (rows[1], rows[1:], 3)


def test_examples_are_taken_and_divided_by_column():
    splits = coded(["train", "test", "train"])
    texts = packed(["a", "b", "c"])
    examples = Examples("text", texts, coded(["x", "y", "y"]), splits, packed(["1", "2", "3"]))
    plain = Examples("text", ["a", "b", "c"], list("xyy"), ["train", "test", "train"], list("123"))
    assert examples == plain
    assert examples.split("train") == plain.split("train")
    assert len(examples.split("validation")) == 0
    assert examples.take([2, 0]) == plain.take([2, 0])


def test_large_arrays_are_mapped_and_read_as_tensors_without_a_copy(room, monkeypatch):
    monkeypatch.setattr(mapped, "IN_MEMORY_BYTES", module.IN_MEMORY_BYTES)
    array = new_array((50, 3), np.float32)
    assert isinstance(array, np.memmap) == (module.IN_MEMORY_BYTES == 100)
    array[:] = np.arange(150).reshape(50, 3)
    tensor = mapped.as_tensor(array)
    np.testing.assert_array_equal(tensor, np.arange(150).reshape(50, 3))
    array[0] = 7
    assert bool((tensor[0] == 7).numpy().all()) == isinstance(array, np.memmap)
    del array
    assert float(tensor[49, 2]) == 149


def test_a_cache_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 100)
    with pytest.raises(DataError, match="cannot be written") as raised:
        packed(TEXTS)
    assert "TLTOOL_CACHE" in (raised.value.hint or "")

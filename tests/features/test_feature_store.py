from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tltool.features import store as store_module
from tltool.features.store import FeatureStore, TensorSpec, entry_bytes, sample_digest

SPECS = (TensorSpec((2,), "float32", by_token=True), TensorSpec((3,), "float16", by_token=False))
LENGTHS = np.array([2, 1, 3])
TOKENS = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2)
FIXED = np.arange(9, dtype=np.float16).reshape(3, 3)


def write(store, key="a", rows=(2, 0, 1)):
    with store.writing(key, SPECS, 3, LENGTHS, {"up_to": "block1"}) as writer:
        for row in rows:
            writer.write(np.array([row]), [TOKENS[row : row + 1], FIXED[row : row + 1]])
    return store.find(key)


def test_rows_written_in_any_order_are_read_in_theirs(tmp_path):
    entry = write(FeatureStore(tmp_path))
    assert (entry.rows, entry.tokens, entry.about) == (3, 6, {"up_to": "block1"})
    by_token = np.fromfile(entry.file(0), np.float32).reshape(-1, 2)
    expected = np.concatenate([TOKENS[i, :n] for i, n in enumerate(LENGTHS)])
    np.testing.assert_array_equal(by_token, expected)
    np.testing.assert_array_equal(np.fromfile(entry.file(1), np.float16).reshape(3, 3), FIXED)
    np.testing.assert_array_equal(entry.lengths(), LENGTHS)
    assert entry.num_bytes == entry_bytes(SPECS, 3, 6) == 6 * 8 + 3 * 6


def test_an_entry_without_all_its_rows_is_never_found(tmp_path):
    store = FeatureStore(tmp_path)
    with pytest.raises(ValueError, match="1 of 3 rows were not written"):
        write(store, rows=(0, 1))
    assert store.find("a") is None
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_an_entry_cut_short_is_not_found(tmp_path):
    store = FeatureStore(tmp_path)
    entry = write(store)
    with entry.file(0).open("r+b") as file:
        file.truncate(7)
    assert store.find("a") is None
    assert store.entries() == []
    assert write(store) is not None, "it can be written anew"


def test_the_longest_unused_entries_make_room(tmp_path):
    one = entry_bytes(SPECS, 3, 6)
    store = FeatureStore(tmp_path, max_bytes=2 * one)
    for age, key in ((30, "a"), (20, "b")):
        write(store, key)
        past = time.time() - age
        os.utime(tmp_path / key / "entry.json", (past, past))
    assert store.find("a") is not None, "using it makes it the younger"
    write(store, "c")
    assert {entry.path.name for entry in store.entries()} == {"a", "c"}


def test_clear_frees_everything_but_what_is_being_written(tmp_path):
    store = FeatureStore(tmp_path)
    size = write(store).num_bytes
    with store.locked("b"), store.writing("b", SPECS, 3, LENGTHS, {}) as writer:
        assert store.clear() == size
        for row in range(3):
            writer.write(np.array([row]), [TOKENS[row : row + 1], FIXED[row : row + 1]])
    assert [entry.path.name for entry in store.entries()] == ["b"]


def test_clear_may_keep_what_was_used_lately(tmp_path):
    store = FeatureStore(tmp_path)
    for days, key in ((5, "old"), (1, "young")):
        write(store, key)
        past = time.time() - days * 86400
        os.utime(tmp_path / key / "entry.json", (past, past))
    assert store.clear(unused_seconds=3 * 86400) == entry_bytes(SPECS, 3, 6)
    assert [entry.path.name for entry in store.entries()] == ["young"]


def test_clear_removes_what_no_run_can_read_any_more(tmp_path):
    store = FeatureStore(tmp_path)
    for key in ("cut", "other", "good"):
        write(store, key)
    next((tmp_path / "cut").glob("0-*.bin")).write_bytes(b"")
    (tmp_path / "other" / "entry.json").write_text("{")
    held = sum(path.stat().st_size for path in tmp_path.glob("[co]*/*"))
    assert len(store.entries()) == 1
    assert store.clear(unused_seconds=3600) == 0
    assert store.clear() == held + entry_bytes(SPECS, 3, 6)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_bytes_are_those_of_rows_and_of_tokens():
    assert [spec.row_bytes for spec in SPECS] == [8, 6]
    sizes = {"bool": 1, "uint8": 1, "float16": 2, "float32": 4, "int32": 4, "int64": 8}
    for dtype, size in sizes.items():
        assert TensorSpec((3, 2), dtype, False).row_bytes == 6 * np.dtype(dtype).itemsize
        assert TensorSpec((), dtype, False).row_bytes == size


def test_an_entry_whose_bytes_were_changed_is_not_found(tmp_path):
    store = FeatureStore(tmp_path)
    entry = write(store)
    assert entry.is_sound()
    for index in (0, 1):
        file = entry.file(index)
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert store.find("a") is None
        file.write_bytes(whole)
    assert store.find("a") == entry


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 0},
        {"tensors": None},
        {"tensors": [{}]},
        {"rows": 4},
        {"tokens": 5},
        {"digest": "0"},
        {"stamp": "another"},
    ],
)
def test_an_entry_that_is_described_otherwise_is_not_found(tmp_path, damage):
    store = FeatureStore(tmp_path)
    manifest = write(store).path / "entry.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **damage}))
    assert store.find("a") is None


def test_an_entry_without_the_lengths_of_its_rows_is_not_found(tmp_path):
    store = FeatureStore(tmp_path)
    lengths = write(store).path / "lengths.bin"
    lengths.write_bytes(lengths.read_bytes()[:-8])
    assert store.find("a") is None
    lengths.unlink()
    assert store.find("a") is None


def test_large_files_are_sampled_evenly_and_small_ones_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_BLOCK", 4)
    monkeypatch.setattr(store_module, "_BLOCKS", 3)
    file = tmp_path / "file"

    def noticed(size):
        file.write_bytes(bytes(size))
        before, found = sample_digest([file]), []
        for place in range(size):
            changed = bytearray(size)
            changed[place] = 1
            file.write_bytes(changed)
            if sample_digest([file]) != before:
                found.append(place)
        return found

    for size in (0, 1, 4, 5, 8, 11, 12):
        assert noticed(size) == list(range(size))
    assert noticed(40) == [0, 1, 2, 3, 18, 19, 20, 21, 36, 37, 38, 39]


def test_the_last_used_entry_comes_first_and_one_that_is_gone_is_the_oldest(tmp_path):
    store = FeatureStore(tmp_path)
    for age, key in ((20, "b"), (30, "a"), (10, "c")):
        write(store, key)
        os.utime(tmp_path / key / "entry.json", (1e9 - age, 1e9 - age))
    (tmp_path / "a file").touch()
    (tmp_path / "another folder").mkdir()
    first, *_, last = store.entries()
    assert [entry.path.name for entry in store.entries()] == ["c", "b", "a"]
    assert (first.last_used, last.last_used) == (1e9 - 10, 1e9 - 30)
    shutil.rmtree(last.path)
    assert last.last_used == 0
    assert FeatureStore(tmp_path / "missing").entries() == []


def test_there_is_room_for_the_budget_and_for_nine_tenths_of_the_free_disk(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=1005)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    one = entry_bytes(SPECS, 3, 6)
    assert FeatureStore(tmp_path / "new").room() == 904
    assert FeatureStore(tmp_path / "new", max_bytes=500).room() == 500
    write(FeatureStore(tmp_path))
    # What is stored now would make room.
    assert FeatureStore(tmp_path).room() == 904 + one
    assert FeatureStore(tmp_path, max_bytes=904 + one - 1).room() == 904 + one - 1
    assert FeatureStore(tmp_path, max_bytes=904 + one + 1).room() == 904 + one


def test_entries_that_fit_the_budget_exactly_stay(tmp_path):
    one = entry_bytes(SPECS, 3, 6)
    for key in "abc":
        write(FeatureStore(tmp_path, max_bytes=3 * one), key)
    assert len(FeatureStore(tmp_path).entries()) == 3
    write(FeatureStore(tmp_path), "d")
    assert len(FeatureStore(tmp_path).entries()) == 4, "nothing was limited"
    # Writing an entry anew needs no room beside itself.
    write(FeatureStore(tmp_path, max_bytes=4 * one), "d")
    assert len(FeatureStore(tmp_path).entries()) == 4
    write(FeatureStore(tmp_path, max_bytes=2 * one), "e")
    assert len(FeatureStore(tmp_path).entries()) == 2


def test_a_writer_counts_its_rows_its_bytes_and_its_time(tmp_path):
    store = FeatureStore(tmp_path)
    with store.writing("a", SPECS[1:], 3, None, {}) as writer:
        assert (writer.num_written, writer.seconds) == (0, 0)
        writer.write(np.array([2, 0]), [FIXED[[2, 0]]])
        first = writer.seconds
        writer.write(np.array([1]), [FIXED[1:2].astype("float64")])
        assert (writer.num_written, writer.num_bytes) == (3, 18)
        assert 0 < first < writer.seconds < 60
    entry = store.find("a")
    assert (entry.tokens, entry.lengths().tolist()) == (0, [0, 0, 0])
    np.testing.assert_array_equal(np.fromfile(entry.file(0), np.float16).reshape(3, 3), FIXED)


def test_no_two_writings_give_a_file_the_same_name(tmp_path):
    store = FeatureStore(tmp_path)
    names = set()
    for _ in range(2):
        entry = write(store)
        names |= {entry.file(index).name for index in (0, 1)}
        shutil.rmtree(entry.path)
    assert len(names) == 4


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from tltool.features.store import FeatureStore
from tltool.features.store import TensorSpec
store = FeatureStore(Path(sys.argv[1]))
spec = TensorSpec((1,), "float32", by_token=False)
with store.locked("key"), store.writing("key", [spec], 2, None, {}) as writer:
    writer.write(np.array([0]), [np.ones((1, 1))])
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    writer.write(np.array([1]), [np.ones((1, 1))])
"""


def start_writer(folder, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "half\n"
    return process


def test_what_a_killed_process_half_wrote_is_not_found_and_is_swept_away(tmp_path):
    with start_writer(tmp_path, 60) as process:
        process.send_signal(signal.SIGKILL)
    store = FeatureStore(tmp_path)
    assert store.find("key") is None
    assert list(tmp_path.glob(".key.*")), "the test means to leave something behind"
    with store.locked("key"):
        write(store, "other")
    write(store, "another")
    assert not list(tmp_path.glob(".key.*"))


def test_a_second_process_waits_for_the_first_and_then_finds_the_entry(tmp_path):
    store = FeatureStore(tmp_path)
    with start_writer(tmp_path, 1.0) as process:
        assert store.find("key") is None
        with store.locked("key"):
            assert store.find("key") is not None
    assert process.returncode == 0


def test_the_store_makes_its_own_folder_which_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    store = FeatureStore()
    assert store.folder == tmp_path / "cache" / "features"
    assert store.room() > 0
    deeper = FeatureStore(tmp_path / "not" / "there")
    with deeper.locked("a"):
        assert deeper.folder.is_dir()

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tltool.features.store import FeatureStore, TensorSpec, entry_bytes

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

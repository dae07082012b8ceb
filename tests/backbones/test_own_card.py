"""`tltool models add`: a name for a backbone of one's own, whose files must stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from golden_folders import golden
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from tltool.backbones import catalog, check
from tltool.backbones.check import check_card, seeded_features
from tltool.backbones.load import load_backbone
from tltool.backbones.own_card import add_card
from tltool.cli.app import app
from tltool.support.errors import BackboneError


@pytest.fixture(autouse=True)
def own_models(tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_MODELS", str(tmp_path / "cards"))
    catalog.forget_cards()
    yield
    catalog.forget_cards()


@pytest.fixture
def bert(tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    check.write_seeded_folder(folder, golden("transformers")["bert"])
    return folder


def shift_pooler(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"] = tensors["embeddings.LayerNorm.bias"] + 0.5
    save_file(tensors, folder / "model.safetensors")


def test_a_folder_gets_a_name(bert, monkeypatch):
    monkeypatch.chdir(bert.parent)
    path = add_card("bert", name="ours", licence="MIT")
    card = catalog.get_card("ours")
    assert path.stem == "ours"
    assert card in catalog.list_cards()
    assert (card.modality, card.licence, card.groups[0]) == ("text", "MIT", "embeddings")
    assert set(card.source.files) >= {"config.json", "model.safetensors", "vocab.txt"}
    monkeypatch.chdir("/")
    backbone = load_backbone("ours", modality="text")
    assert (backbone.name, backbone.licence) == ("ours", "MIT")
    assert card.parameters == sum(group.num_parameters for group in backbone.groups)
    np.testing.assert_array_equal(
        seeded_features(backbone), seeded_features(load_backbone(str(bert)))
    )
    result = check_card("ours")
    assert result.passed
    assert result.difference is not None


def test_changed_and_missing_files_are_refused(bert):
    add_card(str(bert), name="ours")
    shift_pooler(bert)
    with pytest.raises(BackboneError, match=r"safetensors has changed since"):
        load_backbone("ours")
    (bert / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="is missing since"):
        load_backbone("ours")


def test_the_check_sees_other_features(bert):
    # As with a tltool that computes something else from the same files.
    path = add_card(str(bert), name="ours")
    card = yaml.safe_load(path.read_text())
    card["noted"]["features"][0][0] += 0.01 * card["noted"]["largest"]
    path.write_text(yaml.safe_dump(card))
    catalog.forget_cards()
    assert not check_card("ours").passed


@pytest.mark.slow
def test_another_network_with_own_weights(tmp_path):
    name = "keras-mobilenetv2"
    random = load_backbone(name, weights="random")
    random.model.save(tmp_path / "own.keras")
    add_card(name, name="ours", weights_file=tmp_path / "own.keras")
    np.testing.assert_array_equal(seeded_features(load_backbone("ours")), seeded_features(random))
    (tmp_path / "own.keras").write_bytes(b"other")
    with pytest.raises(BackboneError, match=r"own\.keras has changed"):
        load_backbone("ours")


@pytest.mark.parametrize(
    ("name", "message"), [("all-minilm-l6-v2", "already"), ("My Bert", "cannot name")]
)
def test_names_that_are_taken_or_odd_are_refused(name, message, bert):
    with pytest.raises(BackboneError, match=message):
        add_card(str(bert), name=name)
    assert not catalog.own_models_dir().exists()


def test_on_the_command_line(bert):
    run = CliRunner().invoke
    added = run(app, ["models", "add", str(bert), "--name", "ours", "--title", "Our BERT"])
    assert added.exit_code == 0, added.output
    listed = run(app, ["models", "list", "--task", "text-classification"]).output
    row = next(line for line in listed.splitlines() if line.startswith("ours"))
    assert "your own" in row
    assert "Our BERT" in run(app, ["models", "show", "ours"]).output
    assert run(app, ["models", "pull", "ours"]).output.strip() == str(bert)

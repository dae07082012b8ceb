"""Backbones with weights of the user's own: equal to what was saved, or refused."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny
from golden_folders import golden
from keras.src.legacy.saving import legacy_h5_format
from safetensors.numpy import save_file

import tltool
from tltool.backbones import check
from tltool.backbones.catalog import get_card
from tltool.backbones.check import seeded_features
from tltool.backbones.formats.torch.file import read_torch_file
from tltool.backbones.formats.torch.weights import weighted_layers
from tltool.backbones.formats.weights_file import load_weights_file
from tltool.backbones.load import load_backbone
from tltool.backbones.sources.fetch import fetch_card
from tltool.recipe.recipe import Recipe
from tltool.support.errors import BackboneError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import Task
from tltool.training import preparation

NAME = "keras-mobilenetv2"
SIZE_PX = 96


def own_network(seed=0):
    """A network as a user makes it, whose every weight differs from a fresh one's."""
    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIZE_PX, SIZE_PX, 3)
    )
    rng = np.random.default_rng(seed)
    network.set_weights(
        [w + np.abs(rng.normal(0, 0.05, w.shape)).astype("float32") for w in network.get_weights()]
    )
    return network


def with_head(network):
    pooled = keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([network, pooled, keras.layers.Dense(3, name="head")])


def write(network, path):
    if path.suffix == ".keras":
        with_head(network).save(path)
    elif path.name.endswith(".weights.h5"):
        network.save_weights(path)
    else:
        import h5py

        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, network)
    return path


def assert_equal_weights(backbone, network):
    own = dict(weighted_layers(network))
    for name, layer in weighted_layers(backbone.model):
        for ours, theirs in zip(layer.get_weights(), own[name].get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("file", ["own.keras", "own.weights.h5", "own_notop.h5"])
def test_weights_are_those_of_the_file_and_nothing_is_downloaded(file, tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    network = own_network()
    path = write(network, tmp_path / file)
    backbone = load_backbone(NAME, image_size_px=SIZE_PX, weights_file=path)
    assert_equal_weights(backbone, network)
    assert str(path) in backbone.source
    assert backbone.licence == "unknown"


@pytest.mark.parametrize("file", ["own.keras", "own.weights.h5", "own_notop.h5"])
def test_a_file_of_another_network_is_refused(file, tmp_path):
    other = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(SIZE_PX, SIZE_PX, 3)
    )
    with pytest.raises(BackboneError, match=NAME):
        load_backbone(NAME, image_size_px=SIZE_PX, weights_file=write(other, tmp_path / file))


def test_layers_that_a_file_lacks_are_named_and_must_not_be_used(tmp_path):
    """As a model that tags words has no pooling layer of its BERT."""
    whole, path = tiny.tiny_image_backbone(), tmp_path / "half.keras"
    half = keras.Model(whole.model.input, whole.model.get_layer("stage1_add").output)
    half.save(path)
    other = tiny.tiny_image_backbone()
    with pytest.raises(BackboneError, match="no layer 'stage2_conv'"):
        load_weights_file(other, path)
    assert load_weights_file(other, path, partial=True) == ("stage2_conv", "stage2_bn")
    for name in ("stem_conv", "stage1_b_conv"):
        ours, theirs = (one.model.get_layer(name).get_weights() for one in (other, whole))
        np.testing.assert_equal(ours, theirs)


def test_a_model_that_has_a_layer_without_weights_is_refused(monkeypatch):
    lacking = replace(tiny.tiny_image_backbone(), lacking=("stem_conv",))
    monkeypatch.setattr(preparation, "backbone_of", lambda recipe, weights=None: lacking)
    recipe = Recipe.of(
        task="image-classification", backbone={"name": "tiny", "weights_file": "half.keras"}
    )
    task = Task(recipe.spec, ClassTarget(("a", "b")))
    with pytest.raises(BackboneError, match=r"half.keras has no layer 'stem_conv'"):
        preparation.rebuild(recipe, task, tiny.TINY_IMAGE)


@pytest.mark.parametrize("file", ["own.keras", "own.weights.h5", "own.h5", "own.safetensors"])
def test_a_damaged_file_is_named(file, tmp_path):
    path = tmp_path / file
    path.write_bytes(b"PK\x03\x04 not what it says")
    name = "efficientnet-lite0" if path.suffix == ".safetensors" else NAME
    with pytest.raises(BackboneError, match=file):
        load_backbone(name, image_size_px=SIZE_PX, weights_file=path)


def test_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(BackboneError, match="no file") as caught:
        load_backbone(NAME, weights_file=tmp_path / "none.keras")
    assert "backbone.weights_file" in caught.value.hint
    (tmp_path / "weights.npz").touch()
    with pytest.raises(BackboneError, match="npz") as caught:
        load_backbone(NAME, weights_file=tmp_path / "weights.npz")
    assert ".safetensors" in caught.value.hint
    (tmp_path / "weights.pth").touch()
    with pytest.raises(BackboneError, match="no torch file") as caught:
        load_backbone(NAME, weights_file=tmp_path / "weights.pth")
    assert "config.json" in caught.value.hint


def test_code_in_a_model_is_not_run(tmp_path):
    path = tmp_path / "lambda.keras"
    image = keras.Input((SIZE_PX, SIZE_PX, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image)).save(path)
    with pytest.raises(BackboneError, match=r"cannot be loaded: .*`Lambda`"):
        load_backbone(NAME, weights_file=path)


@pytest.mark.weights
def test_torch_files_of_efficientnet_lite(tmp_path):
    card = get_card("efficientnet-lite0")
    checkpoint = fetch_card(card) / next(iter(card.source.files))
    expected = seeded_features(load_backbone(card.name))
    again = seeded_features(load_backbone(card.name, weights_file=checkpoint))
    np.testing.assert_array_equal(again, expected)

    tensors = read_torch_file(checkpoint)
    save_file({**tensors, "_bn1.bias": tensors["_bn1.bias"] + 1}, tmp_path / "own.safetensors")
    own = load_backbone(card.name, weights_file=tmp_path / "own.safetensors")
    moved = own.model.get_layer("top_bn").beta - tensors["_bn1.bias"]
    np.testing.assert_allclose(moved, 1, atol=1e-6)


@pytest.mark.slow
def test_a_run_goes_on_from_the_model_of_another(tmp_path):
    case = golden("transformers")["bert"]
    (tmp_path / "bert").mkdir()
    check.write_seeded_folder(tmp_path / "bert", case)
    texts, labels = tiny.texts(32)

    def train(kind, learning_rate, **backbone):
        recipe = Recipe.of(
            name="again",
            task="text-classification",
            backbone={"name": str(tmp_path / "bert"), **backbone},
            schedule=[{"train": kind, "epochs": 1, "learning_rate": learning_rate}],
            export={"formats": []},
            output_dir=str(tmp_path / "runs"),
        )
        return tltool.finetune(recipe, data=(texts, labels))

    original = load_backbone(str(tmp_path / "bert")).model
    first = train("all", 1e-2)
    second = train("head", 1e-3, weights_file=str(first.folder.model))
    moved = []
    for name, layer in weighted_layers(original):
        trained, kept = (run.model.get_layer(name).get_weights() for run in (first, second))
        np.testing.assert_equal(kept, trained)
        moved += [np.abs(a - b).max() for a, b in zip(layer.get_weights(), kept, strict=True)]
    assert max(moved) > 1e-3

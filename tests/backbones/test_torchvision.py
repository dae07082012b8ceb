"""torchvision's networks and weights: features are torchvision's (`benchmarks/parity.py`)."""

from __future__ import annotations

import hashlib
import re

import keras
import numpy as np
import pytest
import tiny
import yaml
from file_server import serve
from golden_folders import assert_features_are_golden, golden
from safetensors.numpy import load_file, save_file
from test_torch_file import Stored, Tensor, torch_names, zip_bytes  # noqa: F401  a fixture

import tltool
from tltool.backbones import catalog, check
from tltool.backbones.check import check_family, load_seeded, seeded_features
from tltool.backbones.formats.torchvision.names import respelled, swin_tensors
from tltool.backbones.load import load_backbone
from tltool.backbones.networks import inverted
from tltool.backbones.own_card import add_card
from tltool.backbones.sources import torchvision
from tltool.backbones.sources.locate import fetch_model
from tltool.backbones.sources.torchvision import PUBLISHED, TorchvisionWeights
from tltool.export.artifact import is_artifact
from tltool.recipe.recipe import Recipe
from tltool.support.errors import BackboneError
from tltool.support.files import cache_dir

GOLDEN = golden("torchvision")
SMALL = "torchvision:mobilenet_v3_small"
SIZE_PX = 64
# 86 million weights.
CASES = [pytest.param(n, marks=pytest.mark.slow if "vit" in n else ()) for n in GOLDEN]


def write_weights(folder, name=SMALL):
    """A state dict with the seeded weights that torchvision's own had."""
    check.write_seeded_folder(folder, GOLDEN[name])
    return folder / "model.safetensors"


@pytest.mark.parametrize("name", CASES)
def test_features_are_torchvisions_also_when_saved_and_loaded(name, tmp_path):
    case = GOLDEN[name]
    write_weights(tmp_path, name)
    backbone = load_seeded(name, tmp_path, case["load_size_px"])
    assert_features_are_golden(backbone, case, tmp_path)
    assert str(tmp_path) in backbone.source


def test_all_families_have_a_case():
    def kind(name):
        return re.match("[a-z]+", name.removeprefix("torchvision:"))[0]

    assert {kind(name) for name in PUBLISHED} == {kind(name) for name in GOLDEN}


def padded_like_tensorflow(monkeypatch):
    monkeypatch.setattr(inverted, "_padded", lambda x, *_: (x, "same"))


def with_another_epsilon(monkeypatch):
    shape = inverted.INVERTED["mobilenet_v3_small"]()
    other = inverted.InvertedShape(**{**vars(shape), "epsilon": 1e-5})
    monkeypatch.setitem(inverted.INVERTED, "mobilenet_v3_small", lambda: other)


def with_other_gates(monkeypatch):
    shape = inverted.INVERTED["mobilenet_v3_small"]()
    other = inverted.InvertedShape(**{**vars(shape), "gates": ("relu", "sigmoid")})
    monkeypatch.setitem(inverted.INVERTED, "mobilenet_v3_small", lambda: other)


@pytest.mark.parametrize("damage", [padded_like_tensorflow, with_another_epsilon, with_other_gates])
def test_what_would_be_computed_otherwise_is_noticed(damage, monkeypatch):
    damage(monkeypatch)
    result = check_family(SMALL)
    assert result.error is None
    assert not result.passed


def test_old_spellings_are_read(tmp_path):
    # As published: densenet121-a639ec97.pth, vit_b_16-c867db91.pth.
    name = "torchvision:densenet121"
    file = write_weights(tmp_path, name)
    tensors = load_file(file)
    spelling = re.compile(r"(\.denselayer\d+\.)(norm|conv)([12])\.")
    old = {spelling.sub(r"\1\2.\3.", key): value for key, value in tensors.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    save_file(old, tmp_path / "old.safetensors")
    new, read = (
        load_backbone(name, weights_file=path, image_size_px=SIZE_PX)
        for path in (file, tmp_path / "old.safetensors")
    )
    np.testing.assert_array_equal(seeded_features(read), seeded_features(new))
    vit = dict.fromkeys(
        [
            "encoder.layers.encoder_layer_3.mlp.linear_1.weight",
            "encoder.layers.encoder_layer_3.mlp.linear_2.bias",
            "encoder.layers.encoder_layer_3.self_attention.in_proj_weight",
        ],
        np.zeros(2),
    )
    assert [key.removeprefix("encoder.layers.encoder_layer_3.") for key in respelled(vit)] == [
        "mlp.0.weight", "mlp.3.bias", "self_attention.in_proj.weight",
    ]  # fmt: skip


def test_swins_names_are_timms():
    names = {
        "features.0.0.weight": "patch_embed.proj.weight",
        "features.0.2.bias": "patch_embed.norm.bias",
        "features.1.1.attn.qkv.weight": "layers.0.blocks.1.attn.qkv.weight",
        "features.2.reduction.weight": "layers.1.downsample.reduction.weight",
        "features.3.0.mlp.0.weight": "layers.1.blocks.0.mlp.fc1.weight",
        "features.7.1.mlp.3.bias": "layers.3.blocks.1.mlp.fc2.bias",
        "norm.weight": "norm.weight",
        "head.weight": "head.weight",
    }
    found = swin_tensors(dict.fromkeys(names, np.zeros(1)))
    assert list(found) == list(names.values())


def test_images_are_prepared_as_for_the_weights_named():
    newest = TorchvisionWeights.parse("torchvision:resnet50")
    first = TorchvisionWeights.parse("torchvision:resnet50@IMAGENET1K_V1")
    assert newest.name == "torchvision:resnet50@IMAGENET1K_V2"
    assert (newest.preprocessing.resize_px, first.preprocessing.resize_px) == (232, 256)
    contract = TorchvisionWeights.parse("torchvision:efficientnet_b3").preprocessing
    assert (contract.size_px, contract.resize_px) == ((300, 300), 320)
    assert (contract.fit, contract.interpolation, contract.antialias) == ("crop", "bicubic", True)
    np.testing.assert_allclose(contract.mean, [123.675, 116.28, 103.53])
    np.testing.assert_allclose(contract.std, [58.395, 57.12, 57.375])


def test_every_published_file_names_its_checksum():
    files = [own.file for published in PUBLISHED.values() for own in published.values()]
    assert len(set(files)) == len(files) > 40
    for name, published in PUBLISHED.items():
        for own in published.values():
            stem, digits = own.file.removesuffix(".pth").rsplit("-", 1)
            assert stem.startswith(name)
            assert len(bytes.fromhex(digits)) == 4


def test_a_classifier_of_any_size_is_left_aside_and_other_tensors_are_not(tmp_path):
    file = write_weights(tmp_path)
    tensors = load_file(file)
    own = {**tensors, "classifier.3.weight": np.zeros((7, 1024), "float32")}
    save_file(own, file)
    backbone = load_backbone(SMALL, weights_file=file, image_size_px=SIZE_PX)
    assert [group.name for group in backbone.groups] == [
        "stem", "stage1", "stage2", "stage3", "stage4", "stage5", "top",
    ]  # fmt: skip
    key = "features.2.block.0.0.weight"
    changes = {
        f"lack the tensor '{key}'": {k: v for k, v in tensors.items() if k != key},
        "the first is 'extra.weight'": {**tensors, "extra.weight": tensors[key]},
        "does not fit": {**tensors, key: tensors[key][:-1]},
    }
    for message, changed in changes.items():
        save_file(changed, file)
        with pytest.raises(BackboneError, match=message):
            load_backbone(SMALL, weights_file=file, image_size_px=SIZE_PX)
    with pytest.raises(BackboneError, match="There is no file"):
        load_backbone(SMALL, weights_file=tmp_path / "none.pth")


def test_weights_that_keras_saved_are_taken_too(tmp_path):
    backbone = load_backbone(SMALL, weights_file=write_weights(tmp_path), image_size_px=SIZE_PX)
    backbone.model.save(tmp_path / "own.keras")
    again = load_backbone(SMALL, weights_file=tmp_path / "own.keras", image_size_px=SIZE_PX)
    np.testing.assert_array_equal(seeded_features(again), seeded_features(backbone))


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("torchvision:resnext50_32x4d", {}, "resnext50_32x4d.*Known are: resnet18", "original"),
        ("torchvision:resnet18@IMAGENET1K_V2", {}, "no weights", "resnet18@IMAGENET1K_V1"),
        ("torchvision:resnet18", {"dropout": 0.1}, "no dropout", "head.dropout"),
        ("torchvision:resnet18", {"image_size_px": 100}, "multiple of 32", "96"),
        ("torchvision:swin_t", {"image_size_px": 256}, "224 pixels only", "CNN"),
        ("torchvision:resnet18", {"modality": "text"}, "takes image", "for text"),
    ],
)
def test_what_cannot_be_had_is_refused(name, options, message, hint):
    with pytest.raises(BackboneError, match=message) as caught:
        load_backbone(name, weights="random", **options)
    assert hint in caught.value.hint


@pytest.fixture
def published(tmp_path, monkeypatch, torch_names):  # noqa: F811
    """A server that has a file of seeded weights under a name with its checksum."""
    tensors = load_file(write_weights(tmp_path))
    content, stored = {}, []
    for key, value in tensors.items():
        storage = Stored(torch_names.FloatStorage, str(len(stored)), value.reshape(-1))
        strides = tuple(step // value.itemsize for step in value.strides)
        content[key] = Tensor(storage, 0, value.shape, strides)
        stored.append(storage)
    data = zip_bytes(content, stored)
    digits = hashlib.sha256(data).hexdigest()[:8]
    file = f"mobilenet_v3_small-{digits}.pth"
    own = {"IMAGENET1K_V1": torchvision._Published(file)}
    monkeypatch.setitem(PUBLISHED, "mobilenet_v3_small", own)
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    with serve() as running:
        running.files[f"/models/{file}"] = data
        monkeypatch.setenv("TLTOOL_TORCHVISION_ENDPOINT", f"{running.url}/models/")
        yield running


def test_published_weights_are_fetched_once_and_checked_by_their_name(published, monkeypatch):
    backbone = load_backbone(SMALL, image_size_px=SIZE_PX)
    assert backbone.source == f"{SMALL}@IMAGENET1K_V1"
    features = check.chosen_features(seeded_features(backbone))
    np.testing.assert_allclose(features, GOLDEN[SMALL]["features"], rtol=1e-4, atol=1e-5)
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    load_backbone(SMALL, image_size_px=SIZE_PX)
    folder = fetch_model(SMALL)
    assert folder.parent == cache_dir() / "torchvision"
    assert len(published.paths) == 1


def test_a_file_that_is_not_what_its_name_says_is_not_kept(published):
    (path,) = published.files
    published.files[path] += b"\0"
    with pytest.raises(BackboneError, match=r"mobilenet_v3_small.*expected sha256:[0-9a-f]{8};"):
        load_backbone(SMALL)
    assert not TorchvisionWeights.parse(SMALL).path.exists()
    published.files[path] = published.files[path][:-1]
    load_backbone(SMALL, image_size_px=SIZE_PX)


def test_a_cached_file_that_changed_is_fetched_again(published):
    path = torchvision.fetch_torchvision(TorchvisionWeights.parse(SMALL))
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    torchvision.fetch_torchvision(TorchvisionWeights.parse(SMALL))
    assert len(published.paths) == 2


def test_offline_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path))
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    with pytest.raises(BackboneError, match=r"resnet18-f37072fd\.pth is not in the cache"):
        load_backbone("torchvision:resnet18")


def test_own_weights_of_it_get_a_name_without_any_download(tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    monkeypatch.setenv("TLTOOL_MODELS", str(tmp_path / "cards"))
    catalog.forget_cards()
    file = write_weights(tmp_path)
    path = add_card(SMALL, name="birds", weights_file=file)
    source = yaml.safe_load(path.read_text())["source"]
    assert source["source"] == f"{SMALL}@IMAGENET1K_V1"
    assert check.check_card("birds").passed
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(BackboneError, match="has changed"):
        load_backbone("birds")
    catalog.forget_cards()


@pytest.mark.slow
def test_it_is_trained_and_exported(tmp_path):
    file = write_weights(tmp_path)
    tiny.write_images(tmp_path / "images", per_class=10)
    recipe = Recipe.of(
        task="image-classification",
        backbone={"name": SMALL, "weights_file": str(file), "image_size_px": SIZE_PX},
        data={"train": str(tmp_path / "images"), "test_fraction": 0.2},
        schedule=[
            {"train": "head", "solver": "exact"},
            {"train": {"from": "stage5"}, "epochs": 1, "learning_rate": 1e-4},
        ],
        evaluation={"baseline": False},
        output_dir=str(tmp_path / "runs"),
    )
    run = tltool.finetune(recipe)
    assert run.metrics["test"]["accuracy"] == 1.0
    # The gate has compared SavedModel and LiteRT with the trained model.
    assert len([path for path in run.folder.exports.iterdir() if is_artifact(path)]) == 2
    again = keras.saving.load_model(run.folder.model)
    images = np.zeros((1, SIZE_PX, SIZE_PX, 3), "float32")
    np.testing.assert_array_equal(again(images), run.model(images))

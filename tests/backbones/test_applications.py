"""Networks of keras.applications: built, prepared, grouped and fetched as their cards say."""

from __future__ import annotations

import hashlib
import importlib

import keras
import numpy as np
import pytest
import tiny
from file_server import serve
from keras.src.utils import file_utils

import tltool
from tltool.backbones.catalog import ApplicationSource, find_card, list_cards
from tltool.backbones.load import load_backbone
from tltool.backbones.networks.applications import APPLICATIONS, application_input, load_application
from tltool.backbones.sources.fetch import APPLICATIONS_ENDPOINT
from tltool.data.images.preprocessor import normalize
from tltool.recipe.recipe import Recipe
from tltool.support.errors import BackboneError

CARDS = {
    card.source.application: card
    for card in list_cards()
    if isinstance(card.source, ApplicationSource)
}
# One of each family, the module that has its `preprocess_input`, and a size that is quick.
FAMILIES = {
    "ResNet50": "resnet",
    "ResNet50V2": "resnet_v2",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "DenseNet121": "densenet",
    "VGG16": "vgg16",
    "Xception": "xception",
    "EfficientNetB0": "efficientnet",
    "EfficientNetV2B0": "efficientnet_v2",
    "EfficientNetV2S": "efficientnet_v2",
    "ConvNeXtTiny": "convnext",
}
SIZE_PX = 96


def build_like_keras(application, **options):
    build = getattr(keras.applications, application)
    return build(include_top=False, input_shape=(SIZE_PX, SIZE_PX, 3), **options)


def test_every_application_has_a_card_and_the_other_way_round():
    assert set(CARDS) == set(APPLICATIONS)
    assert find_card("keras.applications.resnet50") == CARDS["ResNet50"]
    assert find_card("keras.applications.ResNet51") is None


class AskedError(Exception):
    """Raised where Keras would download."""


def check_card(application, backbone):
    """That a card says what the network turns out to be."""
    card = CARDS[application]
    assert card.parameters == sum(group.num_parameters for group in backbone.groups)
    assert card.groups == tuple(group.name for group in backbone.groups)
    assert card.features == backbone.features.pooled.shape[-1]
    assert card.input == application_input(application, None, application)
    assert card.family == APPLICATIONS[application].rules


def check_source(application, monkeypatch):
    """That a card says what Keras would download."""
    source = CARDS[application].source

    def asked_for(name, origin=None, file_hash=None, **_):
        raise AskedError(origin, file_hash)

    monkeypatch.setattr(file_utils, "get_file", asked_for)
    side = APPLICATIONS[application].size_px
    with pytest.raises(AskedError) as caught:
        getattr(keras.applications, application)(include_top=False, input_shape=(side, side, 3))
    origin, checksum = caught.value.args
    assert origin == f"{APPLICATIONS_ENDPOINT}/{source.file}"
    assert (source.checksum or "none:").partition(":")[2] == (checksum or "")


# A large checksum, a small one, and none.
@pytest.mark.parametrize("application", ["ConvNeXtTiny", "ResNet50", "MobileNetV2"])
def test_cards_name_the_file_that_keras_would_fetch(application, monkeypatch):
    check_source(application, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("application", sorted(APPLICATIONS))
def test_every_card_says_what_keras_has(application, monkeypatch):
    check_card(
        application,
        load_application(application, None, name=application, image_size_px=SIZE_PX),
    )
    check_source(application, monkeypatch)


def _fit_statistics(network, images):
    """Gives BatchNorm the statistics of some images, so that features tell images apart."""
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    network(images, training=True)


def pooled_as_trained(network, images):
    """What Keras' own classifier of the network would get."""
    norm = network.layers[-1]
    if not isinstance(norm, keras.layers.LayerNormalization):
        return np.asarray(network(images, training=False)).mean(axis=(1, 2))
    # ConvNeXt's gets the mean of the map, normalised; the scale is 1 and the offset 0 here.
    pooled = np.asarray(keras.Model(network.input, norm.input)(images)).mean(axis=(1, 2))
    centred = pooled - pooled.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + norm.epsilon)


@pytest.mark.parametrize("application", FAMILIES)
def test_features_equal_those_of_keras_with_its_own_preprocessing(application):
    # Where the network can scale its input itself, the reference does so.
    keras.utils.set_random_seed(0)
    reference = build_like_keras(application, weights=None)
    own = load_application(application, None, name=application, image_size_px=SIZE_PX)
    check_card(application, own)
    rng = np.random.default_rng(0)
    shades = np.array([40, 120, 200])[:, None, None, None] + rng.integers(-30, 30, (3, 1, 1, 3))
    levels = shades + rng.integers(-10, 10, (3, SIZE_PX, SIZE_PX, 3)).astype("float32")
    module = importlib.import_module(f"keras.applications.{FAMILIES[application]}")
    images = module.preprocess_input(levels.copy())
    _fit_statistics(reference, images)
    own.model.set_weights(reference.get_weights())

    def difference(one, other):
        return np.abs(one - other).max() / np.abs(expected).max()

    expected = pooled_as_trained(reference, images)
    found = np.asarray(own.model(normalize(levels, own.preprocessing), training=False))
    assert difference(found, expected) < 1e-3
    # Features that say nothing about an image would agree with any preprocessing.
    assert difference(expected[0], expected[1]) > 0.01
    if APPLICATIONS[application].scaling != "inside":
        assert difference(np.asarray(own.model(levels, training=False)), expected) > 0.01


def test_layer_names_do_not_depend_on_what_was_built_before():
    names = [
        [layer.name for layer in load_application("Xception", None, name="x").model.layers
         if layer.weights]
        for _ in range(2)
    ]  # fmt: skip
    assert names[0] == names[1]
    assert "block13_shortcut_conv" in names[0]


def test_sizes_other_than_its_own_are_multiples_of_32():
    assert application_input("Xception", 299, "x").size_px == (299, 299)
    assert application_input("Xception", 320, "x").size_px == (320, 320)
    with pytest.raises(BackboneError, match="multiple of 32"):
        application_input("Xception", 300, "x")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Random weights in the format of keras.applications."""
    keras.utils.set_random_seed(5)
    network = build_like_keras("MobileNetV2", weights=None)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.h5"
    network.save(path)
    return path, network


@pytest.fixture
def server(monkeypatch, tmp_path, weights_file):
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    with serve() as running:
        monkeypatch.setenv("TLTOOL_APPLICATIONS_ENDPOINT", f"{running.url}/")
        running.files[f"/{CARDS['MobileNetV2'].source.file}"] = weights_file[0].read_bytes()
        yield running


def test_weights_come_from_the_server_once_and_are_the_file_s(server, weights_file):
    for _ in range(2):
        backbone = load_backbone("keras.applications.MobileNetV2", image_size_px=SIZE_PX)
    assert len(server.ranges) == 1
    for found, expected in zip(
        backbone.model.get_weights(), weights_file[1].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert backbone.licence == "Apache-2.0"
    assert backbone.source == "keras.applications.MobileNetV2"


def test_a_file_with_another_sum_than_keras_states_is_refused(server):
    server.files[f"/{CARDS['ResNet50'].source.file}"] = b"not what was asked for"
    found = hashlib.md5(b"not what was asked for").hexdigest()
    with pytest.raises(BackboneError, match=f"md5:{found}, expected md5:4d473c"):
        load_backbone("keras.applications.ResNet50")


def test_weights_of_another_network_are_refused(server, weights_file):
    server.files[f"/{CARDS['MobileNet'].source.file}"] = weights_file[0].read_bytes()
    with pytest.raises(BackboneError, match="no weights of MobileNet without its classifier"):
        load_backbone("keras.applications.MobileNet")


def test_a_network_without_settable_dropout_says_so():
    with pytest.raises(BackboneError, match="no dropout that can be set"):
        load_backbone("keras-mobilenetv2", dropout=0.1)


@pytest.mark.slow
def test_fine_tuned_by_a_recipe_and_exported(server, tmp_path):
    tiny.write_images(tmp_path / "images", per_class=10)
    recipe = Recipe.of(
        task="image-classification",
        backbone={"name": "keras.applications.MobileNetV2", "image_size_px": 32},
        data={"train": str(tmp_path / "images"), "test_fraction": 0.2},
        schedule=[
            {"train": "head", "epochs": 1, "learning_rate": 1e-2},
            {"train": {"last": 2}, "epochs": 1, "learning_rate": 1e-3},
        ],
        evaluation={"baseline": False},
        export={"formats": []},
        output_dir=str(tmp_path / "runs"),
    )
    run = tltool.finetune(recipe)
    for form in ("saved_model", "litert"):
        assert run.export(form).exists()

"""The check of backbones: it passes as things are, and fails where one cure is taken away."""

from __future__ import annotations

import json

import pytest

from tltool.backbones import check
from tltool.backbones.check import check_card, check_family, golden_families
from tltool.backbones.formats.timm import folder as timm_folder
from tltool.backbones.formats.transformers.names import ENCODERS
from tltool.backbones.networks.layers import exact_gelu, tanh_gelu

FAMILIES = golden_families()


# The tests of folders look at all of them.
@pytest.mark.parametrize("name", ["resnet18", "tf_mobilenetv3_small_100", "electra", "vit"])
def test_a_family_as_it_is_passes(name):
    result = check_family(name)
    assert result.passed, result
    assert result.library == FAMILIES[name]


@pytest.mark.weights
@pytest.mark.parametrize("name", ["all-minilm-l6-v2", "efficientnet-lite0"])
def test_cards_that_need_no_hub_pass_with_their_own_weights(name):
    result = check_card(name)
    assert result.difference is not None
    assert result.passed, result


@pytest.mark.parametrize(
    ("name", "key", "wrong"), [("bert", "gelu", tanh_gelu), ("albert", "gelu_new", exact_gelu)]
)
def test_the_wrong_gelu_fails(name, key, wrong, monkeypatch):
    monkeypatch.setitem(ENCODERS[name].activations, key, wrong)
    result = check_family(name)
    assert not result.passed
    assert result.difference > 1e-4


def test_a_network_that_pads_otherwise_fails(monkeypatch):
    # Keras' MobileNetV3 pads like TensorFlow, timm's without `tf_` does not.
    case = check._golden("timm")["mobilenetv3_small_100"]
    config = {**case["config"], "architecture": "tf_mobilenetv3_small_100"}
    golden = {"mobilenetv3_small_100": {**case, "config": config}}
    monkeypatch.setattr(check, "_golden", lambda library: golden if library == "timm" else {})
    result = check_family("mobilenetv3_small_100")
    assert not result.passed


def test_a_wrong_scale_fails(monkeypatch):
    own = timm_folder._preprocessing

    def unscaled(*args):
        return own(*args).model_copy(update={"std": (1.0, 1.0, 1.0)})

    monkeypatch.setattr(timm_folder, "_preprocessing", unscaled)
    assert not check_family("resnet18").passed


def test_what_cannot_be_loaded_is_told(monkeypatch):
    case = check._golden("timm")["resnet18"]
    shapes = {key: shape for key, shape in case["shapes"].items() if key != "conv1.weight"}
    golden = {"resnet18": {**case, "shapes": shapes}}
    monkeypatch.setattr(check, "_golden", lambda library: golden if library == "timm" else {})
    result = check_family("resnet18")
    assert not result.passed
    assert result.difference is None
    assert "could not be loaded" in result.error
    json.dumps(result.error)

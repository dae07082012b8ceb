"""Preset folders of KerasCV: which are loaded, and that they compute what keras-cv computes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

from tltool.backbones.catalog import find_card
from tltool.backbones.formats.presets.keras_cv import ELSEWHERE
from tltool.backbones.load import load_backbone
from tltool.backbones.pyramid import with_pyramid
from tltool.support.errors import BackboneError

SIZES = {"stackwise_channels": [16, 24, 32, 48], "stackwise_depth": [1, 2, 3, 1]}
STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]
FAMILIES = ("CSPDarkNetBackbone", "YOLOV8Backbone")

needs_keras_cv = pytest.mark.skipif(find_spec("keras_cv") is None, reason="the extra [cv]")


def write_config(folder: Path, kind: str, **changes) -> str:
    config = {"include_rescaling": True, "input_shape": [None, None, 3], **SIZES, **changes}
    content = {"registered_name": f"keras_cv>{kind}", "config": config}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return str(folder)


def save_preset(folder: Path, kind: str, **options):
    """Writes a folder as KerasCV does; returns the network that went in, no weight like another."""
    import keras_cv
    from keras_cv.src.utils.preset_utils import save_to_preset

    keras.utils.set_random_seed(1)
    model = getattr(keras_cv.models, kind)(include_rescaling=True, **SIZES, **options)
    scatter(model)
    save_to_preset(model, str(folder))
    return model


def scatter(model) -> None:
    """Random weights that keep the signal alive down to the last map."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if len(variable.shape) == 4:
            spread = np.sqrt(3.0 / np.prod(variable.shape[:3]))
            variable.assign(rng.normal(0, spread, variable.shape))
        else:
            middle = 1.0 if variable.path.endswith(("gamma", "variance")) else 0.0
            variable.assign(rng.uniform(middle - 0.3, middle + 0.3, variable.shape))


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Families to their folders and to the networks that went in."""
    root = tmp_path_factory.mktemp("presets")
    options = {"CSPDarkNetBackbone": {}, "YOLOV8Backbone": {"activation": "relu"}}
    return {
        kind: (root / kind, save_preset(root / kind, kind, **options[kind])) for kind in FAMILIES
    }


def pictures() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype("float32")


def run(model, inputs):
    return keras.tree.map_structure(np.asarray, model(inputs, training=False))


@needs_keras_cv
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_level_is_keras_cv_s_also_when_saved_and_loaded(kind, presets, tmp_path):
    folder, theirs = presets[kind]
    backbone = load_backbone(str(folder), image_size_px=64)
    assert [group.name for group in backbone.groups] == STAGES
    names = theirs.pyramid_level_inputs
    expected = run(
        keras.Model(theirs.input, [theirs.get_layer(names[f"P{n}"]).output for n in (2, 3, 4, 5)]),
        pictures(),
    )
    features = with_pyramid(backbone)
    levels = [level for level in features.pyramid if level.shape[1] <= 16]
    assert [level.shape[1] for level in levels] == [16, 8, 4, 2]
    x = pictures() / backbone.preprocessing.std[0]
    found = run(keras.Model(backbone.model.input, levels), x)
    for ours, level in zip(found, expected, strict=True):
        assert np.abs(level[0] - level[1]).mean() > 0.1 * np.abs(level).mean()
        np.testing.assert_allclose(ours, level, rtol=1e-4, atol=1e-5 * np.abs(level).max())
    pooled = run(backbone.model, x)
    np.testing.assert_allclose(pooled, expected[-1].mean((1, 2)), rtol=1e-4, atol=1e-4)
    backbone.model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(run(again, x), pooled)
    assert "keras_cv" not in json.dumps(backbone.model.get_config(), default=str)


@needs_keras_cv
def test_weights_that_are_damaged_or_of_other_sizes_are_an_error(presets, tmp_path):
    weights = presets["YOLOV8Backbone"][0] / "model.weights.h5"
    folder = write_config(tmp_path, "YOLOV8Backbone", stackwise_channels=[16, 24, 32, 64])
    for content in (weights.read_bytes(), b"damaged"):
        (tmp_path / "model.weights.h5").write_bytes(content)
        with pytest.raises(BackboneError, match="could not be loaded"):
            load_backbone(folder)


@needs_keras_cv
def test_weights_that_are_no_numbers_are_an_error(presets, tmp_path):
    _, network = presets["YOLOV8Backbone"]
    kernel = network.get_layer("stack2_downsample_conv").kernel
    before = kernel.numpy()
    kernel.assign(np.full(kernel.shape, np.nan))
    network.save_weights(tmp_path / "model.weights.h5")
    kernel.assign(before)
    with pytest.raises(BackboneError, match="stack2_downsample_conv/kernel"):
        load_backbone(write_config(tmp_path, "YOLOV8Backbone", activation="relu"))


@pytest.mark.parametrize("kind", FAMILIES)
def test_untrained_networks_and_their_preprocessing_need_no_keras_cv(kind, tmp_path):
    folder = write_config(tmp_path, kind, input_shape=[96, 96, 3])
    backbone = load_backbone(folder, weights="random")
    assert [group.name for group in backbone.groups] == STAGES
    contract = backbone.preprocessing
    assert (contract.size_px, contract.resize_px, contract.fit) == ((96, 96), 96, "crop")
    assert (contract.mean, contract.std, contract.antialias) == ((0.0,) * 3, (255.0,) * 3, False)
    assert load_backbone(folder, weights="random", image_size_px=64).preprocessing.size_px[0] == 64
    assert np.isfinite(run(backbone.model, np.ones((1, 96, 96, 3), "float32"))).all()


def test_without_keras_cv_weights_are_refused(tmp_path, monkeypatch):
    folder = write_config(tmp_path, "YOLOV8Backbone")
    monkeypatch.setattr("tltool.backbones.formats.presets.keras_cv.find_spec", lambda _: None)
    with pytest.raises(BackboneError, match="not installed") as error:
        load_backbone(folder)
    assert "tltool[cv]" in error.value.hint


@pytest.mark.parametrize("kind", [*ELSEWHERE, "VideoSwinBackbone", "MiTBackbone"])
def test_other_families_are_refused_and_their_like_is_named(kind, tmp_path):
    with pytest.raises(BackboneError, match=kind) as error:
        load_backbone(write_config(tmp_path, kind))
    if kind in ELSEWHERE:
        assert ELSEWHERE[kind] in error.value.hint
        names = [word.strip(",") for word in ELSEWHERE[kind].split()]
        known = [name for name in names if find_card(name) is not None]
        assert known, "a name that a recipe can have"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"include_rescaling": False}, "how its images were scaled is unknown"),
        ({"use_depthwise": True}, "use_depthwise is True"),
        ({"stackwise_depth": [1, 2]}, "does not say its sizes"),
        ({"stackwise_channels": [16, 24, 32, "x"]}, "does not say its sizes"),
        ({"activation": "os.system"}, "does not say its sizes"),
        ({"input_shape": [100, 100, 3]}, "multiple of 32"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(changes, named, tmp_path):
    with pytest.raises(BackboneError, match=named):
        load_backbone(write_config(tmp_path, "CSPDarkNetBackbone", **changes))


def test_options_that_do_not_apply_are_refused(tmp_path):
    folder = write_config(tmp_path, "CSPDarkNetBackbone")
    with pytest.raises(BackboneError, match="no dropout"):
        load_backbone(folder, dropout=0.1)
    with pytest.raises(BackboneError, match="takes image"):
        load_backbone(folder, modality="text")

"""Folders of timm: features equal those that timm itself computed (`benchmarks/parity.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from golden_folders import assert_features_are_golden, golden
from safetensors.numpy import load_file, save_file

from tltool.backbones import check
from tltool.backbones.load import load_backbone
from tltool.support.errors import BackboneError

GOLDEN = golden("timm")


def write_folder(folder, architecture, **changes):
    """A folder with the seeded weights that timm's own had."""
    case = GOLDEN[architecture]
    said = {**case["config"]["pretrained_cfg"], **changes}
    folder.mkdir(exist_ok=True)
    config = {**case["config"], "pretrained_cfg": said}
    check.write_seeded_folder(folder, {**case, "config": config})
    return str(folder)


@pytest.mark.parametrize("architecture", GOLDEN)
def test_features_are_timm_s_also_when_saved_and_loaded(architecture, tmp_path, capsys):
    case = GOLDEN[architecture]
    folder = write_folder(tmp_path, architecture)
    backbone = load_backbone(folder, image_size_px=case["load_size_px"])
    assert_features_are_golden(backbone, case, tmp_path)
    assert capsys.readouterr().out == ""


def test_preprocessing_is_what_timm_evaluates_with(tmp_path):
    folder = write_folder(tmp_path, "resnet18", crop_pct=0.95, mean=[0.5, 0.25, 0.0], std=[0.5] * 3)
    contract = load_backbone(folder).preprocessing
    assert contract.size_px == (224, 224)
    assert contract.resize_px == 235
    assert contract.fit == "crop"
    assert contract.antialias
    np.testing.assert_allclose(contract.mean, [127.5, 63.75, 0.0])
    np.testing.assert_allclose(contract.std, [127.5] * 3)
    assert load_backbone(folder, image_size_px=64).preprocessing.resize_px == 67


@pytest.mark.parametrize(
    "architecture",
    [
        "efficientnetv2_rw_t",
        "resnet50d",
        "seresnet50",
        "densenetblur121d",
        "swinv2_tiny_window8_256",
    ],
)
def test_architectures_that_would_be_computed_otherwise_are_refused(architecture, tmp_path):
    cfg = GOLDEN["resnet18"]["config"]["pretrained_cfg"]
    config = {"architecture": architecture, "pretrained_cfg": cfg}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=f"timm's '{architecture}', which is not known"):
        load_backbone(str(tmp_path))


def test_a_folder_that_does_not_say_how_images_are_scaled_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    with pytest.raises(BackboneError, match="how images are prepared"):
        load_backbone(str(tmp_path))


def test_missing_additional_and_misshapen_tensors_are_named(tmp_path):
    folder = Path(write_folder(tmp_path, "tf_mobilenetv3_small_100"))
    tensors = load_file(folder / "model.safetensors")
    key = "blocks.1.0.conv_pw.weight"
    changes = {
        f"lack the tensor '{key}'": {k: v for k, v in tensors.items() if k != key},
        "belong nowhere in the model, the first is 'extra.weight'": {
            **tensors, "extra.weight": tensors[key],
        },
        "does not fit": {**tensors, key: tensors[key][:-1]},
    }  # fmt: skip
    for message, changed in changes.items():
        save_file(changed, folder / "model.safetensors")
        with pytest.raises(BackboneError, match=message):
            load_backbone(str(folder))


def test_options_that_do_not_apply_are_refused(tmp_path):
    folder = write_folder(tmp_path, "vit_tiny_patch16_224")
    with pytest.raises(BackboneError, match="224 pixels only"):
        load_backbone(folder, image_size_px=256)
    with pytest.raises(BackboneError, match="takes images; max_length"):
        load_backbone(folder, max_length=16)
    assert load_backbone(folder, dropout=0.2).model.get_layer("embeddings_dropout").rate == 0.2
    other = write_folder(tmp_path / "other", "resnet18")
    with pytest.raises(BackboneError, match="no dropout"):
        load_backbone(other, dropout=0.2)


def test_untrained_has_the_architecture_and_other_weights(tmp_path):
    folder = write_folder(tmp_path, "tf_mobilenetv3_small_100")
    trained, fresh = load_backbone(folder), load_backbone(folder, weights="random")
    assert [v.path for v in trained.model.variables] == [v.path for v in fresh.model.variables]
    kernels = [b.model.get_layer("conv").kernel.numpy() for b in (trained, fresh)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01

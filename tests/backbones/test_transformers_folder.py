"""Folders of the transformers library: features equal those that it computed itself.

The expected features come from `benchmarks/parity.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from golden_folders import assert_features_are_golden, golden
from safetensors.numpy import load_file, save_file

import tltool
from tltool.backbones import check
from tltool.backbones.load import load_backbone
from tltool.backbones.networks.vit import resized_positions
from tltool.export.artifact import is_artifact
from tltool.recipe.recipe import Recipe
from tltool.support.errors import BackboneError

GOLDEN = golden("transformers")
WIDTH = 48


def write_folder(folder, model_type, /, *, prefix="", preprocessor=None, **changes):
    case = GOLDEN[model_type]
    check.write_seeded_folder(folder, {**case, "config": {**case["config"], **changes}})
    if prefix:
        tensors = load_file(folder / "model.safetensors")
        renamed = {prefix + key: value for key, value in tensors.items()}
        save_file(renamed, folder / "model.safetensors")
    if preprocessor is not None:
        own = {"size": 64, "resample": 2, **preprocessor}
        (folder / "preprocessor_config.json").write_text(json.dumps(own))
    return str(folder)


@pytest.mark.parametrize("prefix", ["", "model_type."])
@pytest.mark.parametrize("model_type", GOLDEN)
def test_features_are_those_of_the_library(model_type, prefix, tmp_path):
    # Task models put the name of the family before the names of its tensors.
    family = model_type.removesuffix("-v2").removeprefix("xlm-")
    prefix = prefix.replace("model_type", family)
    backbone = load_backbone(write_folder(tmp_path, model_type, prefix=prefix))
    assert_features_are_golden(backbone, GOLDEN[model_type], tmp_path)
    names = [group.name for group in backbone.groups]
    if model_type == "swin":
        assert names == ["stem", "stage1", "stage2", "stage3", "top"]
    elif model_type == "albert":
        assert names == ["embeddings", "block", "pooler"]
    else:
        assert names[:4] == ["embeddings", "block1", "block2", "block3"]


def test_heads_of_task_models_are_left_out(tmp_path):
    folder = Path(write_folder(tmp_path, "distilbert"))
    tensors = load_file(folder / "model.safetensors")
    head = np.zeros((WIDTH, WIDTH), "float32")
    save_file({**tensors, "pre_classifier.weight": head}, folder / "model.safetensors")
    load_backbone(str(folder))
    save_file({**tensors, "adapter.weight": head}, folder / "model.safetensors")
    with pytest.raises(BackboneError, match=r"the first is 'adapter\.weight'"):
        load_backbone(str(folder))


def test_a_vit_resizes_as_its_processor_says(tmp_path):
    said = {"size": {"height": 64, "width": 64}, "resample": 3, "image_mean": [0.4] * 3}
    contract = load_backbone(write_folder(tmp_path, "vit", preprocessor=said)).preprocessing
    assert (contract.fit, contract.interpolation) == ("stretch", "bicubic")
    assert contract.size_px == (64, 64)
    np.testing.assert_allclose(contract.mean, [102.0] * 3)
    np.testing.assert_allclose(contract.std, [127.5] * 3)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"size": 224}, "not the network's"),
        ({"do_center_crop": True}, "how large"),
        ({"size": {"height": 64, "width": 32}}, "not square"),
        ({"do_center_crop": True, "crop_size": 80}, "crop larger than the image"),
        ({"rescale_factor": 1 / 127.5}, "another scale"),
        ({"do_normalize": False}, "no normalisation"),
        ({"resample": 0}, "neither bilinear nor bicubic"),
    ],
)
def test_what_a_vit_cannot_do_is_refused(said, named, tmp_path):
    with pytest.raises(BackboneError, match=named):
        load_backbone(write_folder(tmp_path, "vit", preprocessor=said))


def test_dinov2_takes_crops_and_other_sizes_of_whole_patches(tmp_path):
    folder = write_folder(tmp_path, "dinov2")
    said = {"size": {"shortest_edge": 80}, "do_center_crop": True, "resample": 3}
    said["crop_size"] = {"height": 70, "width": 70}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    contract = load_backbone(folder).preprocessing
    assert (contract.fit, contract.size_px, contract.resize_px) == ("crop", (70, 70), 80)
    larger = load_backbone(folder, image_size_px=140)
    assert larger.preprocessing.size_px == (140, 140)
    assert larger.preprocessing.resize_px == 160
    assert larger.features.sequence.shape == (None, 101, WIDTH)
    with pytest.raises(BackboneError, match="patches of 14×14") as caught:
        load_backbone(folder, image_size_px=150)
    assert "154" in caught.value.hint


def test_positions_of_the_trained_size_stay_bit_for_bit():
    positions = np.random.default_rng(0).normal(size=(1, 26, 4)).astype("float32")
    np.testing.assert_array_equal(resized_positions(positions, 26, 1), positions[0])
    # How others are resized, the features of DINOv2 show; constants and the class token stay.
    flat = np.concatenate([positions[:, :1], np.full((1, 25, 4), 3.0)], axis=1)
    finer = resized_positions(flat, 101, 1)
    np.testing.assert_array_equal(finer[0], flat[0, 0])
    np.testing.assert_allclose(finer[1:], 3.0, atol=1e-6)


@pytest.mark.slow
def test_swin_is_trained_and_exported(tmp_path):
    (tmp_path / "swin").mkdir()
    folder = write_folder(tmp_path / "swin", "swin")
    tiny.write_images(tmp_path / "images", per_class=10)
    recipe = Recipe.of(
        task="image-classification",
        backbone=folder,
        data={"train": str(tmp_path / "images"), "test_fraction": 0.2},
        schedule=[
            {"train": "head", "solver": "exact"},
            {"train": {"from": "stage3"}, "epochs": 1, "learning_rate": 1e-4},
        ],
        evaluation={"baseline": False},
        export={"formats": ["saved_model", "litert"]},
        output_dir=str(tmp_path / "runs"),
    )
    run = tltool.finetune(recipe)
    assert run.metrics["test"]["accuracy"] == 1.0
    assert len([path for path in run.folder.exports.iterdir() if is_artifact(path)]) == 2
    image = next((tmp_path / "images" / "red").iterdir())
    command = [sys.executable, "-m", "tltool", "predict", str(run.path), str(image)]
    # Another process knows the layers of a saved model, too.
    predicted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert predicted.returncode == 0, predicted.stderr
    assert "red" in predicted.stdout


def test_windows_that_do_not_divide_a_map_are_refused(tmp_path):
    folder = write_folder(tmp_path, "swin", image_size=80)
    with pytest.raises(BackboneError, match="do not divide maps of 10"):
        load_backbone(folder)


def test_a_vit_without_a_word_on_its_preprocessing_is_refused(tmp_path):
    folder = Path(write_folder(tmp_path, "vit"))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BackboneError, match=r"preprocessor_config\.json cannot be read"):
        load_backbone(str(folder))


@pytest.mark.parametrize(
    ("model_type", "change", "named"),
    [
        ("vit", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("vit", {"qkv_bias": False}, "qkv_bias is False"),
        ("dinov2", {"use_swiglu_ffn": True}, "use_swiglu_ffn is True"),
        ("swin", {"use_absolute_embeddings": True}, "use_absolute_embeddings is True"),
        ("swin", {"window_size": None}, "lacks window_size"),
        ("distilbert", {"activation": "relu"}, "activation is 'relu'"),
        ("albert", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("albert", {"num_hidden_groups": 2}, "num_hidden_groups is 2"),
        ("albert", {"inner_group_num": 2}, "inner_group_num is 2"),
        ("electra", {"position_embedding_type": "relative_key"}, "relative_key"),
        ("bert", {"model_type": "mpnet"}, "model_type is 'mpnet'"),
    ],
)
def test_what_would_be_computed_differently_is_refused(model_type, change, named, tmp_path):
    with pytest.raises(BackboneError, match=named):
        load_backbone(write_folder(tmp_path, model_type, **change))


def test_sizes_and_options_that_do_not_apply_are_refused(tmp_path):
    folder = write_folder(tmp_path, "vit")
    with pytest.raises(BackboneError, match="64 pixels only"):
        load_backbone(folder, image_size_px=96)
    with pytest.raises(BackboneError, match="takes images; max_length"):
        load_backbone(folder, max_length=8)

"""Folders of timm: features equal those that timm itself computed (`benchmarks/parity.py`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tltool.backbones.applications import build_application
from tltool.backbones.load import load_backbone
from tltool.backbones.timm_names import find_twin
from tltool.backbones.torch_weights import tensor_names, torch_shape, weighted_layers
from tltool.data.images import normalize
from tltool.errors import BackboneError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "contenders"))
from seeded import seeded_levels, seeded_tensor  # noqa: E402  What both sides share.

GOLDEN = json.loads((ROOT / "tests" / "golden_timm.json").read_text(encoding="utf-8"))
TESTED = (
    "resnet18",
    "tf_efficientnet_b0",
    "tf_efficientnetv2_b0",
    "tf_mobilenetv3_small_100",
    "densenet121",
    "vgg16",
    "convnext_tiny",
    "vit_tiny_patch16_224",
)


def twin_shapes(architecture):
    twin = find_twin(architecture)
    network = build_application(twin.application, (64, 64), None, architecture)
    shapes = {}
    for name, layer in weighted_layers(network):
        prefix = twin.prefix(name)
        if prefix is not None:
            own = [torch_shape(layer, tuple(weight.shape)) for weight in layer.weights]
            shapes.update(zip(tensor_names(layer, prefix), own, strict=True))
    return shapes


def norm_shapes(prefix, width):
    return {f"{prefix}.{part}": (width,) for part in ("weight", "bias")}


def batch_norm_shapes(prefix, width):
    statistics = {f"{prefix}.{part}": (width,) for part in ("running_mean", "running_var")}
    return {**norm_shapes(prefix, width), **statistics}


def resnet18_shapes():
    shapes = {"conv1.weight": (64, 3, 7, 7), **batch_norm_shapes("bn1", 64)}
    entry = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, entry, 3, 3)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            shapes |= batch_norm_shapes(f"{name}.bn1", width)
            shapes |= batch_norm_shapes(f"{name}.bn2", width)
            if entry != width:
                shapes[f"{name}.downsample.0.weight"] = (width, entry, 1, 1)
                shapes |= batch_norm_shapes(f"{name}.downsample.1", width)
            entry = width
    return {**shapes, "fc.weight": (1000, 512), "fc.bias": (1000,)}


def vit_tiny_shapes():
    def dense(prefix, outputs, inputs):
        return {f"{prefix}.weight": (outputs, inputs), f"{prefix}.bias": (outputs,)}

    shapes = {"cls_token": (1, 1, 192), "pos_embed": (1, 197, 192), **norm_shapes("norm", 192)}
    shapes |= {"patch_embed.proj.weight": (192, 3, 16, 16), "patch_embed.proj.bias": (192,)}
    for index in range(12):
        block = f"blocks.{index}"
        shapes |= norm_shapes(f"{block}.norm1", 192) | norm_shapes(f"{block}.norm2", 192)
        shapes |= dense(f"{block}.attn.qkv", 576, 192) | dense(f"{block}.attn.proj", 192, 192)
        shapes |= dense(f"{block}.mlp.fc1", 768, 192) | dense(f"{block}.mlp.fc2", 192, 768)
    return shapes | dense("head", 1000, 192)


SHAPES = {"resnet18": resnet18_shapes, "vit_tiny_patch16_224": vit_tiny_shapes}


def write_folder(folder, architecture, **changes):
    """A folder with the seeded weights that timm's own had."""
    own = SHAPES.get(architecture)
    shapes = own() if own else twin_shapes(architecture)
    tensors = {key: seeded_tensor(key, shape) for key, shape in shapes.items()}
    folder.mkdir(exist_ok=True)
    save_file({key: value.astype("float32") for key, value in tensors.items()},
              folder / "model.safetensors")  # fmt: skip
    config = GOLDEN[architecture]["config"]
    config = {**config, "pretrained_cfg": {**config["pretrained_cfg"], **changes}}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize("architecture", TESTED)
def test_features_are_timm_s(architecture, tmp_path, capsys):
    golden = GOLDEN[architecture]
    size = golden["size_px"]
    backbone = load_backbone(write_folder(tmp_path, architecture), image_size_px=size)
    images = normalize(seeded_levels(3, size, size), backbone.preprocessing)
    features = np.asarray(backbone.model(images, training=False))
    chosen = features[:, :: features.shape[1] // 16]
    difference = np.abs(chosen - np.array(golden["features"])).max() / golden["largest"]
    assert difference < 1e-5
    assert capsys.readouterr().out == ""
    again = tmp_path / "saved.keras"
    backbone.model.save(again)
    loaded = keras.saving.load_model(again)
    np.testing.assert_array_equal(loaded(images, training=False), features)


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
        "swin_tiny_patch4_window7_224",
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

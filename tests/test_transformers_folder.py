"""Folders of the transformers library: features equal those that it computed itself.

The expected features come from `benchmarks/parity.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tltool.backbones.load import load_backbone
from tltool.data.images import normalize
from tltool.errors import BackboneError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "contenders"))
from seeded import seeded_levels, seeded_tensor, seeded_tokens  # noqa: E402  What both sides share.

GOLDEN = json.loads((ROOT / "tests" / "golden_transformers.json").read_text(encoding="utf-8"))
WIDTH, INNER, BLOCKS, WORDS, POSITIONS = 48, 96, 3, 60, 20


def dense(prefix, outputs, inputs):
    return {f"{prefix}.weight": (outputs, inputs), f"{prefix}.bias": (outputs,)}


def norm(prefix, width=WIDTH):
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def embedding_shapes(width=WIDTH, *, segments=True):
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, width),
        "embeddings.position_embeddings.weight": (POSITIONS, width),
        **norm("embeddings.LayerNorm", width),
    }
    if segments:
        shapes["embeddings.token_type_embeddings.weight"] = (2, width)
    return shapes


def bert_block(name):
    shapes = {}
    for part in ("attention.self.query", "attention.self.key", "attention.self.value"):
        shapes |= dense(f"{name}.{part}", WIDTH, WIDTH)
    shapes |= dense(f"{name}.attention.output.dense", WIDTH, WIDTH)
    shapes |= norm(f"{name}.attention.output.LayerNorm") | norm(f"{name}.output.LayerNorm")
    shapes |= dense(f"{name}.intermediate.dense", INNER, WIDTH)
    return shapes | dense(f"{name}.output.dense", WIDTH, INNER)


def distil_block(name):
    shapes = norm(f"{name}.sa_layer_norm") | norm(f"{name}.output_layer_norm")
    for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
        shapes |= dense(f"{name}.attention.{part}", WIDTH, WIDTH)
    shapes |= dense(f"{name}.ffn.lin1", INNER, WIDTH)
    return shapes | dense(f"{name}.ffn.lin2", WIDTH, INNER)


def vit_block(name):
    shapes = norm(f"{name}.layernorm_before") | norm(f"{name}.layernorm_after")
    for part in ("query", "key", "value"):
        shapes |= dense(f"{name}.attention.attention.{part}", WIDTH, WIDTH)
    shapes |= dense(f"{name}.attention.output.dense", WIDTH, WIDTH)
    shapes |= dense(f"{name}.intermediate.dense", INNER, WIDTH)
    return shapes | dense(f"{name}.output.dense", WIDTH, INNER)


def shapes_of(model_type):
    block, place = {
        "bert": (bert_block, "encoder.layer"),
        "electra": (bert_block, "encoder.layer"),
        "distilbert": (distil_block, "transformer.layer"),
        "vit": (vit_block, "encoder.layer"),
    }[model_type]
    shapes = {
        "bert": lambda: embedding_shapes() | dense("pooler.dense", WIDTH, WIDTH),
        "electra": lambda: embedding_shapes(32) | dense("embeddings_project", WIDTH, 32),
        "distilbert": lambda: embedding_shapes(segments=False),
        "vit": lambda: {
            "embeddings.cls_token": (1, 1, WIDTH),
            "embeddings.position_embeddings": (1, 17, WIDTH),
            "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, 16, 16),
            "embeddings.patch_embeddings.projection.bias": (WIDTH,),
            **norm("layernorm"),
        },
    }[model_type]()
    for index in range(BLOCKS):
        shapes |= block(f"{place}.{index}")
    return shapes


def write_folder(folder, model_type, /, *, prefix="", preprocessor=None, **changes):
    tensors = {
        prefix + key: seeded_tensor(key, shape).astype("float32")
        for key, shape in shapes_of(model_type).items()
    }
    save_file(tensors, folder / "model.safetensors")
    config = {**GOLDEN[model_type]["config"], **changes}
    (folder / "config.json").write_text(json.dumps(config))
    if model_type == "vit":
        own = {"size": 64, "resample": 2, **(preprocessor or {})}
        (folder / "preprocessor_config.json").write_text(json.dumps(own))
    else:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        words = special + [f"word{number}" for number in range(WORDS - len(special))]
        (folder / "vocab.txt").write_text("\n".join(words) + "\n")
        (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return str(folder)


def features_of(backbone):
    if backbone.preprocessing.kind == "image":
        inputs = np.asarray(normalize(seeded_levels(3, 64, 64), backbone.preprocessing))
    else:
        tokens, mask = (x.astype("int32") for x in seeded_tokens(WORDS))
        known = {"token_ids": tokens, "padding_mask": mask, "segment_ids": 0 * tokens}
        inputs = {name: known[name] for name in backbone.preprocessing.inputs}
    return inputs, np.asarray(backbone.model(inputs, training=False))


@pytest.mark.parametrize("prefix", ["", "model_type."])
@pytest.mark.parametrize("model_type", GOLDEN)
def test_features_are_those_of_the_library(model_type, prefix, tmp_path):
    # Task models put the name of the family before the names of its tensors.
    prefix = prefix.replace("model_type", model_type)
    backbone = load_backbone(write_folder(tmp_path, model_type, prefix=prefix))
    inputs, features = features_of(backbone)
    golden = GOLDEN[model_type]
    chosen = features[:, :: features.shape[1] // 16]
    assert np.abs(chosen - np.array(golden["features"])).max() / golden["largest"] < 1e-5
    again = tmp_path / "saved.keras"
    backbone.model.save(again)
    np.testing.assert_array_equal(keras.saving.load_model(again)(inputs), features)
    names = [group.name for group in backbone.groups]
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
        ({"do_center_crop": True}, "cropping"),
        ({"rescale_factor": 1 / 127.5}, "another scale"),
        ({"do_normalize": False}, "no normalisation"),
        ({"resample": 0}, "neither bilinear nor bicubic"),
    ],
)
def test_what_a_vit_cannot_do_is_refused(said, named, tmp_path):
    with pytest.raises(BackboneError, match=named):
        load_backbone(write_folder(tmp_path, "vit", preprocessor=said))


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
        ("distilbert", {"activation": "relu"}, "activation is 'relu'"),
        ("electra", {"position_embedding_type": "relative_key"}, "relative_key"),
        ("bert", {"model_type": "roberta"}, "model_type is 'roberta'"),
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

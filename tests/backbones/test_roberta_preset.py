"""KerasHub's RoBERTa: with weights of the transformers library it gives that one's features."""

from __future__ import annotations

import json
import shutil

import keras
import keras_hub
import numpy as np
import pytest
from byte_pairs import reference, trained_contract
from golden_folders import golden
from odd_texts import ODD_TEXTS
from roberta_folder import SIZE

from tltool.backbones.check import TOLERANCE, chosen_features, write_seeded_folder
from tltool.backbones.load import load_backbone
from tltool.backbones.seeded import seeded_tokens
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.support.errors import BackboneError

CASE = golden("transformers")["roberta"]


def write_preset(folder, *, size=SIZE, **options):
    """A small preset as KerasHub saves it, its vocabulary that of `trained_contract`."""
    folder.mkdir(exist_ok=True)
    contract = trained_contract(size)
    hub = keras_hub.models.RobertaBackbone(
        vocabulary_size=len(contract.vocabulary),
        num_layers=CASE["config"]["num_hidden_layers"],
        num_heads=CASE["config"]["num_attention_heads"],
        hidden_dim=CASE["config"]["hidden_size"],
        intermediate_dim=CASE["config"]["intermediate_size"],
        max_sequence_length=18,
    )
    hub.save_to_preset(str(folder))
    ids = {token: number for number, token in enumerate(contract.vocabulary)}
    keras_hub.models.RobertaTokenizer(ids, list(contract.merges), **options).save_to_preset(
        str(folder)
    )
    return hub, contract


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preset")
    return (folder, *write_preset(folder))


def test_features_are_those_of_the_transformers_library(tmp_path):
    folder = tmp_path / "transformers"
    folder.mkdir()
    write_seeded_folder(folder, CASE)
    other = load_backbone(str(folder)).model
    hub, _ = write_preset(tmp_path / "hub", size=CASE["config"]["vocab_size"])
    embeddings = [other.get_layer(f"{kind}_embedding") for kind in ("token", "position")]
    hub.get_layer("embeddings").set_weights([layer.get_weights()[0] for layer in embeddings])
    for layer in hub.layers:
        if layer.name == "embeddings_layer_norm" or layer.name.startswith("transformer_layer"):
            layer.set_weights(other.get_layer(layer.name).get_weights())
    hub.save_to_preset(str(tmp_path / "hub"))

    backbone = load_backbone(str(tmp_path / "hub"))
    assert [group.name for group in backbone.groups] == ["embeddings", "block1", "block2", "block3"]
    tokens, mask = seeded_tokens(CASE["config"]["vocab_size"])
    inputs = {"token_ids": tokens.astype("int32"), "padding_mask": mask.astype("int32")}
    first = np.asarray(backbone.model(inputs, training=False))
    # The library's features are of its pooler, which KerasHub's network leaves out.
    kernel, bias = other.get_layer("pooled_dense").get_weights()
    features = np.tanh(first @ kernel + bias)
    off = np.abs(chosen_features(features) - np.array(CASE["features"])).max()
    assert off / CASE["largest"] <= TOLERANCE


def test_what_is_loaded_is_what_was_saved(preset, tmp_path):
    folder, hub, _ = preset
    backbone = load_backbone(str(folder))
    tokens, mask = seeded_tokens(300)
    inputs = {"token_ids": tokens.astype("int32"), "padding_mask": mask.astype("int32")}
    own = np.asarray(hub(inputs, training=False))[:, 0]
    np.testing.assert_array_equal(np.asarray(backbone.model(inputs, training=False)), own)
    backbone.model.save(tmp_path / "saved.keras")
    loaded = keras.saving.load_model(tmp_path / "saved.keras")
    np.testing.assert_array_equal(np.asarray(loaded(inputs, training=False)), own)


def test_texts_are_split_as_gpt2_does(preset):
    folder, _, contract = preset
    own = load_backbone(str(folder)).preprocessing
    assert own == contract.model_copy(update={"max_length": 18})
    theirs = reference(own)
    ids = tokenizer_for(own)(list(ODD_TEXTS)).to_list()
    assert ids == [theirs.encode(text).ids for text in ODD_TEXTS]


def test_the_prefix_space_is_the_presets(tmp_path):
    write_preset(tmp_path, add_prefix_space=True)
    assert load_backbone(str(tmp_path)).preprocessing.add_prefix_space


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"unsplittable_tokens": ["<s>", "covid"]}, "splits texts at covid"),
        ({"class": "BertTokenizer"}, "RobertaBackbone with a BertTokenizer"),
        ({"without": "<unk>"}, "lacks <unk>"),
        ({"without": "!"}, "lacks 1 of the single bytes"),
        ({"rows": 20}, "but the model knows 20"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(change, named, preset, tmp_path):
    folder = tmp_path / "preset"
    shutil.copytree(preset[0], folder)
    tokenizer, network = folder / "tokenizer.json", folder / "config.json"
    words = folder / "assets" / "tokenizer" / "vocabulary.json"
    match change:
        case {"unsplittable_tokens": tokens}:
            content = json.loads(tokenizer.read_text())
            content["config"]["unsplittable_tokens"] = tokens
            tokenizer.write_text(json.dumps(content))
        case {"class": name}:
            tokenizer.write_text(tokenizer.read_text().replace("RobertaTokenizer", name))
        case {"without": token}:
            words.write_text(words.read_text().replace(f'"{token}":', '"other":'))
        case {"rows": rows}:
            content = json.loads(network.read_text())
            content["config"]["vocabulary_size"] = rows
            network.write_text(json.dumps(content))
    with pytest.raises(BackboneError, match=named):
        load_backbone(str(folder))

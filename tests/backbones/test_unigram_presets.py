"""KerasHub's presets with SentencePiece files: with weights of transformers, its features."""

from __future__ import annotations

import json
import shutil

import keras_hub
import numpy as np
import pytest
from golden_folders import golden
from unigram_folders import model_of

from tltool.backbones.check import TOLERANCE, chosen_features, write_seeded_folder
from tltool.backbones.load import load_backbone
from tltool.backbones.seeded import seeded_tensor, seeded_tokens
from tltool.graph.cut import cut_model
from tltool.model.freezing import plan_phases
from tltool.model.joining import apply_plan, join
from tltool.recipe.schema import HeadSection, Last, PhaseSection
from tltool.support.errors import BackboneError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

SIZES = {"num_layers": 3, "num_heads": 4, "hidden_dim": 48, "intermediate_dim": 96}
FAMILIES = {
    "albert": (
        keras_hub.models.AlbertBackbone,
        keras_hub.models.AlbertTokenizer,
        {"embedding_dim": 32, "max_sequence_length": 20},
    ),
    "xlm-roberta": (
        keras_hub.models.XLMRobertaBackbone,
        keras_hub.models.XLMRobertaTokenizer,
        {"max_sequence_length": 18},
    ),
    "deberta-v2": (
        keras_hub.models.DebertaV3Backbone,
        keras_hub.models.DebertaV3Tokenizer,
        {"max_sequence_length": 20, "bucket_size": 6},
    ),
}
# The first token's features of transformers 5.24 for `seeded_tensor` weights in a DeBERTa-v3 of
# these sizes, and the largest of all of them.
DEBERTA_LARGEST = 2.902245044708252
# fmt: off
DEBERTA = [
    [0.04557789, 1.230784, -0.1094454, -0.6059328, -0.2394005, -1.164765, 1.433483, 1.197914,
     -1.927298, -0.3671348, -0.1510432, 0.5815449, -0.3020323, 0.0980292, -0.05431531, 0.9725438],
    [0.5922949, 1.911249, -0.2137812, 0.3229108, -1.365998, -1.055895, 0.8637916, 0.8327494,
     -1.631869, -0.2758862, 1.220801, 0.08959502, -1.855138, -0.5296125, -0.02894596, -0.8365426],
    [-0.6226035, 1.778733, 0.6779912, 0.2561472, -0.305725, 0.4036604, 1.238055, 0.469876,
     -2.002613, -0.2927742, -0.5924852, 0.2657891, -0.7422882, 0.5303501, -1.048772, -0.07174245],
]
# fmt: on
DEBERTA_PARTS = {
    "query": "attention.self.query_proj",
    "key": "attention.self.key_proj",
    "value": "attention.self.value_proj",
    "attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
    "token_embedding": "embeddings.word_embeddings",
    "embeddings_layer_norm": "embeddings.LayerNorm",
    "rel_embedding": "encoder.rel_embeddings",
    "rel_embeddings_layer_norm": "encoder.LayerNorm",
}


def write_preset(folder, family, rows, **options):
    network, tokenizer, extra = FAMILIES[family]
    hub = network(vocabulary_size=rows, **SIZES, **extra)
    hub.save_to_preset(str(folder))
    spm = model_of(family).SerializeToString()
    tokenizer(proto=spm, **options).save_to_preset(str(folder))
    return hub


def load_small(folder, family, rows):
    """With fewer rows than tokens: the network alone is looked at."""
    assets = folder / "assets" / "tokenizer" / "vocabulary.spm"
    message = model_of(family).__class__()
    message.CopyFrom(model_of(family))
    del message.pieces[rows - 2 :]
    assets.write_bytes(message.SerializeToString())
    return load_backbone(str(folder))


def features_of(backbone, rows):
    tokens, mask = seeded_tokens(rows)
    known = {"token_ids": tokens, "padding_mask": mask, "segment_ids": 0 * tokens}
    inputs = {name: known[name].astype("int32") for name in backbone.preprocessing.inputs}
    return np.asarray(backbone.model(inputs, training=False))


def copy_weights(hub, other):
    """From our network, which has the same layers by other names, to KerasHub's."""
    names = {"embedding_projection": "embeddings_project", "group_0_inner_layer_0": None}
    for layer in hub.layers:
        if layer.name == "embeddings":
            both = [other.get_layer(f"{kind}_embedding") for kind in ("token", "position")]
            layer.set_weights([layer.get_weights()[0] for layer in both])
        elif layer.weights:
            name = names.get(layer.name, layer.name) or "transformer_layer_0"
            layer.set_weights(other.get_layer(name).get_weights())


@pytest.mark.parametrize("family", ["albert", "xlm-roberta"])
def test_features_are_those_of_the_transformers_library(family, tmp_path):
    case = golden("transformers")[family]
    (tmp_path / "transformers").mkdir()
    write_seeded_folder(tmp_path / "transformers", case)
    other = load_backbone(str(tmp_path / "transformers")).model
    hub = write_preset(tmp_path / "hub", family, 60)
    copy_weights(hub, other)
    hub.save_to_preset(str(tmp_path / "hub"))
    backbone = load_small(tmp_path / "hub", family, 60)
    features = features_of(backbone, 60)
    if family == "xlm-roberta":
        # The library's features are of its pooler, which KerasHub's network leaves out.
        kernel, bias = other.get_layer("pooled_dense").get_weights()
        features = np.tanh(features @ kernel + bias)
    off = np.abs(chosen_features(features) - np.array(case["features"])).max()
    assert off / case["largest"] <= TOLERANCE


def fill_deberta(hub):
    """Seeded weights, by the names of the library's tensors."""
    for variable in hub.weights:
        *parents, layer, leaf = variable.path.split("/")
        block = parents[0].rpartition("_")[2] if parents else ""
        part = f"encoder.layer.{block}." if block.isdigit() else ""
        key = f"{part}{DEBERTA_PARTS[layer]}.{'bias' if leaf in {'bias', 'beta'} else 'weight'}"
        shape = tuple(variable.shape)
        if leaf == "kernel":  # torch keeps it transposed, and all heads in one axis.
            value = seeded_tensor(key, (int(np.prod(shape[1:])), shape[0])).T
        else:
            value = seeded_tensor(key, shape if "embedding" in leaf else (int(np.prod(shape)),))
        variable.assign(value.reshape(shape))


def test_debertas_features_are_those_of_the_transformers_library(tmp_path):
    hub = write_preset(tmp_path, "deberta-v2", 60)
    fill_deberta(hub)
    hub.save_to_preset(str(tmp_path))
    features = features_of(load_small(tmp_path, "deberta-v2", 60), 60)
    off = np.abs(chosen_features(features) - np.array(DEBERTA)).max()
    assert off / DEBERTA_LARGEST <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_is_that_of_the_transformers_library(family, tmp_path):
    from unigram_folders import converted

    from tltool.data.texts.tokenizers.unigram import UnigramTokenizer

    write_preset(tmp_path, family, 500)
    contract = load_backbone(str(tmp_path)).preprocessing
    texts = ["unaffable words, 1,000 and 11,", "  (a.b-c)  ﬁ ½  ", "UNAFFABLE É"]
    theirs = converted(family)
    if family == "albert":  # Its vocabulary has capitals and accents, see below.
        assert contract.steps == ("quotes", "character_map")
        texts = texts[:2]
    ids = UnigramTokenizer(contract)(texts).to_list()
    assert ids == [encoding.ids for encoding in theirs.encode_batch(texts)]


def test_an_albert_whose_vocabulary_has_no_capitals_lowers(tmp_path):
    write_preset(tmp_path, "albert", 500)
    message = model_of("albert").__class__()
    message.CopyFrom(model_of("albert"))
    plain = [p for p in message.pieces if p.type != 1 or p.piece.isascii() or p.piece == "▁"]
    plain = [p for p in plain if p.type != 1 or p.piece == p.piece.lower()]
    del message.pieces[:]
    message.pieces.extend(plain)
    (tmp_path / "assets" / "tokenizer" / "vocabulary.spm").write_bytes(message.SerializeToString())
    steps = load_backbone(str(tmp_path)).preprocessing.steps
    assert steps == ("quotes", "strip_accents", "lowercase", "character_map")


@pytest.mark.parametrize(("family", "blocks"), [("albert", 1), ("xlm-roberta", 3)])
def test_it_is_cut_and_computes_the_same(family, blocks, tmp_path):
    write_preset(tmp_path, family, 500)
    backbone = load_backbone(str(tmp_path))
    names = [group.name for group in backbone.groups]
    assert sum(name.startswith("block") for name in names) == blocks
    assert_cut_computes_the_same(backbone, Last(last=1))


def test_deberta_is_cut_and_computes_the_same(tmp_path):
    write_preset(tmp_path, "deberta-v2", 500)
    backbone = load_backbone(str(tmp_path))
    assert [g.name for g in backbone.groups] == ["embeddings", "block1", "block2", "block3"]
    assert_cut_computes_the_same(backbone, Last(last=1))


def assert_cut_computes_the_same(backbone, train):
    transfer = join(
        backbone, HeadSection(), Task(TASKS["text-classification"], ClassTarget(("a", "b")))
    )
    (plan,) = plan_phases((PhaseSection(train=train),), transfer.groups, "text")
    apply_plan(transfer.model, plan)
    cut = cut_model(transfer.model, plan.trainable)
    tokens, mask = seeded_tokens(60)
    known = {"token_ids": tokens, "padding_mask": mask, "segment_ids": 0 * tokens}
    x = {name: known[name].astype("int32") for name in backbone.preprocessing.inputs}
    found = cut.rest(cut.prefix(x), training=False)
    np.testing.assert_array_equal(found, transfer.model(x, training=False))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"add_bos": True}, "add_bos"),
        ({"class": "BertTokenizer"}, "XLMRobertaBackbone with a BertTokenizer"),
        ({"rows": 20}, "but the model knows 20"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(change, named, tmp_path):
    write_preset(tmp_path, "xlm-roberta", 500)
    tokenizer, network = tmp_path / "tokenizer.json", tmp_path / "config.json"
    match change:
        case {"add_bos": value}:
            content = json.loads(tokenizer.read_text())
            content["config"]["add_bos"] = value
            tokenizer.write_text(json.dumps(content))
        case {"class": name}:
            tokenizer.write_text(tokenizer.read_text().replace("XLMRobertaTokenizer", name))
        case {"rows": rows}:
            content = json.loads(network.read_text())
            content["config"]["vocabulary_size"] = rows
            network.write_text(json.dumps(content))
    with pytest.raises(BackboneError, match=named):
        load_backbone(str(tmp_path))


def test_albert_of_several_groups_is_refused(tmp_path):
    write_preset(tmp_path, "albert", 500)
    shutil.rmtree(tmp_path / "assets")
    network, tokenizer, extra = FAMILIES["albert"]
    hub = network(vocabulary_size=500, **{**SIZES, "num_layers": 2}, **extra, num_groups=2)
    hub.save_to_preset(str(tmp_path))
    tokenizer(proto=model_of("albert").SerializeToString()).save_to_preset(str(tmp_path))
    with pytest.raises(BackboneError, match="group_1_inner_layer_0"):
        load_backbone(str(tmp_path))

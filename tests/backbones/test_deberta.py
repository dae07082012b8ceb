"""DeBERTa of transformers: what makes it exact, that it is cut, trained and exported."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from cached_fit import ALWAYS, BACKBONES, fit
from golden_folders import golden
from safetensors.numpy import load_file, save_file
from test_transformers_folder import write_folder

import tltool
from tltool.backbones.base import Backbone, Features
from tltool.backbones.check import check_family, seeded_features, seeded_tokens
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.load import load_backbone
from tltool.backbones.networks import deberta, disentangled
from tltool.backbones.networks.disentangled import DisentangledAttention, position_buckets
from tltool.backbones.networks.layers import FirstToken
from tltool.export.artifact import is_artifact
from tltool.graph.cut import cut_model
from tltool.model.freezing import plan_phases
from tltool.model.joining import apply_plan, join, precision_scope
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import CacheSection, HeadSection, Last, PhaseSection
from tltool.support.errors import BackboneError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

NAME = "deberta-v2"
WIDTH, BUCKETS, DISTANCE = 48, 6, 20
TASK = Task(TASKS["text-classification"], ClassTarget(("a", "b")))


def inputs(tokens=12):
    ids, mask = (x.astype("int32") for x in seeded_tokens(60))
    pad = ((0, 0), (0, max(tokens - 12, 0)))
    return {
        "token_ids": np.pad(ids[:, :tokens], pad),
        "padding_mask": np.pad(mask[:, :tokens], pad),
    }


def test_buckets_are_those_of_the_paper():
    # Half of them one position each, then ever wider up to the farthest position (v3: 256, 512).
    rows = position_buckets(256, 512)
    zero = 512
    assert list(rows[zero - 3 : zero + 4] - 256) == [-3, -2, -1, 0, 1, 2, 3]
    assert list(rows[[zero + 128, zero + 129, zero + 511, zero - 511, 0]]) == [384, 385, 511, 1, 0]
    assert (np.diff(rows) >= 0).all()
    shared = np.bincount(rows[zero:])[256:]
    assert set(shared[:128]) == {1}
    assert shared[-3:].min() > 3


def linear(buckets, distance):
    return np.clip(np.arange(-distance, distance) + buckets, 0, 2 * buckets - 1).astype("int32")


def without_relative_norm(monkeypatch):
    class Norm(keras.layers.LayerNormalization):
        def call(self, x):
            return x if self.name == "relative_norm" else super().call(x)

    monkeypatch.setattr(deberta.layers, "LayerNormalization", Norm)


BREAKS = {
    "buckets of one width": lambda m: m.setattr(disentangled, "position_buckets", linear),
    "places counted the other way": lambda m: m.setattr(
        disentangled, "position_buckets", lambda *sizes: position_buckets(*sizes)[::-1]
    ),
    "no norm of the relative embeddings": without_relative_norm,
    "scores scaled as BERT's": lambda m: m.setattr(disentangled, "SCORE_TERMS", 1),
}


@pytest.mark.parametrize("name", [None, *BREAKS])
def test_each_peculiarity_counts(name, monkeypatch):
    if name is not None:
        BREAKS[name](monkeypatch)
    result = check_family(NAME)
    assert result.error is None
    assert result.passed == (name is None), result
    assert name is None or result.difference > 1e-3


def attended_pair_by_pair(layer, x, positions, mask):
    """Equation 4 of the paper, a score at a time; for real tokens."""
    weights = {w.path.rpartition("attention/")[2]: np.asarray(w) for w in layer.weights}

    def project(values, name):
        kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
        return np.einsum("...c,chd->...hd", values, kernel) + bias

    query, key, value = (project(x, name) for name in ("query", "key", "value"))
    position_query, position_key = (project(positions, name) for name in ("query", "key"))
    batch, tokens, heads, size = query.shape
    scores = np.full((batch, heads, tokens, tokens), -np.inf)
    for b, h, i, j in np.ndindex(scores.shape):
        if mask[b, j]:
            place = i - j + tokens - 1
            q, k = query[b, i, h], key[b, j, h]
            total = q @ k + q @ position_key[place, h] + k @ position_query[place, h]
            scores[b, h, i, j] = total / np.sqrt(3 * size)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = np.einsum("bhij,bjhd->bihd", shares, value)
    output = np.einsum("bihd,hdc->bic", mixed, weights["attention_output/kernel"])
    return output + weights["attention_output/bias"]


@pytest.mark.parametrize("tokens", [2, 5, 50])
def test_attention_is_the_papers_for_every_pair_of_tokens(tokens):
    rng = np.random.default_rng(0)
    layer = DisentangledAttention(2, kernel_initializer="random_normal", name="attention")
    relative = disentangled.RelativePositions(8, BUCKETS, DISTANCE, "random_normal")
    x = rng.normal(size=(2, tokens, 8)).astype("float32")
    mask = np.ones((2, tokens), "int32")
    mask[1, -1] = 0
    positions = relative(mask)
    assert positions.shape == (1, 2 * tokens, 8)
    places = np.clip(np.arange(1 - tokens, tokens + 1), -DISTANCE, DISTANCE - 1) + DISTANCE
    rows = position_buckets(BUCKETS, DISTANCE)[places]
    np.testing.assert_array_equal(positions[0], np.asarray(relative.embeddings)[rows])
    found = np.asarray(layer(x, positions, mask))
    for weight in layer.weights:  # Biases that are not zero, too.
        weight.assign(rng.normal(0, 0.5, weight.shape))
    found = np.asarray(layer(x, positions, mask))
    expected = attended_pair_by_pair(layer, x, np.asarray(positions[0]), mask)
    real = mask.astype(bool)
    np.testing.assert_allclose(found[real], expected[real], atol=1e-5)


def test_padding_changes_nothing_and_any_length_goes(tmp_path):
    model = load_backbone(write_folder(tmp_path, NAME)).model
    expected = np.asarray(model(inputs()))
    # Longer than the positions that a bucket is made for.
    np.testing.assert_allclose(np.asarray(model(inputs(40))), expected, atol=1e-5)


def test_a_task_models_pooler_is_taken_and_what_training_left_is_not(tmp_path):
    folder = write_folder(tmp_path, NAME, prefix="deberta.")
    plain = seeded_features(load_backbone(folder))
    tensors = load_file(tmp_path / "model.safetensors")
    rng = np.random.default_rng(0)
    dense = {
        "pooler.dense.weight": rng.normal(size=(WIDTH, WIDTH)).astype("float32"),
        "pooler.dense.bias": rng.normal(size=WIDTH).astype("float32"),
    }
    left = dict.fromkeys(
        [
            "deberta.embeddings.position_embeddings.weight",
            "classifier.weight",
            "lm_predictions.lm_head.bias",
            "mask_predictions.dense.weight",
        ],
        np.zeros(3, "float32"),
    )
    save_file({**tensors, **left}, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(seeded_features(load_backbone(folder)), plain)
    save_file({**tensors, **dense, **left}, tmp_path / "model.safetensors")
    backbone = load_backbone(folder)
    hidden = plain @ dense["pooler.dense.weight"].T + dense["pooler.dense.bias"]
    expected = keras.activations.gelu(hidden, approximate=False)
    np.testing.assert_allclose(seeded_features(backbone), expected, rtol=1e-4, atol=1e-4)
    assert [group.name for group in backbone.groups][-1] == "pooler"


def test_half_precision_weights_are_read(tmp_path):
    folder = write_folder(tmp_path, NAME)
    plain = seeded_features(load_backbone(folder))
    tensors = load_file(tmp_path / "model.safetensors")
    halves = {key: value.astype("float16") for key, value in tensors.items()}
    save_file(halves, tmp_path / "model.safetensors")
    features = seeded_features(load_backbone(folder))
    assert 0 < np.abs(features - plain).max() < 0.05


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_does_not_overflow(precision, tmp_path):
    folder = write_folder(tmp_path, NAME)
    plain = seeded_features(load_backbone(folder))
    with precision_scope(precision):
        mixed = load_backbone(folder)
    assert mixed.model.get_layer("transformer_layer_0").compute_dtype == precision[6:]
    # Scores as large as they get, and a text of padding alone.
    kernel = mixed.model.get_layer("transformer_layer_2").attention.query.kernel
    features = seeded_features(mixed)
    np.testing.assert_allclose(features.astype("float32"), plain, atol=0.1)
    kernel.assign(kernel * 300)
    empty = {**inputs(), "padding_mask": 0 * inputs()["padding_mask"]}
    for batch in (inputs(), empty):
        assert np.isfinite(np.asarray(mixed.model(batch)).astype("float32")).all()


def test_every_weight_learns(tmp_path):
    model = load_backbone(write_folder(tmp_path, NAME)).model
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs(), training=True) ** 2)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path


@pytest.mark.parametrize("last", [1, 2])
def test_a_cut_between_blocks_takes_the_relative_embeddings_to_both_sides(last, tmp_path):
    transfer = join(load_backbone(write_folder(tmp_path, NAME)), HeadSection(), TASK)
    (plan,) = plan_phases((PhaseSection(train=Last(last=last)),), transfer.groups, "text")
    apply_plan(transfer.model, plan)
    cut = cut_model(transfer.model, plan.trainable)
    # One row an example; the relative embeddings are no such thing.
    assert cut.describe() == f"padding_mask, transformer_layer_{2 - last}"
    assert {"relative_positions", "relative_norm"} <= cut.layers
    assert {v.path for v in cut.rest.trainable_variables} == plan.trainable
    batch = inputs()
    expected = transfer.model(batch, training=False)
    np.testing.assert_array_equal(cut.rest(cut.prefix(batch), training=False), expected)
    np.testing.assert_array_equal(cut.joined(batch, training=False), expected)


def test_nothing_above_relative_embeddings_that_learn_is_cut_off(tmp_path):
    transfer = join(load_backbone(write_folder(tmp_path, NAME)), HeadSection(), TASK)
    (plan,) = plan_phases((PhaseSection(train=("relative_norm/*",)),), transfer.groups, "text")
    apply_plan(transfer.model, plan)
    cut = cut_model(transfer.model, plan.trainable)
    assert "transformer_layer_0" not in cut.layers
    assert "relative_norm" not in cut.layers


def write_tiny_folder(folder):
    """With the vocabulary of `tiny.texts`."""
    write_folder(folder, NAME)
    words = [*tiny.TINY_TEXT.vocabulary]
    words += [f"word{i}" for i in range(60 - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return str(folder)


def recipe_of(folder, output, *phases, **sections):
    return Recipe.of(
        task="text-classification",
        backbone=folder,
        data={"test_fraction": 0.2},
        schedule=list(phases),
        evaluation={"baseline": False},
        output_dir=str(output),
        **sections,
    )


HEAD = {"train": "head", "solver": "exact"}
PHASES = (HEAD, {"train": {"last": 1}, "epochs": 2, "learning_rate": 1e-3})


def tiny_deberta():
    contract = tiny.TINY_TEXT.model_copy(update={"inputs": ("token_ids", "padding_mask")})
    sizes = deberta.DebertaShape(len(contract.vocabulary), 16, 3, 2, 32, BUCKETS, DISTANCE)
    entries, sequence = deberta.build_deberta(sizes, dropout=0.1)
    model = keras.Model(entries, FirstToken(name="pooled")(sequence))
    groups = group_layers(model, GROUP_RULES["deberta"], "tiny-deberta")
    features = Features(pooled=model.output, sequence=sequence, mask=entries["padding_mask"])
    return Backbone("tiny-deberta", model, features, groups, contract)


@pytest.mark.slow
def test_training_on_stored_features_is_training_on_texts(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "bert", tiny_deberta)
    phases = ({"train": Last(last=1), "epochs": 1, "learning_rate": 0.003},)
    stored, with_cache, said, _ = fit("bert", tmp_path, phases, ALWAYS, validate=False)
    anew, without, _, _ = fit("bert", tmp_path, phases, CacheSection(use="never"), validate=False)
    assert "computed once" in said[0]
    for path, value in anew.items():
        np.testing.assert_allclose(stored[path], value, atol=2e-5, err_msg=path)
    for row, other in zip(with_cache, without, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-5)


@pytest.mark.slow
def test_it_is_trained_exported_and_loaded_by_another_process(tmp_path):
    folder = write_tiny_folder(tmp_path)
    recipe = recipe_of(folder, tmp_path / "runs", *PHASES)
    run = tltool.finetune(recipe, data=tiny.texts(120))
    # The gate compares both with the trained model; LiteRT takes built-in operations alone.
    assert len([path for path in run.folder.exports.iterdir() if is_artifact(path)]) == 2
    command = [sys.executable, "-m", "tltool", "predict", str(run.path), "good film"]
    predicted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert predicted.returncode == 0, predicted.stderr
    assert "positive" in predicted.stdout


@pytest.mark.slow
def test_lora_adapts_queries_and_values(tmp_path):
    folder = write_tiny_folder(tmp_path)
    before = {v.path: v.numpy() for v in load_backbone(folder).model.weights}
    phase = {"train": "lora", "rank": 2, "epochs": 1, "learning_rate": 1e-2}
    recipe = recipe_of(folder, tmp_path / "runs", HEAD, phase, export={"formats": []})
    after = {v.path: v.numpy() for v in tltool.finetune(recipe, data=tiny.texts(60)).model.weights}
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert len(changed) == 6
    assert all(path.endswith(("/query/kernel", "/value/kernel")) for path in changed)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"conv_kernel_size": 3}, "conv_kernel_size is 3.*xlarge"),
        ({"position_biased_input": True}, "absolute positions"),
        ({"relative_attention": False}, "relative_attention is False"),
        ({"share_att_key": False}, "share_att_key is False"),
        ({"norm_rel_ebd": "none"}, "without a norm"),
        ({"pos_att_type": ["c2p"]}, "pos_att_type is 'c2p'"),
        ({"type_vocab_size": 2}, "segments"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"pooler_hidden_act": "tanh"}, "pooler_hidden_act is 'tanh'"),
        ({"embedding_size": 24}, "embedding_size is 24"),
        ({"position_buckets": -1}, "position_buckets -1 for 20 positions"),
        ({"position_buckets": None}, "lacks position_buckets"),
    ],
)
def test_other_configurations_are_refused_with_the_reason(change, named, tmp_path):
    with pytest.raises(BackboneError, match=named):
        load_backbone(write_folder(tmp_path, NAME, **change))


@pytest.mark.parametrize("missing", ["relative_attention", "share_att_key", "norm_rel_ebd"])
def test_what_is_not_said_is_not_taken_for_granted(missing, tmp_path):
    folder = write_folder(tmp_path, NAME)
    config = dict(golden("transformers")[NAME]["config"])
    del config[missing]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=f"{missing} is"):
        load_backbone(folder)


def test_a_saved_model_computes_the_same_at_any_length(tmp_path):
    backbone = load_backbone(write_folder(tmp_path, NAME))
    backbone.model.save(tmp_path / "saved.keras")
    again = SimpleNamespace(
        model=keras.saving.load_model(tmp_path / "saved.keras"),
        preprocessing=backbone.preprocessing,
    )
    np.testing.assert_array_equal(seeded_features(again), seeded_features(backbone))
    np.testing.assert_array_equal(again.model(inputs(30)), backbone.model(inputs(30)))

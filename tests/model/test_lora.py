"""LoRA, biases only, norms only: what is asked for trains, and the export is what was trained."""

from __future__ import annotations

import cached_fit
import keras
import numpy as np
import presets
import pytest
import tiny

import tltool
from tltool.backbones.load import load_backbone
from tltool.data.examples import Examples
from tltool.data.texts.tokenizing import tokenized
from tltool.features.cache import Boundary, FeatureCache
from tltool.features.store import FeatureStore
from tltool.graph.cut import cut_model
from tltool.model.lora import add_adapters, merge_adapters
from tltool.recipe.recipe import Recipe
from tltool.support.errors import PlanError


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("lora")
    presets.write_text_preset(root / "bert")
    presets.write_image_preset(root / "resnet")
    return root


def batch():
    ids = np.random.default_rng(0).integers(5, 12, (3, 8)).astype("int32")
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    return {"token_ids": ids * mask, "padding_mask": mask, "segment_ids": 0 * ids}


def weights_of(model):
    """By path, without random seeds, whose paths count what the process made before."""
    return {v.path: v.numpy() for v in model.variables if "seed" not in v.path}


def scatter_adapters(model):
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if variable.name.startswith("lora_kernel"):
            variable.assign(rng.normal(0, 0.3, variable.shape))


def test_adapters_begin_as_nothing_and_belong_to_the_group_of_their_kernel(places):
    plain = load_backbone(str(places / "bert"))
    adapted = add_adapters(load_backbone(str(places / "bert")), rank=4)
    np.testing.assert_array_equal(adapted.model(batch()), plain.model(batch()))
    # Two blocks, queries and values, two matrices each.
    new = [v.path for v in adapted.model.variables if v.name.startswith("lora_kernel")]
    assert len(set(new)) == len(new) == 8
    held = {g.name: [v.path for v in g.variables if v.path in new] for g in adapted.groups}
    assert {name: len(paths) for name, paths in held.items()} == {
        "embeddings": 0, "block1": 4, "block2": 4, "pooler": 0,
    }  # fmt: skip
    assert all("transformer_layer_0/" in path for path in held["block1"])


def test_merged_adapters_compute_the_same_and_leave_no_trace(places, tmp_path):
    plain = load_backbone(str(places / "bert"))
    adapted = add_adapters(load_backbone(str(places / "bert")), rank=4)
    scatter_adapters(adapted.model)
    before = np.asarray(adapted.model(batch()))
    assert np.abs(before - np.asarray(plain.model(batch()))).max() > 0.01
    merge_adapters(adapted.model)
    np.testing.assert_allclose(np.asarray(adapted.model(batch())), before, atol=1e-5)
    assert list(weights_of(adapted.model)) == list(weights_of(plain.model))
    adapted.model.save(tmp_path / "merged.keras")
    again = keras.saving.load_model(tmp_path / "merged.keras")
    np.testing.assert_array_equal(again(batch()), adapted.model(batch()))


def test_a_network_without_attention_is_refused(places):
    with pytest.raises(PlanError, match="has no attention layers") as caught:
        add_adapters(load_backbone(str(places / "resnet")), rank=4)
    assert "*/bias" in caught.value.hint


def recipe_of(places, folder, *phases, **sections):
    return Recipe.of(
        task="text-classification",
        backbone=str(places / "bert"),
        data={"test_fraction": 0.2},
        schedule=list(phases),
        evaluation={"baseline": False},
        export={"formats": []},
        output_dir=str(folder),
        **sections,
    )


HEAD = {"train": "head", "epochs": 1, "learning_rate": 1e-2}
# What trains beside the head, and the weights of the backbone that may then differ.
WAYS = {
    "lora": ({"train": "lora", "rank": 4}, ("/query/kernel", "/value/kernel")),
    "biases": ({"train": ["*/bias"]}, ("/bias",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["lora", "biases"])
def test_only_what_was_asked_for_changes_and_the_export_is_what_was_trained(way, places, tmp_path):
    chosen, endings = WAYS[way]
    phase = {**chosen, "epochs": 2, "learning_rate": 1e-2}
    run = tltool.finetune(recipe_of(places, tmp_path, HEAD, phase), data=tiny.texts(120))
    before = weights_of(load_backbone(str(places / "bert")).model)
    after = weights_of(run.model)
    assert set(before) <= set(after)
    assert not any("lora" in path for path in after)
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed
    assert all(path.endswith(endings) for path in changed)
    for form in ("litert", "saved_model"):
        assert run.export(form, data=tiny.texts(24, seed=1)).exists()


@pytest.mark.slow
def test_lora_in_mixed_precision_is_exported_in_float32(places, tmp_path):
    phase = {"train": "lora", "rank": 4, "epochs": 1, "learning_rate": 1e-2}
    recipe = recipe_of(places, tmp_path, phase, training={"precision": "mixed_bfloat16"})
    run = tltool.finetune(recipe, data=tiny.texts(60))
    assert {layer.compute_dtype for layer in run.model.layers} == {"float32"}
    assert run.export("litert", data=tiny.texts(24, seed=1)).exists()


def test_the_plan_counts_adapters_and_head_alone(places, tmp_path):
    recipe = recipe_of(places, tmp_path, HEAD, {"train": "lora", "rank": 4}, {"train": "all"})
    head, lora, everything = tltool.plan(recipe, data=tiny.texts(60))
    # For queries and values of two blocks: a is (32, 2 heads, rank), b is (rank, 16).
    assert lora.num_trainable - head.num_trainable == 2 * 2 * (32 * 2 * 4 + 4 * 16)
    assert lora.title == "LoRA of rank 4"
    assert not any("lora" in path for path in everything.trainable)


def test_two_ranks_are_refused(places, tmp_path):
    phases = [{"train": "lora", "rank": 4}, {"train": "lora", "rank": 8}]
    with pytest.raises(PlanError, match=r"ranks \[4, 8\]"):
        tltool.plan(recipe_of(places, tmp_path, *phases), data=tiny.texts(60))


def test_adapters_that_do_nothing_yet_leave_stored_features_as_they_are(places, tmp_path):
    """Without LoRA, or with other random matrices, the frozen layers give the same."""
    texts, labels = tiny.texts(40)
    origins = [f"row {i}" for i in range(40)]
    rows = tokenized(Examples("text", texts, labels, ["train"] * 40, origins), tiny.TINY_TEXT)
    said = cached_fit.Notes()

    def serve(rank=None, seed=0, trained=False):
        # KerasHub's BERT has an operation whose name counts those of the process.
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(seed)
        backbone = load_backbone(str(places / "bert"))
        if rank is not None:
            backbone = add_adapters(backbone, rank)
        if trained:
            scatter_adapters(backbone.model)
        model = keras.Model(backbone.model.input, keras.layers.Dense(2)(backbone.features.pooled))
        cut = cut_model(model, {v.path for v in model.layers[-1].variables})
        store = FeatureStore(tmp_path / "features")
        cache = FeatureCache(
            cached_fit.ALWAYS, rows, backbone.preprocessing, progress=said, store=store
        )
        served = cache.serve(Boundary(cut, "pooler", epochs=1))
        (spec,) = served.entries[0].tensors
        return np.fromfile(served.entries[0].file(0), spec.dtype), backbone.model(batch())

    stored, outputs = serve(rank=4, seed=1)
    for options in ({"rank": 4, "seed": 2}, {"rank": 2}, {}):
        again, same = serve(**options)
        assert "read from disk" in said.lines[-1]
        np.testing.assert_array_equal(again, stored)
        np.testing.assert_array_equal(same, outputs)
    other, _ = serve(rank=4, seed=1, trained=True)
    assert "computed once" in said.lines[-1]
    assert np.abs(other - stored).max() > 0.001

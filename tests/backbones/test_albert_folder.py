"""ALBERT, whose blocks are one layer called again and again: where it is cut, and a whole recipe.

That its features are those of the library, test_transformers_folder.py shows.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
from golden_folders import golden
from unigram_folders import model_of, write_json, write_spm

import tltool
from tltool.backbones import check
from tltool.backbones.load import load_backbone
from tltool.graph.cut import bridge, cut_model
from tltool.model.freezing import plan_phases
from tltool.model.joining import apply_plan, join
from tltool.model.lora import add_adapters, merge_adapters
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import HeadSection, Last, PhaseSection
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

CASE = golden("transformers")["albert"]
BLOCK, PROJECT = "transformer_layer_0", "embeddings_project"
TASK = Task(TASKS["text-classification"], ClassTarget(("a", "b")))


def write_albert(folder, write=write_spm):
    """The golden ALBERT with the vocabulary of a SentencePiece model."""
    folder.mkdir(exist_ok=True)
    rows = len(model_of("albert").pieces)
    shapes = {**CASE["shapes"], "embeddings.word_embeddings.weight": [rows, 32]}
    config = {**CASE["config"], "vocab_size": rows}
    check.write_seeded_folder(folder, {**CASE, "shapes": shapes, "config": config})
    (folder / "tokenizer.json").unlink()
    write(folder, "albert")
    return str(folder)


@pytest.fixture
def backbone(tmp_path):
    check.write_seeded_folder(tmp_path, CASE)
    return load_backbone(str(tmp_path))


def cut_for(backbone, train):
    transfer = join(backbone, HeadSection(), TASK)
    (plan,) = plan_phases((PhaseSection(train=train),), transfer.groups, "text")
    apply_plan(transfer.model, plan)
    return transfer.model, plan, cut_model(transfer.model, plan.trainable)


def token_inputs():
    rng = np.random.default_rng(0)
    mask = (np.arange(9) < rng.integers(3, 10, (4, 1))).astype("int32")
    ids = rng.integers(5, 60, (4, 9)).astype("int32") * mask
    return {"token_ids": ids, "padding_mask": mask, "segment_ids": 0 * ids}


def test_weights_are_in_three_groups_and_the_block_counts_once(backbone):
    assert [group.name for group in backbone.groups] == ["embeddings", "block", "pooler"]
    own = backbone.model.get_layer(BLOCK).variables
    assert {id(v) for v in backbone.groups[1].variables} == {id(v) for v in own}
    assert backbone.groups[1].num_parameters == sum(int(np.prod(v.shape)) for v in own)


# With the padding mask where blocks follow; only the last is below the pooler.
@pytest.mark.parametrize(
    ("train", "border"),
    [
        ("head", "pooled_dense"),
        (Last(last=1), "first_token"),
        (Last(last=2), f"padding_mask, {PROJECT}"),
        ((f"{BLOCK}/*/bias",), f"padding_mask, {PROJECT}"),
    ],
)
def test_it_is_cut_before_or_after_all_calls_of_the_block(backbone, train, border):
    model, plan, cut = cut_for(backbone, train)
    assert cut.describe() == border
    x = token_inputs()
    expected = model(x, training=False)
    np.testing.assert_array_equal(cut.rest(cut.prefix(x), training=False), expected)
    np.testing.assert_array_equal(cut.joined(x, training=False), expected)
    assert {v.path for v in cut.rest.trainable_variables} == plan.trainable
    assert not cut.prefix.trainable_variables


def test_the_prefix_of_a_head_holds_every_call_of_the_block(backbone):
    _, _, cut = cut_for(backbone, "head")
    calls = [node for node in cut.nodes if node.operation.name == BLOCK]
    assert len(calls) == CASE["config"]["num_hidden_layers"]


def test_a_bridge_leads_over_all_calls_of_the_block(backbone):
    transfer = join(backbone, HeadSection(), TASK)
    phases = tuple(PhaseSection(train=Last(last=last)) for last in (2, 1))
    low, high = (
        cut_model(transfer.model, plan.trainable)
        for plan in plan_phases(phases, transfer.groups, "text")
    )
    x = token_inputs()
    between = bridge(low, high)
    found = between(low.prefix(x), training=False)
    np.testing.assert_array_equal(np.asarray(found[0]), np.asarray(high.prefix(x)[0]))


def test_adapters_are_put_in_once_and_merged(tmp_path):
    check.write_seeded_folder(tmp_path, CASE)
    albert = load_backbone(str(tmp_path))
    x = token_inputs()
    before = np.asarray(albert.model(x, training=False))
    adapted = add_adapters(albert, rank=2)
    assert [group.name for group in adapted.groups] == ["embeddings", "block", "pooler"]
    adapters = [v for v in adapted.groups[1].variables if "lora" in v.path]
    assert len(adapters) == 4
    np.testing.assert_array_equal(np.asarray(adapted.model(x, training=False)), before)
    for variable in adapters:
        variable.assign(np.full(variable.shape, 0.05, "float32"))
    changed = np.asarray(adapted.model(x, training=False))
    assert np.abs(changed - before).max() > 1e-3
    merge_adapters(adapted.model)
    np.testing.assert_allclose(np.asarray(albert.model(x, training=False)), changed, atol=1e-5)


def test_both_forms_of_the_tokenizer_are_read(tmp_path):
    spm = load_backbone(write_albert(tmp_path / "spm"))
    whole = load_backbone(write_albert(tmp_path / "json", write_json))
    assert spm.preprocessing == whole.preprocessing
    assert spm.preprocessing.inputs == ("token_ids", "padding_mask", "segment_ids")


@pytest.mark.slow
def test_albert_is_trained_and_its_exports_take_strings_and_ids(tmp_path):
    texts, labels = tiny.texts(80)
    rows = [
        json.dumps({"text": f"{text} It's Ünï 😀\n{i}", "label": label})
        for i, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    recipe = Recipe.of(
        task="text-classification",
        backbone={"name": write_albert(tmp_path / "albert"), "max_length": 16},
        data={"train": str(tmp_path / "texts.jsonl"), "test_fraction": 0.2},
        schedule=[
            {"train": {"last": 1}, "epochs": 1, "learning_rate": 1e-3},
            {"train": {"last": 2}, "epochs": 1, "learning_rate": 1e-3},
        ],
        evaluation={"baseline": False},
        export={"formats": ["saved_model", "litert"]},
        output_dir=str(tmp_path / "runs"),
    )
    run = tltool.finetune(recipe)
    test = run.examples("test")
    expected = run.outputs(test)
    for name in ("saved_model", "litert_float32"):
        found = tltool.load_artifact(run.folder.exports / name).predict(test.inputs)
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)

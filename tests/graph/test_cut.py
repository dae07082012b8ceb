from __future__ import annotations

import keras
import numpy as np
import pytest
import tiny
from keras import layers

from tltool.graph.cut import bridge, cut_model
from tltool.model.freezing import plan_phases
from tltool.model.joining import apply_plan, join
from tltool.recipe.schema import From, HeadSection, Last, PhaseSection
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

IMAGES = Task(TASKS["image-classification"], ClassTarget(("a", "b")))
TEXTS = Task(TASKS["text-classification"], ClassTarget(("a", "b")))


def image_model(**head):
    return join(tiny.tiny_image_backbone(), HeadSection(**head), IMAGES)


def cut_for(transfer, train, modality="image"):
    (plan,) = plan_phases((PhaseSection(train=train),), transfer.groups, modality)
    apply_plan(transfer.model, plan)
    return cut_model(transfer.model, plan.trainable), plan


def images(count=4):
    return np.random.default_rng(0).normal(size=(count, 32, 32, 3)).astype("float32")


def token_inputs(count=4, tokens=9):
    rng = np.random.default_rng(0)
    mask = (np.arange(tokens) < rng.integers(3, tokens + 1, (count, 1))).astype("int32")
    ids = rng.integers(5, 30, (count, tokens)).astype("int32") * mask
    return {"token_ids": ids, "padding_mask": mask, "segment_ids": 0 * ids}


def as_list(values):
    return values if isinstance(values, list | tuple) else [values]


@pytest.mark.parametrize("train", ["head", Last(last=1), From(**{"from": "stage1"})])
def test_prefix_then_rest_is_the_model_and_trains_the_same_weights(train):
    transfer = image_model()
    cut, plan = cut_for(transfer, train)
    x = images()
    expected = transfer.model(x, training=False)
    np.testing.assert_array_equal(cut.rest(cut.prefix(x), training=False), expected)
    np.testing.assert_array_equal(cut.joined(x, training=False), expected)
    assert {v.path for v in cut.rest.trainable_variables} == plan.trainable
    assert {v.path for v in cut.joined.trainable_variables} == plan.trainable
    assert not cut.prefix.trainable_variables


def test_a_residual_branch_crosses_as_one_tensor_where_the_block_ends():
    cut, _ = cut_for(image_model(), Last(last=1))
    assert cut.describe() == "stage1_add"


def test_inside_a_residual_block_both_branches_cross():
    cut, _ = cut_for(image_model(), ("stage1_b*",))
    assert cut.describe() == "stem_relu, stage1_relu"


def test_a_bert_cut_between_blocks_hands_over_sequence_and_mask():
    transfer = join(tiny.tiny_text_backbone(), HeadSection(), TEXTS)
    cut, _ = cut_for(transfer, Last(last=1), "text")
    assert cut.describe() == "padding_mask, transformer_layer_1"
    x = token_inputs()
    np.testing.assert_array_equal(
        cut.rest(cut.prefix(x), training=False), transfer.model(x, training=False)
    )


def test_dropout_before_a_trained_layer_stays_random_and_the_one_below_frozen_weights_does_not():
    transfer = join(tiny.tiny_text_backbone(dropout=0.5), HeadSection(dropout=0.5), TEXTS)
    cut, _ = cut_for(transfer, "head", "text")
    x = token_inputs()
    assert cut.describe() == "pooled"
    first, second = (cut.joined(x, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 0, "the head's dropout is gone"
    without = join(tiny.tiny_text_backbone(dropout=0.5), HeadSection(dropout=0.0), TEXTS)
    cut, _ = cut_for(without, "head", "text")
    first, second = (cut.joined(x, training=True) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_heads_that_differ_in_their_dropout_alone_are_cut_at_the_same_place():
    places = [cut_for(image_model(dropout=rate), "head")[0].describe() for rate in (0.0, 0.3)]
    assert places == ["pooled", "pooled"]


def test_nothing_is_cut_where_the_first_layer_trains():
    transfer = image_model()
    assert cut_for(transfer, "all")[0] is None


def test_batch_norm_that_trains_is_no_part_of_the_prefix():
    transfer = image_model()
    phase = PhaseSection(train=Last(last=1), batch_norm="train")
    (plan,) = plan_phases((phase,), transfer.groups, "image")
    apply_plan(transfer.model, plan)
    cut = cut_model(transfer.model, plan.trainable)
    assert "stage2_bn" not in cut.layers
    assert "stage1_b_bn" in cut.layers


def test_a_layer_that_only_enlarges_is_left_to_the_rest():
    inputs = keras.Input((4,))
    x = layers.Dense(3, name="frozen")(inputs)
    x = layers.RepeatVector(50, name="repeat")(x)
    model = keras.Model(inputs, layers.Dense(2, name="trained")(x))
    cut = cut_model(model, {v.path for v in model.get_layer("trained").variables})
    assert cut.describe() == "frozen"


def test_a_keras_mask_can_not_cross():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(10, 4, mask_zero=True, name="frozen")(inputs)
    model = keras.Model(inputs, layers.LSTM(3, name="trained")(x))
    assert cut_model(model, {v.path for v in model.get_layer("trained").variables}) is None


def test_a_bridge_leads_from_a_lower_cut_to_a_higher_one_and_not_back():
    transfer = image_model()
    low, _ = cut_for(transfer, Last(last=1))
    high, _ = cut_for(transfer, "head")
    x = images()
    between = bridge(low, high)
    np.testing.assert_array_equal(
        np.asarray(as_list(between(low.prefix(x), training=False))[0]),
        np.asarray(as_list(high.prefix(x, training=False))[0]),
    )
    assert bridge(high, low) is None
    assert bridge(low, low) is None

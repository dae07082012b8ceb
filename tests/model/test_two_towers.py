"""Pairs of texts in a model: as one sequence, or apart and compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.tiny import TINY_TEXT, tiny_text_backbone
from tltool.data.batches.pipeline import make_dataset, model_inputs
from tltool.data.examples import Examples
from tltool.evaluation.inference import raw_outputs
from tltool.graph.arithmetic import forward_flops
from tltool.graph.cut import cut_model
from tltool.model.joining import join
from tltool.recipe.schema import HeadSection
from tltool.support.errors import HeadError
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

PAIRS = [
    ("good film", "the film was very nice !"),
    ("a bad price was very poor", "ugly"),
    ("the food is fine", "the food is fine"),
]
TASK = Task(TASKS["text-pair-regression"], NumbersTarget())
COSINE = HeadSection(name="two_towers", options={"compare": "cosine"})


@pytest.fixture(scope="module")
def backbone():
    found = tiny_text_backbone(layers=1)
    return replace(found, preprocessing=TINY_TEXT.model_copy(update={"pair": "apart"}))


def examples(pairs):
    unknown = [None] * len(pairs)
    return Examples("text_pair", pairs, unknown, unknown, [f"item {i}" for i in range(len(pairs))])


def test_the_same_vector_stands_for_a_text_on_either_side(backbone):
    model = join(backbone, COSINE, TASK).model
    outputs = raw_outputs(model, examples(PAIRS), backbone.preprocessing)
    swapped = raw_outputs(model, examples([(b, a) for a, b in PAIRS]), backbone.preprocessing)
    assert outputs.shape == (3, 1)
    assert outputs == pytest.approx(swapped, abs=1e-5)
    # Equal texts have the cosine 1, which begins at two standard deviations.
    assert outputs[2] == pytest.approx(2.0, abs=1e-4)
    assert (outputs[:2] < 1.999).all()


def test_vectors_are_compared_as_their_texts_alone_give_them(backbone):
    import keras

    head = HeadSection(name="two_towers", options={"hidden_units": [4], "dropout": 0.0})
    model = join(backbone, head, TASK).model
    read = model.get_layer("head_comparison").output
    found = raw_outputs(keras.Model(model.input, read), examples(PAIRS), backbone.preprocessing)
    features = keras.Model(backbone.model.input, backbone.features.pooled)
    one = backbone.preprocessing.one_text
    u, v = (
        np.array(features(model_inputs([pair[side] for pair in PAIRS], one))) for side in (0, 1)
    )
    cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    expected = np.concatenate([u, v, abs(u - v), u * v, cosine[:, None]], axis=1)
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_arithmetic_of_a_pair_is_that_of_both_texts(backbone):
    one = forward_flops(backbone.model, 6)
    both = forward_flops(join(backbone, COSINE, TASK).model, 6)
    assert 2 * one < both < 2.01 * one


def test_the_frozen_part_ends_below_the_comparison(backbone):
    transfer = join(backbone, COSINE, TASK)
    cut = cut_model(transfer.model, {w.path for w in transfer.groups[-1].weights})
    assert cut.crossing == (backbone.features.pooled,)


def test_batches_hold_both_texts_of_each_pair(backbone):
    batches = make_dataset(
        examples(PAIRS), backbone.preprocessing, targets=np.zeros((3, 1)), batch_size=2,
        training=True,
    )  # fmt: skip
    sizes = [(len(inputs["token_ids"]), len(targets)) for inputs, targets, _ in batches]
    assert sizes == [(4, 2), (2, 1)]


@pytest.mark.parametrize(
    ("options", "told"),
    [({"compare": "dot"}, "'dot' is not allowed"),
     ({"compare": "cosine", "hidden_units": [3]}, "compare is cosine")],
)  # fmt: skip
def test_wrong_options_are_refused(backbone, options, told):
    with pytest.raises(HeadError, match=told):
        join(backbone, HeadSection(name="two_towers", options=options), TASK)


def test_only_pairs_have_two_towers(backbone):
    with pytest.raises(HeadError, match="text-regression has none"):
        join(backbone, COSINE, Task(TASKS["text-regression"], NumbersTarget()))

"""The loss of the order of numbers: CoSENT on predictions of the batch's own spread."""

from __future__ import annotations

import numpy as np
import pytest

from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError
from tltool.tasks.numbers import NumbersTarget

TARGET = NumbersTarget(names=("a", "b"), mean=(0.0, 0.0), std=(1.0, 1.0))


def cosent(truth, found):
    """As Su 2022 writes it, on predictions in fifths of their standard deviation."""
    scaled = 5 * found / found.std()
    n = len(truth)
    terms = [
        np.exp(scaled[j] - scaled[i]) for i in range(n) for j in range(n) if truth[i] > truth[j]
    ]
    return np.log(1 + sum(terms))


def test_it_is_the_squared_error_and_the_order():
    rng = np.random.default_rng(0)
    truth, found = rng.normal(size=(2, 7, 2)).astype("float32")
    truth[3] = truth[4]
    order = np.mean([cosent(truth[:, k], found[:, k]) for k in range(2)])
    expected = ((truth - found) ** 2).mean() + 0.5 * order
    assert float(TARGET.loss(ranking=0.5)(truth, found)) == pytest.approx(expected, rel=1e-4)


def test_the_order_alone_counts_and_not_the_scale():
    truth = np.array([[0.0], [1.0], [2.0]], "float32")
    loss = NumbersTarget().loss(ranking=1.0)

    def order(found):
        return float(loss(truth, found)) - float(np.mean((truth - found) ** 2))

    right, wrong = truth, truth[::-1]
    assert order(right) == pytest.approx(order(3 * right + 1), rel=1e-3)
    assert order(right) < 0.1
    assert order(wrong) > 5


@pytest.mark.parametrize("rows", [1, 3])
def test_equal_predictions_have_a_gradient(rows):
    import tensorflow as tf

    found, truth = tf.Variable(tf.zeros((rows, 1))), tf.range(float(rows))[:, None]
    with tf.GradientTape() as tape:
        loss = NumbersTarget().loss(ranking=1.0)(truth, found)
    assert np.isfinite(tape.gradient(loss, found)).all()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"task": "text-classification"}, "training.ranking"),
        ({"schedule": [{"train": "head", "solver": "exact"}]}, "training.ranking"),
        ({"head": {"search": True}, "schedule": [{"train": "head"}]}, "head.search"),
    ],
)
def test_what_knows_no_order_refuses_it(changes, path):
    values = {"task": "text-regression", "backbone": "x", "training": {"ranking": 1.0}}
    with pytest.raises(RecipeError) as caught:
        Recipe.of(**{**values, **changes})
    assert path in {fault.path for fault in caught.value.faults}

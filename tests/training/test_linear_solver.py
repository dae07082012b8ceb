from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tltool.tasks.losses.in_numpy import Softmax, Squared, mean_loss
from tltool.training.linear_solver import STRENGTHS, LinearRows, solve_linear


def class_rows(count=200, seed=0, smoothing=0.1):
    rng = np.random.default_rng(seed)
    features = (3 + 0.1 * rng.normal(size=(count, 10))).astype("float32")
    truth = ((features - 3) @ np.random.default_rng(9).normal(size=(10, 3))).argmax(axis=1)
    truth = np.where(rng.uniform(size=count) < 0.2, rng.integers(0, 3, count), truth)
    targets = np.eye(3, dtype="float32")[truth] * (1 - smoothing) + smoothing / 3
    weights = rng.uniform(0.5, 2, count).astype("float32")
    return LinearRows(features, targets.astype("float32"), weights)


def loss_of(solved, rows):
    """The mean cross-entropy of a solved layer."""
    return mean_loss(Softmax(), solved.outputs(rows.features), rows.targets, rows.weights)


def test_softmax_regression_is_at_least_as_good_as_a_long_gradient_fit():
    rows = class_rows()
    solved = solve_linear(rows, None, Softmax(), l2=0.0)
    scaled = tf.constant((rows.features - rows.features.mean(0)) * 10)
    kernel, bias = tf.Variable(tf.zeros((10, 3))), tf.Variable(tf.zeros(3))
    optimizer = tf.keras.optimizers.Adam(0.05)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = tf.nn.softmax_cross_entropy_with_logits(rows.targets, scaled @ kernel + bias)
            loss = tf.reduce_mean(losses * rows.weights)
        gradients = tape.gradient(loss, [kernel, bias])
        optimizer.apply_gradients(zip(gradients, [kernel, bias], strict=True))
        return loss

    losses = [float(step()) for _ in range(2000)]
    reached = loss_of(solved, rows)
    assert reached <= min(losses) + 1e-6
    assert reached == pytest.approx(losses[-1], abs=1e-4), "the gradient fit was meant to converge"
    assert losses[20] > reached + 1e-3


def test_regression_is_the_closed_form():
    rng = np.random.default_rng(0)
    features = (5 + rng.normal(size=(60, 7)) * np.arange(1, 8)).astype("float32")
    targets = (features @ rng.normal(size=(7, 1)) + rng.normal(size=(60, 1))).astype("float32")
    rows = LinearRows(features, targets, np.ones(60, "float32"))
    # Without a penalty: least squares with a column of ones.
    best = np.linalg.lstsq(np.c_[features.astype("float64"), np.ones(60)], targets, rcond=None)[0]
    solved = solve_linear(rows, None, Squared(), l2=0.0)
    np.testing.assert_allclose(solved.kernel, best[:-1], atol=1e-4)
    np.testing.assert_allclose(solved.bias, best[-1], atol=1e-3)
    # With one: least squares with a row more for each channel, of the root of its strength.
    centred = features.astype("float64") - features.mean(0)
    scale = np.sqrt(np.mean(centred**2))
    extra = np.sqrt(0.3 * 60) * np.eye(7)
    system = np.r_[centred / scale, extra], np.r_[targets - targets.mean(), np.zeros((7, 1))]
    ridge = np.linalg.lstsq(*system, rcond=None)[0] / scale
    solved = solve_linear(rows, None, Squared(), l2=0.3)
    np.testing.assert_allclose(solved.kernel, ridge, atol=1e-4)
    expected = centred @ ridge + targets.mean()
    np.testing.assert_allclose(solved.outputs(features), expected, atol=1e-3)


@pytest.mark.parametrize("held_out", [True, False])
def test_the_strength_is_chosen_where_held_out_rows_are_fitted_best(held_out):
    train, validation = class_rows(60, smoothing=0.0), class_rows(500, seed=1, smoothing=0.0)
    chosen = solve_linear(train, validation if held_out else None, Softmax())
    assert STRENGTHS[-1] < chosen.l2 < STRENGTHS[0]
    losses = [
        loss_of(solve_linear(train, None, Softmax(), l2=l2), validation)
        for l2 in (1.0, chosen.l2, 1e-6)
    ]
    assert losses[1] < min(losses[0], losses[2])


def test_constant_features_and_few_rows_are_no_trouble():
    rows = class_rows(4)
    constant = LinearRows(np.ones((4, 10), "float32"), rows.targets, rows.weights)
    solved = solve_linear(constant, None, Softmax())
    shares = (rows.targets * rows.weights[:, None]).sum(0) / rows.weights.sum()
    odds = np.exp(solved.outputs(constant.features)[0])
    np.testing.assert_allclose(odds / odds.sum(), shares, atol=1e-3)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tltool.tasks.losses.in_numpy import Softmax, Squared, mean_loss
from tltool.training.linear_solver import (
    ENOUGH,
    FOLDS,
    STRENGTHS,
    LinearRows,
    choose_strength,
    drawn_folds,
    fit_linear,
    held_out_parts,
    solve_linear,
)


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


def numbered(count):
    """Rows whose feature is their number."""
    features = np.arange(count, dtype="float32")[:, None]
    return LinearRows(features, features, np.ones(count, "float32"))


@pytest.mark.parametrize(
    ("train", "held_out", "parts"),
    [
        (40, 20, [20, 8, 8, 8, 8, 8]),  # few rows: all of them are held out in turn
        (40, 0, [8, 8, 8, 8, 8]),
        (40, ENOUGH, [ENOUGH]),
        (1000, 150, [150, 200, 200]),
        (5000, 0, [1000]),
        (9, 5, [5]),  # too few for folds
    ],
)
def test_folds_join_the_validation_rows_until_enough_are_held_out(train, held_out, parts):
    rows, others = numbered(train), numbered(held_out) if held_out else None
    found = held_out_parts(rows, others, drawn_folds(train, seed=0))
    assert [len(measured) for _, measured in found] == parts
    measured = []
    for fitted, out in found[bool(held_out) :]:
        assert not set(fitted.features.ravel()) & set(out.features.ravel())
        assert len(fitted) + len(out) == train
        measured += out.features.ravel().tolist()
    assert len(set(measured)) == len(measured), "no row is measured twice"
    assert len(found) <= FOLDS + bool(held_out)


def ridge_rows(count, seed):
    """A number of two dozen noisy channels: how strong the penalty must be is not obvious."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 24)).astype("float32")
    kernel = np.random.default_rng(9).normal(size=(24, 1)) / 5
    targets = (features @ kernel + rng.normal(size=(count, 1))).astype("float32")
    return LinearRows(features, targets, np.ones(count, "float32"))


def test_few_validation_rows_do_not_decide_alone():
    """The penalty that eight rows would choose by themselves is often a bad one."""
    unseen = ridge_rows(4000, seed=1000)

    def error(train, held_out, folds):
        layer = solve_linear(train, held_out, Squared(), folds=folds)
        return float(np.mean((layer.outputs(unseen.features) - unseen.targets) ** 2))

    alone, joined = [], []
    for seed in range(0, 40, 2):
        train, held_out = ridge_rows(60, seed), ridge_rows(8, seed + 1)
        alone.append(error(train, held_out, folds=()))
        joined.append(error(train, held_out, folds=None))
    assert np.mean(joined) < np.mean(alone) - 0.01


def test_the_rows_held_out_are_predicted_by_layers_that_were_fitted_on_others():
    rows = ridge_rows(50, seed=0)
    parts = held_out_parts(rows, None, drawn_folds(50, seed=0))
    choice = choose_strength(parts, Squared())
    assert choice.l2 in STRENGTHS
    for (fitted, out), outputs in zip(parts, choice.outputs, strict=True):
        layer = fit_linear(fitted, Squared(), choice.l2)
        np.testing.assert_allclose(outputs, layer.outputs(out.features), atol=1e-4)
    assert not choose_strength([], Squared()).outputs


@pytest.mark.parametrize("loss", [Softmax(), Squared()])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_features_may_have_any_scale_and_one_may_be_constant(loss, scale):
    rows = class_rows(80)
    expected = fit_linear(rows, loss, 0.01).outputs(rows.features)
    scaled = replace(rows, features=rows.features * np.float32(scale) + np.float32(5 * scale))
    layer = fit_linear(scaled, loss, 0.01)
    np.testing.assert_allclose(layer.outputs(scaled.features), expected, atol=2e-3)
    constant = np.c_[rows.features, np.full(80, 7.1, "float32")]
    # The penalty is measured in the root mean square, which the constant lowers.
    layer = fit_linear(replace(rows, features=constant), loss, 0.01 * 11 / 10)
    np.testing.assert_allclose(layer.outputs(constant), expected, atol=2e-3)


@pytest.mark.parametrize("loss", [Softmax(), Squared()])
@pytest.mark.parametrize("spread", [1e-33, 1e-8, 1e-4])
def test_a_channel_that_is_all_but_dead_is_not_made_large(loss, spread):
    """What an export keeps of the layer and the features, of 11 and of 8 bits, says the same."""
    rows, random = class_rows(80), np.random.default_rng(1)
    alive = 10 * (rows.features - 3)
    features = np.c_[alive, spread * random.normal(size=(80, 3))].astype("float32")
    layer = fit_linear(replace(rows, features=features), loss, 0.1)
    expected = layer.outputs(features)
    in_11_bits = features.astype("float16") @ layer.kernel.astype("float16") + layer.bias
    step = np.abs(features).max(axis=1, keepdims=True) / 127
    in_8_bits = layer.outputs(features + step * random.uniform(-0.5, 0.5, features.shape))
    reach = np.ptp(expected)
    np.testing.assert_allclose(in_11_bits, expected, atol=0.01 * reach)
    np.testing.assert_allclose(in_8_bits, expected, atol=0.1 * reach)

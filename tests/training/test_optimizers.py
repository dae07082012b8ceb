from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tltool.recipe.schema import PhaseSection, TrainingSection
from tltool.training.optimizers import (
    ExponentialRise,
    WarmupThenDecay,
    make_optimizer,
    make_schedule,
)


def rates(curve: str, warmup_steps: int = 0, total_steps: int = 10) -> list[float]:
    schedule = WarmupThenDecay(1.0, total_steps, warmup_steps, curve)
    return [float(schedule(step)) for step in range(total_steps)]


def test_curves_start_at_the_peak_and_fall_as_named():
    assert rates("constant") == [1.0] * 10
    assert rates("linear") == pytest.approx([1 - i / 10 for i in range(10)])
    cosine = [0.5 * (1 + math.cos(math.pi * i / 10)) for i in range(10)]
    assert rates("cosine") == pytest.approx(cosine, abs=1e-6)


def test_one_cycle_rises_and_falls_by_halves_of_a_cosine():
    phase = PhaseSection(epochs=10, learning_rate=0.5, curve="one_cycle")
    schedule = make_schedule(phase, steps_per_epoch=40)
    assert schedule.warmup_steps == 100
    found = np.asarray(schedule(np.arange(401)))
    assert found[[0, 50, 100, 250, 400]] == pytest.approx(
        [0.5 / 25, 0.5 * (1 / 25 + 1) / 2, 0.5, 0.5 * (1e-5 + 1) / 2, 0.5e-5], rel=1e-3
    )
    assert np.argmax(found) == 100
    given = PhaseSection(epochs=10, curve="one_cycle", warmup_fraction=0.5)
    assert make_schedule(given, 40).warmup_steps == 200


def test_a_plateaus_rate_is_what_it_is_set_to():
    schedule = make_schedule(PhaseSection(learning_rate=0.5, curve="plateau"), 10)
    assert float(schedule(3)) == 0.5
    schedule.scale.assign(0.25)
    assert float(schedule(3)) == 0.125


def test_the_rise_of_a_range_test_is_exponential():
    rise = ExponentialRise(1e-7, 10.0, 100)
    found = [float(rise(step)) for step in range(100)]
    np.testing.assert_allclose(found, np.geomspace(1e-7, 10.0, 100), rtol=1e-5)


def test_the_warm_up_rises_to_the_peak_and_the_curve_follows_it():
    warm = rates("linear", warmup_steps=4)
    assert warm[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert warm[4:] == pytest.approx([1 - i / 6 for i in range(6)])


def test_a_phase_gives_its_share_of_steps_to_the_warm_up():
    phase = PhaseSection(epochs=5, learning_rate=0.1, warmup_fraction=0.2, curve="linear")
    schedule = make_schedule(phase, steps_per_epoch=4)
    assert (schedule.total_steps, schedule.warmup_steps, schedule.peak) == (20, 4, 0.1)


def step(gradients, *, rate_factors=None, values=(1.0, 1.0), **training):
    """Values of variables a/kernel and b/bias after one step at learning rate 0.1."""
    a, b = (
        keras.Variable([value], name=name)
        for value, name in zip(values, ("a_kernel", "bias"), strict=True)
    )
    settings = TrainingSection(**{"gradient_clip_norm": None, "weight_decay": 0.0, **training})
    schedule = WarmupThenDecay(0.1, 10, 0, "constant")
    optimizer = make_optimizer(settings, schedule, rate_factors or {})
    optimizer.apply([keras.ops.convert_to_tensor([g]) for g in gradients], [a, b])
    return a.numpy()[0], b.numpy()[0]


def test_each_weight_learns_at_its_own_rate():
    plain = step([1.0, 1.0], optimizer="sgd", momentum=0.0)
    assert plain == pytest.approx((0.9, 0.9))
    slowed = step([1.0, 1.0], rate_factors={"a_kernel": 0.5}, optimizer="sgd", momentum=0.0)
    assert slowed == pytest.approx((0.95, 0.9))


def test_clipping_scales_all_gradients_by_their_global_norm():
    # The norm of (3, 4) is 5; clipped to 1 the gradients are (0.6, 0.8).
    clipped = step([3.0, 4.0], optimizer="sgd", momentum=0.0, gradient_clip_norm=1.0)
    assert clipped == pytest.approx((1 - 0.06, 1 - 0.08))
    short = step([0.3, 0.4], optimizer="sgd", momentum=0.0, gradient_clip_norm=1.0)
    assert short == pytest.approx((1 - 0.03, 1 - 0.04))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_weight_decay_is_decoupled_scaled_by_the_rate_and_spares_biases(optimizer):
    without = step([1e-3, 1e-3], optimizer=optimizer, momentum=0.0)
    decayed = step([1e-3, 1e-3], optimizer=optimizer, momentum=0.0, weight_decay=0.5)
    slowed = step(
        [1e-3, 1e-3],
        optimizer=optimizer,
        momentum=0.0,
        weight_decay=0.5,
        rate_factors={"a_kernel": 0.1},
    )
    half_slow = step(
        [1e-3, 1e-3], optimizer=optimizer, momentum=0.0, rate_factors={"a_kernel": 0.1}
    )
    assert without[0] - decayed[0] == pytest.approx(0.1 * 0.5, abs=1e-5)
    assert half_slow[0] - slowed[0] == pytest.approx(0.1 * 0.1 * 0.5, abs=1e-5)
    assert decayed[1] == pytest.approx(without[1], abs=1e-7)


def test_plain_adam_has_no_weight_decay():
    assert step([1e-3, 1e-3], optimizer="adam", weight_decay=0.5) == pytest.approx(
        step([1e-3, 1e-3], optimizer="adam"), abs=1e-7
    )


def test_adamw_matches_the_formula_of_its_paper():
    # First step of Adam: the bias-corrected moments are g and g², so the step is rate·g/(|g|+eps).
    value, _ = step([0.2, 0.2], optimizer="adamw", weight_decay=0.01, values=(2.0, 1.0))
    expected = 2.0 - 0.1 * 0.01 * 2.0 - 0.1 * 0.2 / (0.2 + 1e-7)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def trained(optimizer, gradients, *, compiled: bool, sparse: bool = False):
    """A table of 7 rows after a step with each of `gradients`, every one of which hits a row twice.

    gradients: (steps, 2, 3), of the row `step % 6` and once more of the same.
    """
    table = keras.Variable(np.random.default_rng(0).normal(size=(7, 3)), name="table")
    optimizer.build([table])

    def step(values, row):
        slices = tf.IndexedSlices(values, tf.stack([row, row]), dense_shape=(7, 3))
        optimizer.apply([slices if sparse else tf.convert_to_tensor(slices)], [table])

    step = tf.function(step) if compiled else step
    for number, gradient in enumerate(gradients):
        step(tf.constant(gradient), tf.constant(number % 6))
    return np.asarray(table.value)


@pytest.fixture
def gradients():
    rng = np.random.default_rng(1)
    return (rng.normal(size=(60, 2, 3)) * 10.0 ** rng.normal(size=(60, 1, 1))).astype("float32")


@pytest.mark.parametrize("compiled", [True, False])
def test_adam_in_one_operation_is_that_of_keras(compiled, gradients):
    curve = WarmupThenDecay(0.01, 90, 9, "cosine")
    plain = TrainingSection(optimizer="adam", gradient_clip_norm=None)
    found = trained(make_optimizer(plain, curve, {}), gradients, compiled=compiled)
    expected = trained(keras.optimizers.Adam(curve), gradients, compiled=compiled)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_gradients_of_a_token_that_stands_twice_are_summed_before_they_are_squared(
    optimizer, gradients
):
    """Keras squares each by itself, and measures a norm of the parts."""
    settings = TrainingSection(optimizer=optimizer, gradient_clip_norm=0.5)
    curve = WarmupThenDecay(0.01, 90, 9, "constant")
    of_slices, dense = (
        trained(make_optimizer(settings, curve, {}), gradients, compiled=True, sparse=sparse)
        for sparse in (True, False)
    )
    np.testing.assert_allclose(of_slices, dense, atol=1e-6)

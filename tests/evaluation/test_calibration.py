"""Temperature scaling: what is found, when it is kept, and that no answer changes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tltool.evaluation.calibration import FEW_ROWS, calibrate, fit_temperature
from tltool.model.temperature import with_temperature
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget

CLASSES = ClassTarget(("a", "b", "c"))
LABELS = ClassSetTarget(("a", "b", "c"))


def drawn(rows, over, seed=0):
    """Logits that are `over` times as large as those that the classes were drawn by."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, 3))
    noise = rng.gumbel(size=(rows, 3))
    return (over * logits).astype("float32"), (logits + noise).argmax(axis=1)


def found_of(target, raw, truth, **options):
    encoded = target.encode(truth)
    return calibrate(raw, encoded, target.row_loss, target.smoothed, source="rows", **options)


@pytest.mark.parametrize("over", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_factor_that_logits_are_too_large_by(over):
    raw, truth = drawn(4000, over)
    encoded = CLASSES.encode(truth)
    found = fit_temperature(raw, encoded, CLASSES.row_loss, CLASSES.smoothed)
    assert found == pytest.approx(over, rel=0.06)


@pytest.mark.parametrize("over", [0.4, 3.0])
def test_labels_that_are_given_by_themselves_have_one_temperature(over):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (2000, 3))
    truth = rng.random((2000, 3)) < 1 / (1 + np.exp(-logits))
    found = found_of(LABELS, (over * logits).astype("float32"), truth)
    assert found.kept
    assert found.temperature == pytest.approx(over, rel=0.06)
    before, after = (
        LABELS.calibration_error(np.asarray(LABELS.outputs(over * logits / t)), truth)
        for t in (1.0, found.temperature)
    )
    assert after < before / 2


def test_the_error_falls_by_half_and_the_same_classes_are_named():
    raw, truth = drawn(1000, 3.0)
    found = found_of(CLASSES, raw, truth)
    assert found.kept
    assert found.loss_after < found.loss_before
    fresh, fresh_truth = drawn(2000, 3.0, seed=1)
    outputs = [np.asarray(CLASSES.outputs(fresh / t)) for t in (1.0, found.temperature)]
    before, after = (CLASSES.calibration_error(one, fresh_truth) for one in outputs)
    assert after < before / 2
    np.testing.assert_array_equal(*(one.argmax(axis=1) for one in outputs))


def test_confidences_that_fit_stay_as_they_are_unless_the_recipe_insists():
    raw, truth = drawn(400, 1.0, seed=7)
    fit = fit_temperature(raw, CLASSES.encode(truth), CLASSES.row_loss, CLASSES.smoothed)
    found = found_of(CLASSES, raw / fit, truth)
    assert (found.kept, found.temperature) == (False, 1.0)
    assert "as they are" in found.reason
    assert found_of(CLASSES, raw / fit, truth, anyway=True).kept


def test_few_rows_say_nothing():
    raw, truth = drawn(FEW_ROWS - 1, 3.0)
    found = found_of(CLASSES, raw, truth)
    assert not found.kept
    assert "39 rows are too few" in found.reason
    assert found_of(CLASSES, raw, truth, anyway=True).kept
    assert not found_of(CLASSES, raw[:3], truth[:3], anyway=True).kept


def test_rows_that_are_all_right_do_not_make_a_model_as_sure_as_it_can_be():
    truth = np.arange(60) % 3
    raw = (3 * np.eye(3, dtype="float32"))[truth]
    encoded = CLASSES.encode(truth)
    found = fit_temperature(raw, encoded, CLASSES.row_loss, CLASSES.smoothed)
    confidence = np.asarray(CLASSES.outputs(raw / found)).max()
    assert 0.95 < confidence < 0.995


def test_numbers_that_are_not_finite_are_told_of():
    raw, truth = drawn(50, 1.0)
    raw[3] = np.inf
    assert "finite" in found_of(CLASSES, raw, truth).reason


@pytest.mark.parametrize("end", ["dense", "other"])
def test_the_graph_divides_its_outputs(end):
    features = keras.Input((4,), name="x")
    output = keras.layers.Dense(3, name="head_output")(features)
    if end == "other":
        output = keras.layers.Average()([output, output])
    model = keras.Model({"x": features}, output, name="tltool_model")
    values = {"x": np.random.default_rng(0).normal(size=(5, 4)).astype("float32")}
    before = model(values).numpy()
    scaled = with_temperature(model, 2.5)
    np.testing.assert_allclose(scaled(values).numpy(), before / 2.5, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(model(values).numpy(), before)
    added = len(scaled.layers) - len(model.layers)
    assert added == (0 if end == "dense" else 1)
    assert scaled.name == model.name

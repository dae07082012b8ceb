from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tltool.support.errors import EvaluationError
from tltool.tasks.metrics.numbers import numbers_metrics, regression_metrics


def json_ready(metrics):
    return json.loads(json.dumps(metrics, allow_nan=False))


def test_regression_by_hand():
    metrics = regression_metrics(np.array([[1.0], [2.0], [5.0]]), np.array([1.0, 3.0, 4.0]))
    assert metrics["n"] == 3
    assert metrics["mae"] == pytest.approx(2 / 3)
    assert metrics["rmse"] == pytest.approx(math.sqrt(2 / 3))
    assert metrics["r2"] == pytest.approx(1 - 2 / (14 / 3))
    assert metrics["spearman"] == pytest.approx(1.0)
    assert metrics["pearson"] == pytest.approx((17 / 3) / math.sqrt((26 / 3) * (14 / 3)))
    low, high = metrics["mae_interval"]
    half = 1.95996 * math.sqrt(1 / 3) / math.sqrt(3)
    assert (low, high) == pytest.approx((2 / 3 - half, 2 / 3 + half), abs=1e-4)


def test_spearman_shares_the_rank_of_ties():
    # Ranks 1.5 1.5 3 against 1 2 3: 1.5 / sqrt(1.5 * 2)
    metrics = regression_metrics(np.array([7.0, 7.0, 9.0]), np.array([1.0, 2.0, 30.0]))
    assert metrics["spearman"] == pytest.approx(1.5 / math.sqrt(3))


def test_the_interval_of_the_error_starts_at_0_and_needs_two_rows():
    low, high = regression_metrics(np.array([0.0, 1.0]), np.zeros(2))["mae_interval"]
    assert (low, high) == pytest.approx((0.0, 0.5 + 1.95996 * math.sqrt(0.5 / 2)), abs=1e-4)
    low, high = regression_metrics(np.full(4, 3.0), np.zeros(4))["mae_interval"]
    assert (low, high) == (3.0, 3.0)
    far = regression_metrics(np.array([1e3, 1e3, 1e3, 1010.0]), np.zeros(4))["mae_interval"]
    assert np.mean(far) == pytest.approx(1002.5)
    assert regression_metrics(np.ones(1), np.zeros(1))["mae_interval"] is None
    assert regression_metrics(np.array([1e308, -1e308]), np.zeros(2))["mae_interval"] is None


def test_numbers_of_few_digits_are_measured_with_all():
    predictions, targets = np.array([1.0, 3.0, 60_000.0]), np.array([0.1, 0.2, 0.3])
    exact = regression_metrics(predictions, targets)
    assert regression_metrics(predictions.astype("float16"), targets) == exact
    whole = regression_metrics(np.array([250, 1], "uint8"), np.array([1, 250], "uint8"))
    assert (whole["mae"], whole["n"]) == (249, 2)


def test_a_range_of_one_is_no_constant():
    metrics = regression_metrics(np.array([0.0, 1.0, 0.0]), np.array([5.0, 6.0, 6.0]))
    assert metrics["pearson"] == metrics["spearman"] == pytest.approx(0.5)
    assert metrics["r2"] is not None


@pytest.mark.parametrize(
    ("predictions", "targets"),
    [
        ([1.0], [2.0]),
        ([5.0, 5.0], [1.0, 2.0]),
        ([1.0, 2.0], [5.0, 5.0]),
    ],
)
def test_undefined_correlations_are_null(predictions, targets):
    metrics = json_ready(regression_metrics(np.array(predictions), np.array(targets)))
    assert metrics["pearson"] is metrics["spearman"] is None
    assert (metrics["r2"] is None) == (len(set(targets)) == 1)


@pytest.mark.parametrize("scale", [1e-200, 1e300])
def test_extreme_values_overflow_to_null_and_not_to_nonsense(scale):
    metrics = regression_metrics(np.array([1.0, -1.0]) * scale, np.array([0.0, 1.0]))
    json_ready(metrics)
    assert metrics["pearson"] == pytest.approx(-1.0)
    assert (metrics["rmse"] is None) == (scale > 1)


def test_regression_refuses_nan_and_nothing():
    with pytest.raises(EvaluationError, match="not finite"):
        regression_metrics(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(EvaluationError, match="at least one"):
        regression_metrics(np.zeros(0), np.zeros(0))


def test_several_numbers_are_measured_each_and_in_the_mean():
    predictions = np.array([[1.0, 10.0], [2.0, 30.0], [5.0, 20.0]])
    targets = np.array([[1.0, 10.0], [3.0, 10.0], [4.0, 40.0]])
    metrics = json_ready(numbers_metrics(predictions, targets, ("a", "b")))
    first, second = metrics["per_number"]
    assert first == {"name": "a", **regression_metrics(predictions[:, 0], targets[:, 0])}
    assert (second["name"], second["mae"]) == ("b", pytest.approx(40 / 3))
    for key in ("mae", "rmse", "r2", "pearson", "spearman"):
        assert metrics[key] == pytest.approx((first[key] + second[key]) / 2)
    assert metrics["n"] == 3
    assert metrics["mae_interval"] is None


def test_a_mean_of_what_one_number_lacks_is_null():
    targets = np.array([[1.0, 5.0], [2.0, 5.0]])
    metrics = json_ready(numbers_metrics(targets + 1, targets, ("a", "constant")))
    assert metrics["r2"] is None
    assert metrics["per_number"][0]["r2"] == pytest.approx(-3.0)
    assert metrics["mae"] == 1.0


def test_one_number_is_measured_alone():
    values = np.array([1.0, 2.0, 4.0])
    assert numbers_metrics(values, values + 1, ("x",)) == regression_metrics(values, values + 1)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3), (2, 2)])
def test_numbers_that_do_not_fit_are_refused(shape):
    with pytest.raises(EvaluationError, match=r"Numbers of shape \(n, 2\)"):
        numbers_metrics(np.zeros(shape), np.zeros((3, 2)), ("a", "b"))

from __future__ import annotations

import json

import numpy as np
import pytest

from tltool.support.errors import DataError
from tltool.tasks.losses.in_numpy import Squared, mean_loss
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.target import LabelColumns
from tltool.tasks.values import BadValueError

BLOOD = NumbersTarget(("rbc", "wbc"), (10.0, 2.0), (5.0, 0.5))
UNIX, JULIAN = 1.7e9, 2.46e6


def reader(*names, several=True):
    return NumbersTarget.reader(LabelColumns(names or ("label",), several=several), [])


def spread_around(middle, std, rows=100):
    """Numbers with just that mean and standard deviation."""
    steps = np.linspace(-1, 1, rows)
    return (middle + steps * std / steps.std()).tolist()


# ---- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "value"),
    [("3.5", 3.5), (" -2 ", -2.0), (7, 7.0), (np.float32(0.5), 0.5), (b"1e3", 1000.0)],
)
def test_a_cell_is_a_number(cell, value):
    assert reader(several=False)(cell) == value
    assert reader("kg")((cell,)) == value


@pytest.mark.parametrize("cell", ["", None, "many", "nan", "inf", "1_000", float("nan")])
def test_what_is_no_finite_number_is_refused(cell):
    with pytest.raises(BadValueError, match=r"^the label"):
        reader(several=False)(cell)


def test_columns_of_numbers():
    read = reader("rbc", "wbc")
    assert read(("12", 1)) == (12.0, 1.0)
    assert read(np.array([12, 1])) == (12.0, 1.0)
    assert read([12.5, "0"]) == (12.5, 0.0)
    for cell, message in (
        (("12", "one"), "the column 'wbc': the label 'one' is not a finite number"),
        ((None, "1"), "the column 'rbc': the label is missing"),
        (("12",), "there are 1 values for 2 columns"),
        ((1, 2, 3), "there are 3 values for 2 columns"),
        ("12", "there are 1 values for 2 columns"),
    ):
        with pytest.raises(BadValueError, match=message):
            read(cell)


def test_rows_of_an_array_need_no_names():
    read = reader(several=False)
    assert read(np.array([1.0, 2.0])) == (1.0, 2.0)
    assert read([3]) == 3.0
    with pytest.raises(BadValueError, match="no number"):
        read([])


# ---- fitting ---------------------------------------------------------------------------------


def test_numbers_that_are_all_the_same_are_refused_and_one_of_several_is_told():
    told = "All 3 training examples have the same target, "
    with pytest.raises(DataError, match=told + r"3\.5; two different ones"):
        NumbersTarget.fit([3.5] * 3)
    with pytest.raises(DataError, match=told):
        NumbersTarget.fit([(3.5, 1)] * 3)
    (remark,) = NumbersTarget.remarks_on([(3.5, 1.0), (3.5, 2.0)], "text-regression")
    assert remark.startswith("number 1 of each row is always 3.5")
    assert NumbersTarget.remarks_on([3.5, 3.5], "text-regression") == []


def test_the_scale_is_that_of_the_training_rows():
    target = NumbersTarget.fit([1.0, 3.0], ("kg",))
    assert target == NumbersTarget(("kg",), (2.0,), (1.0,))
    assert NumbersTarget.fit([(5.0, 1.0), (5.0, 3.0)]).std == (1.0, 1.0)
    both = NumbersTarget.fit([(1.0, 10.0), (3.0, 50.0), (5.0, 30.0)], ("a", "b"))
    assert both.mean == (3.0, 30.0)
    np.testing.assert_allclose(both.std, np.std([[1, 10], [3, 50], [5, 30]], axis=0))
    assert both.num_outputs == 2
    assert both.labels == ()
    assert NumbersTarget.fit([(1.0, 2.0), (2.0, 3.0)]).names == ("number_0", "number_1")
    with pytest.raises(DataError, match="have 1 and 2 numbers; all need the same"):
        NumbersTarget.fit([1.0, (1.0, 2.0)])


@pytest.mark.parametrize(
    ("numbers", "outside"),
    [
        (spread_around(2015.0, 8.0), False),  # years
        (spread_around(0.0, 1.0), False),
        (spread_around(1e-6, 1e-7), False),
        (spread_around(1.7e9, 1e8), False),  # timestamps of several years
        (spread_around(UNIX, 60.0), True),  # timestamps of a few minutes
        (spread_around(JULIAN, 3.0), True),  # Julian days of a week
        (spread_around(-JULIAN, 3.0), True),
        (spread_around(1e39, 1e38), True),  # more than float32 holds
        ([(4.0, 1.0), (4.0, 2.0)], False),
        (list(zip(spread_around(0.0, 1.0), spread_around(UNIX, 60.0), strict=True)), True),
        (list(zip(spread_around(0.0, 1.0), spread_around(5.0, 60.0), strict=True)), False),
    ],
)
def test_where_float32_is_too_coarse_the_scale_stays_outside(numbers, outside):
    assert NumbersTarget.fit(numbers).offset_outside is outside


def test_outputs_keep_steps_of_one_second():
    target = NumbersTarget.fit(spread_around(UNIX, 60.0))
    seconds = UNIX + np.arange(-60.0, 61.0)
    raw = target.encode(target.truth(seconds.tolist()))
    assert raw.dtype == np.float32
    outputs = target.outputs(raw)
    assert outputs.dtype == np.float64
    np.testing.assert_allclose(outputs, seconds, atol=1e-3)
    assert (np.diff(outputs.round()) == 1).all()
    # What an exported model gives is the raw output, and from it come the same numbers.
    assert target.result_name == "standardised"
    np.testing.assert_array_equal(target.from_result(raw), outputs)
    assert target.row(outputs[7]) == {"prediction": outputs[7]}
    assert target.words(float(seconds[0])).startswith("1699999940")


# ---- encoding and reading outputs ------------------------------------------------------------


def test_encoding_and_back():
    targets = [(12.0, 1.0), (5.0, 2.5)]
    truth = BLOOD.truth(targets)
    assert truth.dtype == np.float64
    encoded = BLOOD.encode(truth)
    np.testing.assert_allclose(encoded, [[0.4, -2.0], [-1.0, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(BLOOD.outputs(encoded), targets, rtol=1e-6)
    one = NumbersTarget(("kg",), (2.0,), (4.0,))
    assert one.encode(one.truth([10.0, 2.0])).tolist() == [[2.0], [0.0]]
    assert one.outputs(np.array([[2.0], [0.0]])).tolist() == [10.0, 2.0]
    assert BLOOD.outputs(np.zeros((0, 2))).shape == (0, 2)
    assert one.outputs(np.zeros((0, 1))).shape == (0,)
    assert BLOOD.encode(BLOOD.truth([])).shape == (0, 2)
    assert one.encode(one.truth([])).shape == (0, 1)


@pytest.mark.parametrize("target", [None, "12", 12.0, (1.0,), (1.0, None), (1.0, 2.0, 3.0)])
def test_what_are_no_two_numbers_is_refused_with_its_row(target):
    with pytest.raises(DataError, match=r"t\.csv:3 has the target .*; 2 numbers are needed"):
        BLOOD.truth([(1.0, 2.0), target], ["t.csv:2", "t.csv:3"])


def test_outputs_of_tensors_are_those_of_arrays():
    from keras import ops

    raw = np.array([[0.4, -2.0], [-1.0, 1.0]], np.float32)
    found = BLOOD.outputs(ops.convert_to_tensor(raw))
    np.testing.assert_allclose(np.asarray(found), BLOOD.outputs(raw), rtol=1e-6)
    one = NumbersTarget(("kg",), (2.0,), (4.0,))
    found = one.outputs(ops.convert_to_tensor(raw[:, :1]))
    np.testing.assert_allclose(np.asarray(found), one.outputs(raw[:, :1]), rtol=1e-6)


def test_a_prediction_is_a_number_or_a_mapping_of_them():
    one = NumbersTarget(("kg",), (2.0,), (4.0,))
    found = one.prediction(np.float64(3.5))
    assert (found.value, found.confidence, found.probabilities) == (3.5, None, {})
    assert one.row(np.float64(1 / 3)) == {"prediction": 0.3333333}
    assert one.words(3.25) == "3.25"
    found = BLOOD.prediction(np.array([12.0, 1.0]))
    assert found.value == {"rbc": 12.0, "wbc": 1.0}
    assert BLOOD.row(np.array([12.0, 1 / 3])) == {"prediction": {"rbc": 12.0, "wbc": 0.3333333}}
    assert BLOOD.shown((12.0, 1.0)) == {"rbc": 12.0, "wbc": 1.0}
    assert BLOOD.words((12.0, 1.0)) == BLOOD.words({"rbc": 12.0, "wbc": 1.0}) == "rbc 12, wbc 1"
    json.dumps(found.value)


# ---- what a model is worth -------------------------------------------------------------------


def test_metrics_are_those_of_each_number_and_their_mean():
    outputs = np.array([[12.0, 1.0], [5.0, 3.0], [8.0, 2.0]])
    truth = np.array([[10.0, 1.0], [6.0, 2.0], [8.0, 4.0]])
    metrics = BLOOD.metrics(outputs, truth)
    assert [row["name"] for row in metrics["per_number"]] == ["rbc", "wbc"]
    assert [row["mae"] for row in metrics["per_number"]] == [1.0, 1.0]
    assert metrics["mae"] == BLOOD.score(outputs, truth) == 1.0
    assert set(metrics) >= {score.key for score in BLOOD.scores} | {"n"}
    (table,) = BLOOD.tables(metrics)
    assert [row[:2] for row in table.rows] == [["rbc", "1"], ["wbc", "1"]]
    one = NumbersTarget()
    assert one.tables(one.metrics(outputs[:, 0], truth[:, 0])) == []


def test_the_worst_rows_are_so_in_standard_deviations():
    truth = np.array([[10.0, 2.0]] * 4)
    outputs = np.array([[13.0, 2.0], [10.0, 2.4], [10.0, 2.0], [10.0, 1.0]])
    assert BLOOD.worst(outputs, truth).tolist() == [3, 1, 0]
    one = NumbersTarget()
    truth = np.array([1.0, 2.0, 3.0])
    for outputs in (np.array([1.0, 5.0, 2.5]), np.array([[1.0], [5.0], [2.5]])):
        assert one.worst(outputs, truth).tolist() == [1, 2]
        assert one.score(outputs, truth) == pytest.approx(3.5 / 3)


def test_search_values_are_in_the_targets_own_units():
    raw = np.array([[0.4, -2.0], [-1.0, 1.0]], np.float32)
    encoded = np.zeros((2, 2), np.float32)
    found = BLOOD.search_values(raw, encoded)
    errors = np.array([[2.0, 1.0], [5.0, 0.5]])
    assert found["mae"] == pytest.approx(errors.mean())
    assert found["mse"] == pytest.approx((errors**2).mean())


def test_a_drop_is_in_standard_deviations_of_each_number():
    before = BLOOD.metrics(np.array([[10.0, 2.0]] * 2), np.array([[11.0, 2.0], [9.0, 2.5]]))
    after = BLOOD.metrics(np.array([[10.0, 2.0]] * 2), np.array([[15.0, 2.5], [5.0, 2.5]]))
    # rbc: 1 becomes 5, of 5; wbc: 0.25 becomes 0.5, of 0.5.
    assert BLOOD.drop(before, after) == pytest.approx((4 / 5 + 0.25 / 0.5) / 2)
    assert BLOOD.drop(before, before) == 0
    differences = BLOOD.differences(np.array([[10.0, 2.0]]), np.array([[15.0, 1.5]]))
    assert differences.tolist() == [[1.0, 1.0]]


# ---- training --------------------------------------------------------------------------------


def test_no_classes_have_no_weights():
    assert BLOOD.weights([(1.0, 2.0)], "auto").tolist() == [1.0]
    assert BLOOD.weights([(1.0, 2.0)], None).tolist() == [1.0]
    for setting in ("balanced", {"rbc": 2.0}):
        with pytest.raises(DataError, match="a number has no classes"):
            BLOOD.weights([(1.0, 2.0)], setting)


def test_the_row_loss_is_keras_mean_squared_error():
    rng = np.random.default_rng(0)
    raw, encoded = rng.normal(size=(2, 6, 2)).astype("float32")
    weights = rng.uniform(1, 2, 6).astype("float32")
    ours = mean_loss(BLOOD.row_loss, raw, encoded, weights)
    assert ours == pytest.approx(float(BLOOD.loss()(encoded, raw, weights)), rel=1e-5)
    gradient = Squared().gradient(raw, encoded)
    step = 1e-3
    for i in range(2):
        moved = np.eye(2)[i] * step
        up, down = (Squared().values(raw + sign * moved, encoded) for sign in (1, -1))
        slope = (up - down).mean(axis=1) / (2 * step)
        np.testing.assert_allclose(gradient[:, i], slope, atol=1e-5)


def test_training_shows_the_error_in_the_targets_own_units():
    (metric,) = BLOOD.training_metrics()
    metric.update_state(np.zeros((2, 2)), np.array([[0.4, -2.0], [-1.0, 1.0]]))
    assert float(metric.result()) == pytest.approx((2 + 1 + 5 + 0.5) / 4)
    assert metric.name == BLOOD.headline().key
    assert "rbc and wbc" in BLOOD.training_units


def test_the_closed_form_solves_several_numbers_at_once():
    from tltool.training.linear_solver import LinearRows, solve_linear

    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 5)).astype("float32")
    targets = rng.normal(size=(80, 2)).astype("float32") + features[:, :2]
    ones = np.ones(80, "float32")
    both = solve_linear(LinearRows(features, targets, ones), None, Squared(), l2=0.1)
    for i in range(2):
        rows = LinearRows(features, targets[:, i : i + 1], ones)
        one = solve_linear(rows, None, Squared(), l2=0.1)
        np.testing.assert_allclose(both.kernel[:, i], one.kernel[:, 0], atol=1e-5)


def test_folds_cover_all_rows_once():
    encoded = np.zeros((10, 2), np.float32)
    folds = BLOOD.folds(encoded, 3, seed=0)
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(10))
    assert BLOOD.most_folds(encoded) == 10
    for count in (1, 11):
        with pytest.raises(DataError, match=f"{count} folds need {count} rows"):
            BLOOD.folds(encoded, count, seed=0)


def test_strata_are_quantiles_of_all_numbers_together():
    one = NumbersTarget.strata([float(i) for i in range(100)])
    assert len(set(one)) == 10
    assert one[0] != one[99]
    # Both numbers rise together, so their ranks' mean does.
    both = NumbersTarget.strata([(float(i), 1000.0 * i) for i in range(100)])
    assert both == one
    assert len(set(NumbersTarget.strata([(1.0, 2.0)] * 5))) == 1


# ---- manifests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        BLOOD,
        NumbersTarget(("t",), (UNIX + 1 / 3,), (60.1,), True),
        NumbersTarget(),
    ],
)
def test_round_trip(target):
    assert NumbersTarget.from_json(json.loads(json.dumps(target.to_json()))) == target


def test_a_damaged_scale_is_refused():
    values = BLOOD.to_json()
    for change in ({"mean": [1.0]}, {"numbers": ["rbc"]}, {"std": []}):
        with pytest.raises(ValueError, match="in number"):
            NumbersTarget.from_json({**values, **change})


def test_the_columns_of_numbers_are_those_of_other_data_too():
    assert NumbersTarget(("kg",), (2.0,), (4.0,)).label_fields == {"label_column": "kg"}
    assert BLOOD.label_fields == {"label_columns": BLOOD.names}

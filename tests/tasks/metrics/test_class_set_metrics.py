from __future__ import annotations

import json

import numpy as np
import pytest

from tltool.support.errors import EvaluationError
from tltool.tasks.metrics.class_sets import (
    best_thresholds,
    class_set_metrics,
    given_labels,
    mean_average_precision,
)

SCORES = ("mean_average_precision", "macro_f1", "micro_f1", "exact_match", "hamming_loss")


def outputs_of(rows, labels, seed, digits=7):
    """Probabilities that know something of the truth, with ties where digits are few."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(size=(rows, labels)) < np.linspace(0.1, 0.7, labels)
    noisy = 0.4 * truth + 0.6 * rng.beta(2, 2, size=truth.shape)
    return noisy.round(digits).astype("float32"), truth


def measured(probabilities, truth, thresholds=0.5):
    labels = [f"k{i}" for i in range(truth.shape[1])]
    marks = np.broadcast_to(thresholds, len(labels)).tolist()
    metrics = class_set_metrics(probabilities, truth, labels, marks)
    return json.loads(json.dumps(metrics, allow_nan=False))


@pytest.mark.parametrize("digits", [7, 2, 1])
@pytest.mark.parametrize("labels", [1, 2, 9])
def test_scores_are_scikit_learns(labels, digits):
    from sklearn import metrics as sk

    probabilities, truth = outputs_of(300, labels, labels, digits)
    thresholds = np.linspace(0.3, 0.6, labels)
    found = measured(probabilities, truth, thresholds)
    given = probabilities >= thresholds.astype("float32")
    each = [
        sk.average_precision_score(truth[:, i], probabilities[:, i]) for i in range(truth.shape[1])
    ]
    assert found["mean_average_precision"] == pytest.approx(np.mean(each))
    assert mean_average_precision(probabilities, truth) == pytest.approx(np.mean(each))
    wide = {"y_true": truth, "y_pred": given}
    if labels == 1:  # scikit-learn takes one column for two classes
        wide = {"y_true": truth[:, 0], "y_pred": given[:, 0]}
        assert found["micro_f1"] == found["macro_f1"] == pytest.approx(sk.f1_score(**wide))
    else:
        for average in ("micro", "macro"):
            for name in ("f1", "precision", "recall"):
                score = getattr(sk, f"{name}_score")(**wide, average=average, zero_division=0)
                assert found[f"{average}_{name}"] == pytest.approx(score)
    assert found["exact_match"] == pytest.approx(sk.accuracy_score(truth, given))
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(truth, given))
    for i, row in enumerate(found["per_class"]):
        assert row["average_precision"] == pytest.approx(each[i])
        assert row["f1"] == pytest.approx(sk.f1_score(truth[:, i], given[:, i]))
        assert row["support"] == truth[:, i].sum()
        assert row["predicted"] == given[:, i].sum()
        assert row["threshold"] == thresholds[i]
    assert found["n"] == 300


def test_all_equal_probabilities_have_the_precision_of_chance():
    truth = np.array([[True], [False], [False], [True], [False]])
    found = measured(np.full((5, 1), 0.3, np.float32), truth)
    assert found["mean_average_precision"] == pytest.approx(0.4)
    assert found["macro_f1"] == 0.0
    assert found["per_class"][0]["precision"] == 0.0


def test_labels_without_rows_are_left_out_of_means():
    probabilities, truth = outputs_of(50, 3, 0)
    wider = np.concatenate([truth, np.zeros((50, 2), bool)], axis=1)
    more = np.concatenate([probabilities, np.full((50, 1), 0.9), np.zeros((50, 1))], axis=1)
    before, after = measured(probabilities, truth), measured(more, wider)
    for key in ("mean_average_precision", "macro_f1", "macro_recall", "macro_precision"):
        assert after[key] == pytest.approx(before[key])
    # What is given wrongly counts all the same where every label of every row counts.
    assert after["micro_precision"] < before["micro_precision"]
    assert after["hamming_loss"] > before["hamming_loss"]
    assert after["exact_match"] == 0.0
    given, never = after["per_class"][3:]
    assert after["classes_without_rows"] == ["k3", "k4"]
    assert [given[k] for k in ("precision", "recall", "f1", "average_precision")] == [
        0.0, None, None, None,
    ]  # fmt: skip
    assert (given["support"], given["predicted"]) == (0, 50)
    assert (never["precision"], never["predicted"]) == (None, 0)


def test_rows_without_any_label_leave_no_nan():
    found = measured(np.full((4, 2), 0.1), np.zeros((4, 2), bool))
    assert found["mean_average_precision"] is None
    assert found["macro_f1"] is None
    assert found["micro_f1"] == 0.0
    assert found["exact_match"] == 1.0
    assert mean_average_precision(np.full((4, 2), 0.1), np.zeros((4, 2), bool)) is None


def test_a_perfect_model():
    _, truth = outputs_of(40, 3, 1)
    found = measured(truth.astype("float32"), truth)
    for key in ("mean_average_precision", "macro_f1", "micro_f1", "exact_match"):
        assert found[key] == 1.0
    assert found["hamming_loss"] == 0.0
    assert found["missed"] == found["added"] == []
    assert found["exact_match_interval"][0] < 1.0  # forty rows prove little


@pytest.mark.parametrize("labels", [2, 6])
def test_intervals_hold_the_value_and_shrink_with_rows(labels):
    widths = []
    for rows in (100, 1000, 10_000):
        found = measured(*outputs_of(rows, labels, 3))
        for key in SCORES:
            low, high = found[f"{key}_interval"]
            assert 0 <= low <= found[key] <= high <= 1
        widths.append([np.ptp(found[f"{key}_interval"]) for key in SCORES])
    widths = np.array(widths)
    assert (widths[1:] < 0.6 * widths[:-1]).all()


def test_an_interval_is_as_wide_as_new_samples_spread():
    values = [measured(*outputs_of(200, 4, seed))["mean_average_precision"] for seed in range(40)]
    low, high = measured(*outputs_of(200, 4, 99))["mean_average_precision_interval"]
    assert high - low == pytest.approx(2 * 1.96 * np.std(values), rel=0.5)


def test_without_any_label_there_is_neither_a_value_nor_an_interval():
    probabilities, truth = outputs_of(40, 3, 5)
    none = measured(probabilities, np.zeros_like(truth))
    for key in ("mean_average_precision", "macro_f1"):
        assert none[key] is None
        assert none[f"{key}_interval"] is None
    # One row with a label: most resamples have it, the others say nothing of it.
    one = np.zeros_like(truth)
    one[0, 0] = True
    low, _ = measured(np.where(one, 0.9, 0.1), one)["macro_f1_interval"]
    assert low == 1.0


def test_the_interval_of_one_row_and_equal_calls():
    found = measured(*outputs_of(1, 3, 0))
    assert found["hamming_loss_interval"] is None
    once, again = (measured(*outputs_of(50, 3, 0)) for _ in range(2))
    assert once == again


def test_what_is_missed_and_added_counted_by_hand():
    labels = ["fog", "sea", "sky"]
    #        truth       given
    rows = [((1, 1, 0), (0, 1, 0)),  # fog missed beside sea
            ((1, 1, 0), (0, 1, 1)),  # fog missed beside sea; sky added to fog and to sea
            ((1, 1, 1), (1, 1, 1)),
            ((1, 0, 0), (0, 0, 1)),  # fog missed alone; sky added to fog
            ((0, 0, 0), (0, 0, 1)),  # sky added to a row without a label
            ((0, 1, 0), (0, 0, 0))]  # sea missed alone  # fmt: skip
    truth, given = (np.array([row[i] for row in rows], bool) for i in (0, 1))
    found = class_set_metrics(given.astype("float32"), truth, labels, [0.5] * 3)
    assert [tuple(cell.values()) for cell in found["missed"]] == [
        # label, with, count, of: rows that have both
        ("fog", "sea", 2, 3),
    ]
    assert [tuple(cell.values()) for cell in found["added"]] == [
        # label, with, count, of: rows that have the other
        ("sky", "fog", 2, 4),
        ("sky", "no label", 1, 1),
        ("sky", "sea", 1, 4),
    ]
    assert found["exact_match"] == pytest.approx(1 / 6)
    assert found["hamming_loss"] == pytest.approx((1 + 2 + 0 + 2 + 1 + 1) / 18)


def test_a_label_is_given_from_its_threshold_on_in_float32():
    probabilities = np.array([[0.1, 0.7]], np.float32)
    assert given_labels(probabilities, (0.1, 0.7)).tolist() == [[True, True]]
    assert given_labels(probabilities, (0.1001, 0.6999)).tolist() == [[False, True]]
    assert given_labels(probabilities[0], (0.2, 0.2)).tolist() == [False, True]


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2), bool), "at least one"),
        (np.zeros((3, 3)), np.zeros((3, 2), bool), r"shape \(3, 2\), one column for each label"),
        (np.zeros((2, 2)), np.zeros((3, 2), bool), r"shape \(3, 2\)"),
        (np.zeros(3), np.zeros((3, 2), bool), r"shape \(3, 2\)"),
        (np.zeros((3, 2)), np.zeros((3, 3), bool), r"Targets of shape \(3, 2\)"),
        (np.zeros((3, 2)), np.zeros(3, bool), r"Targets of shape \(3, 2\)"),
        (np.full((1, 2), np.nan), np.zeros((1, 2), bool), "not finite"),
        (np.array([[2.0, -1.0]]), np.zeros((1, 2), bool), r"0\.\.1.*from -1 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(probabilities, truth, message):
    with pytest.raises(EvaluationError, match=message):
        class_set_metrics(probabilities, truth, ["a", "b"], [0.5, 0.5])


def test_many_rows_are_measured_in_seconds():
    import time

    started = time.process_time()
    measured(*outputs_of(20_000, 20, 0))
    assert time.process_time() - started < 20


@pytest.mark.parametrize("digits", [7, 2, 1])
def test_the_best_threshold_has_the_f1_of_a_search_through_all(digits):
    probabilities, truth = outputs_of(60, 3, 4, digits)
    truth[1:, 2] = False
    truth[0, 2] = True  # one row alone: the threshold of all labels together

    def f1(threshold, values, true):
        given = values >= np.float32(threshold)
        return 2 * (given & true).sum() / max(given.sum() + true.sum(), 1)

    def highest(values, true):
        return max(f1(cut, values, true) for cut in np.unique(values))

    found = best_thresholds(probabilities, truth)
    for label in (0, 1):
        values, true = probabilities[:, label], truth[:, label]
        assert f1(found[label], values, true) == pytest.approx(highest(values, true))
    everything = probabilities.ravel(), truth.ravel()
    assert f1(found[2], *everything) == pytest.approx(highest(*everything))


def test_a_threshold_lies_between_and_has_few_digits():
    probabilities = np.array([[0.9], [0.8], [0.7], [0.7], [0.3], [0.2]], "float32")
    truth = np.array([[1], [1], [1], [1], [0], [0]], bool)
    assert best_thresholds(np.tile(probabilities, (5, 1)), np.tile(truth, (5, 1))) == [0.5]
    close = np.array([0.5, np.nextafter(np.float32(0.5), np.float32(0))], "float32")
    (found,) = best_thresholds(np.tile(close, 10)[:, None], np.tile([True, False], 10)[:, None])
    assert close[1] < np.float32(found) <= close[0]


def test_recall_counts_a_label_of_one_row():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.9], [0.1, 0.8]])
    truth = np.array([[True, False], [False, True], [False, True]])
    rows = measured(probabilities, truth)["per_class"]
    assert [row["recall"] for row in rows] == [1.0, 1.0]

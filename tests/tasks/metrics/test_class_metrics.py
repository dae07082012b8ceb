from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tltool.support.errors import EvaluationError
from tltool.tasks.best_classes import BEST, MANY_CLASSES, best_classes
from tltool.tasks.classes import ClassTarget
from tltool.tasks.metrics.classes import calibration_error, classification_metrics, gap_by_chance
from tltool.tasks.metrics.common import wilson_interval


def one_hot(classes, count):
    return np.eye(count)[classes]


def json_ready(metrics):
    return json.loads(json.dumps(metrics, allow_nan=False))


def test_a_confusion_counted_by_hand():
    # true: a a a b b c; predicted: a a b b c c
    metrics = classification_metrics(
        one_hot([0, 0, 1, 1, 2, 2], 3), np.array([0, 0, 0, 1, 1, 2]), ["a", "b", "c"]
    )
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["confusion_matrix"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    a, b, c = metrics["per_class"]
    assert (a["precision"], a["recall"], a["support"], a["predicted"]) == (1.0, 2 / 3, 3, 2)
    assert (b["precision"], b["recall"], b["f1"]) == (0.5, 0.5, 0.5)
    assert (c["precision"], c["recall"], c["support"]) == (0.5, 1.0, 1)
    assert metrics["macro_precision"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert metrics["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert metrics["weighted_recall"] == pytest.approx(metrics["accuracy"])
    assert metrics["weighted_f1"] == pytest.approx((3 * 0.8 + 2 * 0.5 + 2 / 3) / 6)
    # Equal counts: the larger share of its class comes first.
    assert [(x["true"], x["predicted"], x["count"]) for x in metrics["confusions"]] == [
        ("b", "c", 1),
        ("a", "b", 1),
    ]
    assert metrics["confusions"][1]["share"] == pytest.approx(1 / 3)


def test_areas_log_loss_of_two_classes_by_hand():
    p1 = np.array([0.1, 0.4, 0.35, 0.8])
    metrics = classification_metrics(
        np.stack([1 - p1, p1], 1), np.array([0, 0, 1, 1]), ["no", "yes"]
    )
    assert metrics["roc_auc"] == pytest.approx(0.75)  # 3 of 4 pairs ranked right
    # yes: 1/2 + 1/2 * 2/3; no, ranked .9 (hit) .65 (miss) .6 (hit) .2: 1/2 + 1/2 * 2/3
    assert metrics["pr_auc"] == pytest.approx(5 / 6)
    expected = -np.mean(np.log([0.9, 0.6, 0.35, 0.8]))
    assert metrics["log_loss"] == pytest.approx(expected)


def test_wilson_interval_of_known_values():
    # Agresti and Coull 1998 give the formula; 0 of 10 and 8 of 10 computed by hand.
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    low, high = wilson_interval(1, 1)
    assert 0.2 < low < 0.21
    assert high == 1.0


def test_calibration_error_by_hand():
    # One bin holds two rows at 0.8 with one right: |0.5 - 0.8|; another one at 1.0, right.
    p = np.array([[0.8, 0.2], [0.8, 0.2], [0.0, 1.0]])
    assert calibration_error(p, np.array([0, 1, 1])) == pytest.approx(0.3 * 2 / 3)


def test_the_error_by_chance_is_what_right_confidences_show():
    draws = np.random.default_rng(7)
    confidence = draws.uniform(0.5, 1, 90)
    pairs = np.stack([confidence, 1 - confidence], 1)
    rows = [(draws.random(90) >= confidence).astype(int) for _ in range(2000)]
    errors = [calibration_error(pairs, row) for row in rows]
    found = classification_metrics(pairs, rows[0], ["a", "b"])
    assert found["calibration_error_by_chance"] == pytest.approx(np.mean(errors), rel=0.05)
    # One row is off by 2 p (1 - p) on average; a hundred times the rows, and a tenth is left.
    assert gap_by_chance(np.array([0.9])) == pytest.approx(0.18, abs=0.05)
    many = gap_by_chance(np.repeat(confidence, 100))
    assert many == pytest.approx(np.mean(errors) / 10, rel=0.1)
    assert gap_by_chance(np.ones(5)) == 0


def test_a_bin_includes_its_upper_bound():
    # 0.6 = 9/15 is the upper bound of a bin with 0.58; 0.62 falls into the next.
    p = np.array([0.6, 0.58, 0.62])
    error = calibration_error(np.stack([p, 1 - p], 1), np.array([0, 1, 0]))
    assert error == pytest.approx((abs(0.4 - 0.58) + 0.38) / 3)


def test_bins_are_of_equal_width_and_do_not_make_up_for_each_other():
    # Fifteen bins: from 0.5 on, one of a row that is right and one of a row that is wrong by turns.
    p = (np.arange(7, 15) + 0.5) / 15
    right = np.arange(8) % 2 == 0
    pairs = np.stack([p, 1 - p], 1)
    pairs[0] = [0.5, 0.5]
    gaps = np.where(right, 1 - pairs.max(axis=1), pairs.max(axis=1))
    assert calibration_error(pairs, (~right).astype(int)) == pytest.approx(gaps.mean())
    # Two in one bin do: one right and one wrong.
    alike = np.array([[0.81, 0.19], [0.85, 0.15]])
    assert calibration_error(alike, np.array([0, 1])) == pytest.approx(abs(1 - 0.81 - 0.85) / 2)


def test_areas_of_three_classes_are_means_against_the_rest():
    from sklearn import metrics as sk

    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], 30)
    p = rng.dirichlet([1, 1, 1], 90) + [1, 0.5, 0.1] * one_hot(targets, 3)
    p /= p.sum(axis=1, keepdims=True)
    metrics = classification_metrics(p, targets, ["a", "b", "c"])
    roc = sk.roc_auc_score(targets, p, multi_class="ovr", average="macro")
    pr = sk.average_precision_score(one_hot(targets, 3), p, average="macro")
    assert metrics["roc_auc"] == pytest.approx(roc)
    assert metrics["pr_auc"] == pytest.approx(pr)


def test_the_note_counts_the_classes_without_rows():
    def note(targets, labels):
        p = np.full((len(targets), len(labels)), 1 / len(labels))
        return classification_metrics(p, np.array(targets), labels)["roc_auc_note"]

    assert note([0, 1], ["a", "b", "c"]) == "undefined: no rows of class 'c'"
    assert note([0, 1], list("abcd")) == "undefined: no rows of class 'c' and 1 more"
    assert note([1, 1], list("abcd")) == "undefined: no rows of class 'a' and 2 more"
    assert note([0, 1, 1], ["a", "b"]) is None


def test_sums_that_are_nearly_1_are_made_1():
    p = np.array([[0.808, 0.2], [0.198, 0.795]])
    metrics = classification_metrics(p, np.array([0, 1]), ["a", "b"])
    expected = -np.log([0.808 / 1.008, 0.795 / 0.993]).mean()
    assert metrics["log_loss"] == pytest.approx(expected, rel=1e-12)
    for wrong in ([[0.82, 0.2]], [[0.78, 0.2]], [[1.001, -0.001]]):
        with pytest.raises(EvaluationError, match="add up to 1"):
            classification_metrics(np.array(wrong), np.array([0]), ["a", "b"])


def test_perfect_predictions():
    metrics = classification_metrics(one_hot([0, 1, 1], 2), np.array([0, 1, 1]), ["a", "b"])
    for key in ("accuracy", "macro_f1", "weighted_f1", "roc_auc", "pr_auc"):
        assert metrics[key] == 1.0
    assert metrics["calibration_error"] == 0.0
    assert metrics["log_loss"] == pytest.approx(0.0, abs=1e-12)
    assert metrics["confusions"] == []
    low, high = metrics["accuracy_interval"]
    assert low < 1.0  # three rows prove little
    assert high == 1.0


def test_a_class_without_test_rows_shifts_nothing_and_leaves_no_nan():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]])
    metrics = classification_metrics(probabilities, np.array([0, 2]), ["a", "b", "c"])
    json_ready(metrics)
    assert metrics["macro_f1"] == 1.0
    assert metrics["classes_without_rows"] == ["b"]
    assert metrics["per_class"][1] == {
        "label": "b", "precision": None, "recall": None, "f1": None, "support": 0, "predicted": 0,
    }  # fmt: skip
    assert metrics["roc_auc"] is None
    assert metrics["pr_auc"] is None
    assert "'b'" in metrics["roc_auc_note"]


def test_a_class_never_predicted_counts_as_zero():
    metrics = classification_metrics(one_hot([0, 0], 2), np.array([0, 1]), ["a", "b"])
    assert metrics["per_class"][1]["precision"] == 0.0
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_one_row_and_ties():
    metrics = classification_metrics(np.full((1, 4), 0.25), np.array([2]), list("abcd"))
    json_ready(metrics)
    assert metrics["confusions"] == [{"true": "c", "predicted": "a", "count": 1, "share": 1.0}]
    assert metrics["log_loss"] == pytest.approx(math.log(4))


def test_a_hundred_classes_of_half_precision():
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(100), 3)
    logits = rng.normal(size=(300, 100)) + 3 * one_hot(targets, 100)
    p = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float16)
    metrics = classification_metrics(p, targets, [f"k{i}" for i in range(100)])
    json_ready(metrics)
    assert metrics["accuracy"] == pytest.approx(np.mean(p.argmax(1) == targets))
    assert 0.9 < metrics["roc_auc"] < 1.0
    wrong = sum(cell["count"] for cell in metrics["confusions"])
    assert wrong == round(300 * (1 - metrics["accuracy"]))


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "at least one"),
        (one_hot([0], 2), np.array([0, 1]), "As many outputs"),
        (one_hot([0], 3), np.array([0]), r"shape \(n, 2\)"),
        (np.array([[2.0, -1.0]]), np.array([0]), "add up to 1"),
        (np.array([[3.0, 4.0]]), np.array([0]), "add up to 1"),
        (np.array([[np.nan, 1.0]]), np.array([0]), "not finite"),
        (one_hot([0], 2), np.array([2]), r"0\.\.1"),
        (one_hot([0], 2), np.array([0.5]), "class numbers"),
        (one_hot([0], 2), np.array([-1]), "class numbers"),
        (one_hot([0], 2), np.array([[0]]), r"One class number a row is needed"),
        (np.ones(2), np.array([0, 1]), r"shape \(n, 2\)"),
        (one_hot([0, 1, 0], 2), np.array([0, np.inf, np.nan]), "2 of 3 targets are not finite"),
        (np.array([[np.nan, np.nan], [np.inf, 0]]), np.array([0, 1]), "2 of 2 outputs"),
    ],
)
def test_what_is_no_classification_is_refused(probabilities, targets, message):
    with pytest.raises(EvaluationError, match=message):
        classification_metrics(probabilities, targets, ["a", "b"])


def test_one_class_alone_is_refused():
    with pytest.raises(EvaluationError, match="at least 2 classes"):
        classification_metrics(np.ones((2, 1)), np.array([0, 0]), ["a"])


# Very many classes --------------------------------------------------------------------------


def many(rows: int = 60, classes: int = MANY_CLASSES + 500):
    """Probabilities, true classes, of which the best is right in half of the rows, and names."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes))
    logits[np.arange(rows), np.where(rng.random(rows) < 0.5, truth, truth // 2)] += 9
    odds = np.exp(logits).astype(np.float32)
    return odds / odds.sum(axis=1, keepdims=True), truth, [f"class {i}" for i in range(classes)]


def test_the_best_classes_are_as_sorting_all_gives_them():
    probabilities, truth, _ = many()
    probabilities[3] = 1 / probabilities.shape[1]  # The first of equals, as by argmax.
    kept = best_classes(probabilities, [*truth[:-1], -1])
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :BEST]
    sound = np.arange(len(truth)) != 3
    np.testing.assert_array_equal(kept["classes"][sound], order[sound])
    assert kept["classes"][3, 0] == 0
    np.testing.assert_array_equal(
        kept["probabilities"], np.take_along_axis(probabilities, order, 1)
    )
    np.testing.assert_array_equal(kept["likely"][:-1], probabilities[np.arange(59), truth[:-1]])
    assert kept["likely"][-1] == 0


def test_metrics_of_many_classes_need_the_best_of_each_row_alone():
    probabilities, truth, labels = many()
    found = classification_metrics(best_classes(probabilities, truth), truth, labels)
    dense = classification_metrics(probabilities, truth, labels)
    assert found["accuracy"] == (probabilities.argmax(axis=1) == truth).mean()
    assert found["log_loss"] == pytest.approx(
        -np.log(probabilities[np.arange(60), truth]).mean(), rel=1e-5
    )
    assert found["confusion_matrix"] is found["roc_auc"] is found["pr_auc"] is None
    assert found["roc_auc_note"] == "not computed for more than 1,000 classes"
    for key in ("accuracy", "macro_f1", "per_class", "confusions"):
        assert found[key] == dense[key]
    assert found["calibration_error"] == pytest.approx(dense["calibration_error"], rel=1e-5)
    json_ready(found)


def test_a_row_of_many_classes_that_is_not_finite_is_refused():
    probabilities, truth, labels = many()
    probabilities[2, 700] = np.nan
    with pytest.raises(EvaluationError, match="1 of 60 outputs are not finite"):
        classification_metrics(best_classes(probabilities, truth), truth, labels)


def test_mistakes_and_the_picture_of_many_classes():
    probabilities, truth, labels = many()
    target = ClassTarget(tuple(labels))
    names = [labels[number] for number in truth]
    kept = target.kept(probabilities, names)
    np.testing.assert_array_equal(target.worst(kept, truth), target.worst(probabilities, truth))
    picture = target.picture(kept, truth, target.metrics(kept, truth))
    assert len(picture.labels) == 30
    assert picture.shares["Recall"][0] == 0
    few = ClassTarget(("a", "b"))
    assert few.kept(probabilities[:, :2], ["a"] * 60).shape == (60, 2)

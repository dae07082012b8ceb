"""IoU and its kin against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from tltool.support.errors import EvaluationError
from tltool.tasks.masks.files import IGNORED
from tltool.tasks.metrics.masks import (
    ABSENT,
    boundary_f1,
    count_dtype,
    counted,
    mask_metrics,
    picture_ious,
)

LABELS = ("background", "b", "c")


def kept(pairs) -> np.ndarray:
    rows = np.zeros(len(pairs), count_dtype(len(LABELS)))
    for row, (predicted, true) in enumerate(pairs):
        for name, values in counted(predicted, true, len(LABELS)).items():
            rows[name][row] = values
    return rows


@pytest.fixture(scope="module")
def pairs():
    draws = np.random.default_rng(0)
    found = []
    for _ in range(5):
        true = draws.integers(0, 3, (12, 14)).astype(np.uint8)
        predicted = np.where(draws.random(true.shape) < 0.7, true, 0).astype(np.uint8)
        true[draws.random(true.shape) < 0.1] = IGNORED
        found.append((predicted, true))
    return found


def test_scores_are_those_of_scikit_learn(pairs):
    metrics = mask_metrics(kept(pairs), LABELS)
    true = np.concatenate([t[t != IGNORED] for _, t in pairs])
    predicted = np.concatenate([p[t != IGNORED] for p, t in pairs])
    each = jaccard_score(true, predicted, average=None)
    assert [row["iou"] for row in metrics["per_class"]] == pytest.approx(each)
    assert metrics["mean_iou"] == pytest.approx(each.mean())
    assert metrics["foreground_iou"] == pytest.approx(each[1:].mean())
    assert metrics["pixel_accuracy"] == pytest.approx((true == predicted).mean())
    dice = f1_score(true, predicted, average=None)
    assert [row["dice"] for row in metrics["per_class"]] == pytest.approx(dice)
    low, high = metrics["mean_iou_interval"]
    assert low < metrics["mean_iou"] < high
    assert (metrics["n"], metrics["pixels"]) == (5, len(true))


def test_a_perfect_prediction(pairs):
    true = [np.where(t == IGNORED, 0, t) for _, t in pairs]
    metrics = mask_metrics(kept([(t, t) for t in true]), LABELS)
    assert metrics["mean_iou"] == metrics["pixel_accuracy"] == metrics["boundary_f1"] == 1.0
    assert picture_ious(kept([(t, t) for t in true])).tolist() == [1.0] * len(true)


def test_a_class_that_never_occurs_counts_for_nothing():
    one = np.zeros((4, 4), np.uint8)
    one[:2] = 1
    metrics = mask_metrics(kept([(one, one)]), LABELS)
    assert metrics["mean_iou"] == 1.0
    assert metrics["mean_iou_interval"] is None
    assert metrics["per_class"][2]["iou"] is None


def test_outlines_may_be_a_little_off_and_not_more():
    true = np.zeros((100, 100), np.uint8)
    true[30:60, 30:60] = 1
    near, far = (np.roll(true, shift, 1) for shift in (1, 8))
    assert boundary_f1(near, true, 2)[1] == 1.0
    assert 0 < boundary_f1(far, true, 2)[1] < 0.6
    assert boundary_f1(np.zeros_like(true), true, 2)[1] == 0.0
    assert boundary_f1(true, true, 3)[2] == ABSENT


def test_what_is_ignored_changes_nothing():
    true = np.zeros((40, 40), np.uint8)
    true[10:20, 10:20] = 1
    predicted = true.copy()
    predicted[30:, 30:] = 1
    true[28:, 28:] = IGNORED
    metrics = mask_metrics(kept([(predicted, true)]), (*LABELS[:2], "c"))
    assert metrics["mean_iou"] == metrics["boundary_f1"] == 1.0


def test_nothing_to_measure():
    with pytest.raises(EvaluationError):
        mask_metrics(kept([]), LABELS)

from __future__ import annotations

import numpy as np
import pytest

from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.doubts import NoisyLabels, confident_classes, of_classes
from tltool.tasks.numbers import NumbersTarget

LABELS = ("a", "b", "c")


def noisy(count: int = 3000, rate: float = 0.1, scale: float = 3.0, seed: int = 0):
    """Logits whose softmax is right, the true classes, and labels of which some are swapped."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.standard_normal((count, 5))
    likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = np.array([rng.choice(5, p=row) for row in likely])
    wrong = rng.random(count) < rate
    given = np.where(wrong, (true + rng.integers(1, 5, count)) % 5, true)
    return logits, likely, true, given


def test_swapped_labels_are_ranked_first():
    _, likely, true, given = noisy(scale=8.0)
    doubts = of_classes(likely, given, "01234")
    wrong = given != true
    first = np.argsort(doubts.quality)[: wrong.sum()]
    assert wrong[first].mean() > 0.75
    assert wrong[doubts.suspected].mean() > 0.6
    assert doubts.suspected[wrong].mean() > 0.7
    right_again = [int(doubts.suggested[row]) == true[row] for row in np.flatnonzero(wrong)]
    assert np.mean(right_again) > 0.8


def test_they_are_those_of_cleanlab_on_the_same_probabilities():
    cleanlab = pytest.importorskip("cleanlab")
    from cleanlab.count import compute_confident_joint
    from cleanlab.rank import get_label_quality_scores

    assert cleanlab.__version__
    _, likely, _, given = noisy(500)
    doubts = of_classes(likely, given, "01234")
    np.testing.assert_allclose(doubts.quality, get_label_quality_scores(given, likely))
    confident = confident_classes(likely, given)
    ours = np.zeros((5, 5), int)
    np.add.at(ours, (given[confident >= 0], confident[confident >= 0]), 1)
    theirs = compute_confident_joint(given, likely, calibrate=False)
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_array_equal(ours[off], theirs[off])


def test_the_share_of_wrong_labels_and_the_score_without_them_are_found():
    logits, _, true, given = noisy(4000, rate=0.08)
    counts = np.ones((1, len(given)))
    score, rate = NoisyLabels.of(logits, given).right(counts)
    answer = logits.argmax(axis=1)
    assert rate[0] == pytest.approx(0.08, abs=0.02)
    assert score[0] == pytest.approx((answer == true).mean(), abs=0.015)
    assert abs(score[0] - (answer == given).mean()) > 0.03  # which is another one


def test_an_overlap_is_named_and_others_are_not():
    target = ClassTarget(LABELS)
    outputs = np.repeat(np.eye(3), 20, axis=0)
    truth = np.repeat([0, 1, 2], 20)
    assert target.overlaps(outputs, truth) == []
    outputs[:8] = np.eye(3)[1]
    (found,) = target.overlaps(outputs, truth)
    assert (found.one, found.other, found.confused, found.rows) == ("a", "b", 8, 40)


def test_a_missing_and_an_added_label_are_doubted_by_themselves():
    target = ClassSetTarget(LABELS)
    truth = np.tile([[True, False, True], [False, True, True]], (20, 1))
    outputs = np.where(truth, 0.95, 0.05)
    truth[0, 0], truth[1, 0] = False, True
    doubts = target.doubts(outputs, truth)
    assert np.flatnonzero(doubts.suspected).tolist() == [0, 1]
    assert list(doubts.suggested)[:2] == [("a", "c"), ("b", "c")]


def test_a_number_far_off_is_doubted():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(100)
    outputs = truth + 0.1 * rng.standard_normal(100)
    truth[7] += 5
    doubts = NumbersTarget().doubts(outputs, truth)
    assert np.argmin(doubts.quality) == 7
    assert doubts.suspected[7]
    assert doubts.suspected.sum() <= 2
    assert doubts.suggested[7] == pytest.approx(outputs[7])


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (ClassTarget, "a, b"),
        (ClassTarget, "7"),
        (ClassSetTarget, ("sea", "t;r|e")),
        (ClassSetTarget, ()),
        (NumbersTarget, 3.25),
        (NumbersTarget, (1.0, -2.5)),
    ],
)
def test_a_cell_of_decisions_reads_back(kind, target):
    assert kind.of_cell(kind.cell(target)) == target

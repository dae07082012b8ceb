from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from tltool.evaluation.comparison import compare
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.embeddings.pairs import Member, ScoredPairTarget
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.metrics.masks import count_dtype
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.tags.tagged import Tagged, WordTags

CLASSES = ClassTarget(("a", "b"))


def answers(right):
    """Outputs of a classifier that has these rows right, all of which are of class 0."""
    return np.where(np.asarray(right, bool)[:, None], [0.9, 0.1], [0.2, 0.8])


def rows_of(won, lost, both, neither):
    right = [True] * won + [False] * lost + [True] * both + [False] * neither
    also = [False] * won + [True] * lost + [True] * both + [False] * neither
    return answers(right), answers(also), np.zeros(len(right), int)


@pytest.mark.parametrize(
    ("won", "lost"), [(0, 0), (1, 0), (5, 0), (6, 0), (0, 6), (9, 1), (9, 3), (12, 3), (40, 22)]
)
def test_of_right_and_wrong_the_interval_is_that_of_mcnemars_exact_test(won, lost):
    ours, theirs, truth = rows_of(won, lost, both=30, neither=10)
    found = compare(ours, theirs, truth, CLASSES)
    rows, differ = won + lost + 40, won + lost
    assert found.rows == rows
    assert found.gain == pytest.approx((won - lost) / rows)
    assert (found.value, found.other) == ((won + 30) / rows, (lost + 30) / rows)
    if not differ:
        assert found.interval == (0.0, 0.0)
        assert not found.is_better
        return
    exact = binomtest(won, differ)
    low, high = exact.proportion_ci(method="exact")
    expected = [differ / rows * (2 * share - 1) for share in (low, high)]
    assert found.interval == pytest.approx(expected)
    assert (found.is_better or found.is_worse) == (exact.pvalue < 0.05)


def test_pairing_finds_what_two_intervals_hide():
    """Ten of 400 rows more are right, and none less: each share by itself is known to 5 points."""
    found = compare(*rows_of(won=10, lost=0, both=200, neither=190), CLASSES)
    assert found.is_better
    assert found.interval[1] - found.interval[0] < 0.03


def test_errors_gain_where_they_are_smaller_and_the_bootstrap_is_the_usual_one():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=80)
    theirs = truth + rng.normal(size=80)
    ours = truth + 0.8 * (theirs - truth)
    target = NumbersTarget()
    found = compare(ours[:, None], theirs[:, None], truth, target)
    less = np.abs(theirs - truth) - np.abs(ours - truth)
    assert found.gain == pytest.approx(less.mean())
    assert found.is_better
    drawn = [less[rng.integers(0, 80, 80)].mean() for _ in range(4000)]
    np.testing.assert_allclose(found.interval, np.quantile(drawn, [0.025, 0.975]), atol=0.01)
    back = compare(theirs[:, None], ours[:, None], truth, target)
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    assert back.is_worse
    again = compare(ours[:, None], theirs[:, None], truth, target)
    assert again == found, "the draws are seeded"


def test_equal_models_gain_nothing():
    truth = np.arange(20.0)
    found = compare(truth[:, None] + 1, truth[:, None] + 1, truth, NumbersTarget())
    assert (found.gain, found.interval) == (0.0, (0.0, 0.0))
    assert not found.is_better
    assert not found.is_worse
    alone = compare(truth[:1, None], truth[:1, None] + 1, truth[:1], NumbersTarget())
    assert (alone.gain, alone.interval) == (1.0, None)


def several_labels(rng, rows):
    truth = rng.random((rows, 3)) < [0.5, 0.2, 0.4]
    return ClassSetTarget(("a", "b", "c")), rng.random((rows, 3)), truth


def several_numbers(rng, rows):
    target = NumbersTarget(("x", "y"), (0.0, 0.0), (1.0, 1.0))
    return target, rng.normal(size=(rows, 2)), rng.normal(size=(rows, 2))


def one_number(rng, rows):
    return NumbersTarget(), rng.normal(size=(rows, 1)), rng.normal(size=rows)


def masks(rng, rows):
    target = MaskTarget(("background", "cell"), (0, 1), None)
    kept = np.zeros(rows, count_dtype(2))
    kept["true"] = rng.integers(5, 20, (rows, 2))
    kept["hits"] = rng.integers(0, 5, (rows, 2))
    kept["predicted"] = kept["hits"] + rng.integers(0, 9, (rows, 2))
    return target, kept, np.zeros(rows)


def tags(labels):
    def make(rng, rows):
        target = TagsTarget(labels)
        outputs, truth = np.empty(rows, object), np.empty(rows, object)
        places = np.arange(4, dtype=np.int32)
        for row in range(rows):
            true = tuple(labels[i] for i in rng.integers(0, len(labels), 4))
            truth[row] = Tagged(tuple(places.tolist()), tuple((places + 1).tolist()), true)
            found = rng.integers(0, len(labels), 4).astype(np.int32)
            outputs[row] = WordTags("abcd", places, places + 1, found, np.ones(4, np.float32))
        return target, outputs, truth

    return make


KINDS = {
    "several labels": several_labels,
    "several numbers": several_numbers,
    "one number": one_number,
    "masks": masks,
    "entities": tags(("O", "B-x", "I-x")),
    "classes of words": tags(("noun", "verb")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_scored_as_the_rows_that_they_are(kind):
    target, outputs, truth = KINDS[kind](np.random.default_rng(0), 12)
    drawn = np.array([[1] * 12, [2, 0, 1, 1, 0, 3, 1, 0, 0, 2, 1, 1], [0, 3, 3, 3] * 3])
    found = target.resampled(outputs, truth, drawn.astype(float))
    for value, counts in zip(found, drawn, strict=True):
        rows = np.repeat(np.arange(12), counts)
        assert value == pytest.approx(target.score(outputs[rows], truth[rows]))
    assert len(set(found.round(6))) == 3


def test_a_draw_without_any_label_has_no_score_and_is_left_out():
    target = ClassSetTarget(("a", "b"))
    truth = np.array([[True, False], [False, False], [False, False]])
    outputs = np.array([[0.9, 0.1], [0.5, 0.2], [0.1, 0.3]])
    assert np.isnan(target.resampled(outputs, truth, np.array([[0.0, 2.0, 1.0]]))[0])
    found = compare(outputs, 1 - outputs, truth, target)
    assert found.gain > 0
    assert np.isfinite(found.interval).all()
    assert compare(outputs[1:], outputs[1:], truth[1:], target) is None


def test_of_embeddings_the_rows_that_can_ask_are_compared():
    target = EmbeddingTarget(("a", "b"), 2)
    classes = np.array([0, 0, 1, 1, 2])
    good = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, -1]], np.float32)
    bad = good[[0, 2, 1, 3, 4]]
    np.testing.assert_array_equal(target.right(good, classes), [True] * 4)
    found = compare(good, bad, classes, target)
    assert found.rows == 4, "the last row has none of its class"
    assert found.value == target.metrics(good, classes)["recall_at_1"] == 1.0
    assert found.other == target.metrics(bad, classes)["recall_at_1"] == 0.0


def test_pairs_with_numbers_are_drawn_as_pairs():
    rng = np.random.default_rng(0)
    target, pairs = ScoredPairTarget(), 15
    members = [
        Member(row, side, (f"one {row}", f"other {row}"), float(rng.normal()))
        for row in range(pairs)
        for side in (0, 1)
    ]
    members = [m._replace(number=members[2 * m.row].number) for m in members]
    truth = target.truth(members)
    outputs = rng.normal(size=(2 * pairs, 4)).astype(np.float32)
    once = target.resampled(outputs, truth, np.ones((1, 2 * pairs)))[0]
    assert once == pytest.approx(target.metrics(outputs, truth)["spearman"])
    few = np.zeros(2 * pairs)
    few[[0, 4, 8, 12, 16, 20]] = 1
    rows = [place for first in np.flatnonzero(few) for place in (first, first + 1)]
    expected = target.metrics(outputs[rows], truth[rows])["spearman"]
    assert target.resampled(outputs, truth, few[None])[0] == pytest.approx(expected)
    assert target.right(outputs, truth) is None

"""Scores of how unknown an input is, by what they are defined as."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.unknown import scores as module
from tltool.tasks.unknown.coverage import coverage_curve
from tltool.tasks.unknown.kind import knowing, methods_for
from tltool.tasks.unknown.scores import fit_score, threshold_of
from tltool.tasks.unknown.settings import Unknown

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(0, 4, (3, 8))
GROUPS = np.arange(150) % 3
FEATURES = (CENTRES[GROUPS] + RNG.normal(size=(150, 8))).astype("float32")
NEW = (CENTRES[GROUPS] + RNG.normal(size=(150, 8))).astype("float32")
STRANGE = RNG.normal(0, 4, (150, 8)).astype("float32")
LOGITS = RNG.normal(size=(150, 3)).astype("float32")


def score(method, rows=NEW):
    return np.asarray(fit_score(method, FEATURES, GROUPS, 0)([LOGITS, rows]))[:, 0]


def test_knn_is_the_distance_to_the_kth_nearest_direction():
    bank, rows = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (FEATURES, NEW))
    nearest = NearestNeighbors(n_neighbors=3).fit(bank)  # one for each 50 rows
    expected = nearest.kneighbors(rows)[0][:, -1] ** 2 / 2
    np.testing.assert_allclose(score("knn"), expected, atol=1e-5)


def test_mahalanobis_is_the_distance_under_the_covariance_within_classes():
    means = np.stack([FEATURES[i == GROUPS].mean(axis=0) for i in range(3)])
    precision = LedoitWolf(assume_centered=True).fit(FEATURES - means[GROUPS]).get_precision()
    gaps = NEW[:, None] - means
    expected = np.einsum("nci,ij,ncj->nc", gaps, precision, gaps).min(axis=1) / 8
    np.testing.assert_allclose(score("mahalanobis"), expected, rtol=1e-3)


def test_scores_of_logits_are_those_of_their_papers():
    np.testing.assert_allclose(
        score("max_probability"), 1 - softmax(LOGITS, axis=1).max(axis=1), atol=1e-6
    )
    np.testing.assert_allclose(score("energy"), -logsumexp(LOGITS, axis=1), atol=1e-5)


@pytest.mark.parametrize("method", ["knn", "mahalanobis"])
def test_strange_features_are_less_known(method):
    both = np.concatenate([score(method), score(method, STRANGE)])
    assert roc_auc_score(np.arange(300) >= 150, both) > 0.9


def test_few_features_are_stored_and_few_directions(monkeypatch):
    monkeypatch.setattr(module, "MOST_STORED", 20)
    monkeypatch.setattr(module, "MOST_DIRECTIONS", 4)
    bank = fit_score("knn", FEATURES, GROUPS, 0).weights
    assert [tuple(weight.shape) for weight in bank] == [(8, 20)]
    shapes = {w.name: tuple(w.shape) for w in fit_score("mahalanobis", FEATURES, GROUPS, 0).weights}
    assert shapes["whitening"] == (8, 4)
    assert shapes["means"] == (4, 3)


def test_the_threshold_accepts_new_rows_at_the_stated_rate():
    rng = np.random.default_rng(1)
    rates = [
        (rng.normal(size=2000) <= threshold_of(rng.normal(size=200), 0.9)).mean()
        for _ in range(200)
    ]
    assert np.mean(rates) == pytest.approx(0.9, abs=0.01)
    assert (np.array([1.0, 2.0, 3.0]) <= threshold_of(np.array([1.0, 2.0, 3.0]), 0.95)).all()


def test_the_curve_is_of_the_best_known_rows():
    curve = coverage_curve(np.array([3.0, 1.0, 2.0, 4.0]), np.array([False, True, True, False]))
    by_share = {point["coverage"]: point for point in curve}
    assert by_share[1.0] == {"coverage": 1.0, "rows": 4, "accuracy": 0.5}
    assert by_share[0.5] == {"coverage": 0.5, "rows": 2, "accuracy": 1.0}
    assert coverage_curve(np.arange(4.0), None)[0]["accuracy"] is None


KNOWN = Unknown("knn", 0.9, 0.5, 10, "validation rows")


def test_a_target_that_knows_measures_the_answers_as_before():
    plain = ClassTarget(("a", "b", "c"))
    target = knowing(plain, KNOWN)
    probabilities = softmax(LOGITS, axis=1)
    scores = np.linspace(0, 1, 150).astype("float32")
    outputs = np.concatenate([probabilities, scores[:, None]], axis=1)
    found, expected = target.metrics(outputs, GROUPS), plain.metrics(probabilities, GROUPS)
    assert {key: found[key] for key in expected} == expected
    assert found["acceptance_rate"] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(target.right(outputs, GROUPS), plain.right(probabilities, GROUPS))
    np.testing.assert_array_equal(target.worst(outputs, GROUPS), plain.worst(probabilities, GROUPS))
    titles = [table.title for table in target.tables(found)]
    assert titles[-1] == "Coverage against accuracy"
    (line,) = target.remarks(found)[-1][1]
    assert "50.0 % of these rows are accepted" in line
    # What has no score, such as a baseline, is taken as it is.
    assert target.metrics(probabilities, GROUPS) == expected


def test_very_many_classes_keep_their_score():
    target = knowing(ClassTarget(tuple(map(str, range(1200)))), KNOWN)
    outputs = np.random.default_rng(0).dirichlet(np.ones(1200), 6).astype("float32")
    outputs = np.concatenate([outputs, np.linspace(0, 1, 6, dtype="float32")[:, None]], axis=1)
    kept = target.kept(outputs, ["3"] * 6)
    assert target.accepted(kept).tolist() == [True] * 3 + [False] * 3
    assert target.row(kept[0])["accepted"] is True
    assert target.metrics(kept, np.full(6, 3))["acceptance_rate"] == 0.5


def test_kinds_have_the_scores_that_mean_something_for_them():
    assert methods_for(ClassTarget) == ("knn", "mahalanobis", "max_probability", "energy")
    assert methods_for(ClassSetTarget) == ("knn", "mahalanobis")
    assert methods_for(NumbersTarget) == ()


@pytest.mark.parametrize(
    ("task", "values", "hint"),
    [
        ("text-regression", {"unknown": "knn"}, "not for text-regression"),
        ("text-multi-label", {"unknown": "energy"}, "not for text-multi-label"),
        ("text-classification", {"unknown": "knn", "training": {"refit": True}}, "refit"),
        (
            "image-classification",
            {"unknown": "knn", "ensemble": {"test_time_augmentation": ["horizontal_flip"]}},
            "test_time_augmentation",
        ),
    ],
)
def test_recipes_that_make_no_sense_are_refused(task, values, hint):
    backbone = "mobilenet_v2" if task.startswith("image") else "all-minilm-l6-v2"
    with pytest.raises(RecipeError, match=r"unknown\.method") as error:
        Recipe.of(task=task, backbone=backbone, **values)
    assert hint in str(error.value)
    assert error.value.faults[0].allowed != ""


@pytest.mark.parametrize("task", ["text-classification", "text-regression"])
def test_a_method_that_there_is_not_is_one_fault(task):
    with pytest.raises(RecipeError) as error:
        Recipe.of(task=task, backbone="all-minilm-l6-v2", unknown="foo")
    (fault,) = error.value.faults
    assert fault.allowed == "knn, mahalanobis, max_probability, energy"


def judged(target, outputs, truth):
    """All that a kind says of rows of outputs, as lists."""
    said = [
        target.right(outputs, truth),
        target.row_errors(outputs, truth)[1],
        target.wrongness(outputs, truth),
        *target.stated(outputs, truth),
        target.worst(outputs, truth),
        target.score(outputs, truth),
        target.explained(outputs[0])[1],
        target.row(outputs[0])["prediction"],
        target.mistake(1, outputs, ["b", "b"]),
        target.watched(outputs).vectors,
    ]
    return [one.tolist() if isinstance(one, np.ndarray) else one for one in said]


@pytest.mark.parametrize("kind", [ClassTarget, ClassSetTarget])
def test_the_score_is_never_taken_for_a_class(kind):
    labels = {"thresholds": (0.5,) * 3} if kind is ClassSetTarget else {}
    plain = kind(labels=("a", "b", "c"), **labels)
    target = knowing(plain, Unknown("knn", 0.95, 5.0, 100, "validation rows"))
    outputs = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], "float32")
    with_score = np.c_[outputs, [[9.0], [3.0]]].astype("float32")
    truth = np.array([0, 1]) if kind is ClassTarget else np.array([[1, 0, 0], [0, 1, 0]], bool)
    assert judged(target, with_score, truth) == judged(plain, outputs, truth)
    assert target.watched(with_score).columns["unknown_score"].tolist() == [9.0, 3.0]
    assert [target.prediction(row).accepted for row in with_score] == [False, True]

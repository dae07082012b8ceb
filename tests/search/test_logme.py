from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tltool.search.logme import logme


def log_evidence(features, target, alpha, beta):
    """log N(y; 0, I/β + FFᵀ/α): the evidence by its definition, the weights integrated out."""
    n = len(target)
    covariance = np.eye(n) / beta + features @ features.T / alpha
    _, determinant = np.linalg.slogdet(covariance)
    explained = target @ np.linalg.solve(covariance, target)
    return -0.5 * (n * np.log(2 * np.pi) + determinant + explained)


def largest_by_search(features, target):
    def loss(logarithms):
        # An uninformative feature has its largest evidence at an infinite α.
        return -log_evidence(features, target, *np.exp(np.clip(logarithms, -25, 25)))

    starts = [(0.0, 0.0), (3.0, 3.0), (-3.0, 3.0), (5.0, 0.0)]
    options = {"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000}
    found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
    return -min(one.fun for one in found) / len(target)


def data(rows, columns, outputs=3, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, columns)) @ np.diag(np.geomspace(1, 0.1, columns))
    truth = features @ rng.normal(size=(columns, outputs))
    return features, truth + noise * rng.normal(size=truth.shape)


@pytest.mark.parametrize(("rows", "columns"), [(40, 5), (30, 30), (20, 50)])
def test_it_is_the_largest_evidence_that_a_search_finds(rows, columns):
    features, targets = data(rows, columns)
    expected = np.mean([largest_by_search(features, y) for y in targets.T])
    assert logme(features, targets) == pytest.approx(expected, abs=1e-5)


def test_classes_are_scored_one_against_the_rest():
    features, targets = data(45, 6)
    onehot = np.eye(3)[targets.argmax(axis=1)]
    expected = np.mean([largest_by_search(features, y) for y in onehot.T])
    assert logme(features, onehot) == pytest.approx(expected, abs=1e-5)


def test_repeated_and_empty_channels_are_no_fault():
    features, targets = data(40, 5)
    padded = np.concatenate([features, features[:, :2], np.zeros((40, 3))], axis=1)
    expected = np.mean([largest_by_search(padded, y) for y in targets.T])
    assert logme(padded, targets) == pytest.approx(expected, abs=1e-5)


def test_features_that_tell_more_score_higher():
    features, targets = data(200, 8, noise=0.3)
    scores = [logme(features[:, :k], targets) for k in (2, 5, 8)]
    assert scores == sorted(scores)
    rng = np.random.default_rng(1)
    assert scores[0] > logme(rng.normal(size=features.shape), targets)


def test_targets_without_noise_or_signal_give_a_number():
    features, _ = data(30, 4)
    assert np.isfinite(logme(features, features[:, :1]))
    assert np.isfinite(logme(features, np.zeros((30, 1))))
    assert np.isfinite(logme(np.zeros((30, 4)), features[:, :1]))

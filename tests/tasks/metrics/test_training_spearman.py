from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tltool.tasks.metrics.training_spearman import Spearman


@pytest.mark.parametrize("ties", [False, True])
def test_it_is_that_of_all_rows_however_they_come_and_without_those_that_do_not_count(ties):
    generator = np.random.default_rng(3)
    truth = generator.normal(size=(300, 2)).astype("float32")
    if ties:
        truth = np.round(truth)
    found = np.exp(truth + generator.normal(size=(300, 2))).astype("float32") - 1
    weights = (generator.uniform(size=300) > 0.2).astype("float32") * 3
    metric = Spearman(2)
    for _ in range(2):
        metric.reset_state()
        for part in (slice(0, 7), slice(7, 300)):
            metric.update_state(truth[part], found[part], weights[part])
        kept = weights > 0
        expected = [spearmanr(truth[kept, i], found[kept, i]).statistic for i in range(2)]
        assert float(metric.result()) == pytest.approx(np.mean(expected), abs=2e-3)


def test_the_order_alone_counts_also_far_out():
    metric = Spearman(1)
    values = np.array([-9.0, -4.0, -0.1, 0.2, 3.0, 8.0])[:, None]
    metric.update_state(values, values**3)
    assert float(metric.result()) == pytest.approx(1, abs=1e-5)


def test_of_a_constant_it_is_0():
    metric = Spearman(1)
    metric.update_state(np.ones((4, 1)), np.arange(4.0)[:, None])
    assert float(metric.result()) == 0

from __future__ import annotations

import numpy as np
import pytest

from tltool.tasks.metrics.training_pearson import Pearson


def test_it_is_that_of_all_rows_however_they_come_and_without_those_that_do_not_count():
    generator = np.random.default_rng(3)
    truth = generator.normal(size=(50, 2)).astype("float32")
    found = (0.3 * truth + generator.normal(size=(50, 2)) + 4).astype("float32")
    weights = (generator.uniform(size=50) > 0.2).astype("float32") * 3
    metric = Pearson(2)
    for _ in range(2):
        metric.reset_state()
        for part in (slice(0, 7), slice(7, 50)):
            metric.update_state(truth[part], found[part], weights[part])
        kept = weights > 0
        expected = [np.corrcoef(truth[kept, i], found[kept, i])[0, 1] for i in range(2)]
        assert float(metric.result()) == pytest.approx(np.mean(expected), abs=1e-5)


def test_of_a_constant_it_is_0():
    metric = Pearson(1)
    metric.update_state(np.ones((4, 1)), np.arange(4.0)[:, None])
    assert float(metric.result()) == 0

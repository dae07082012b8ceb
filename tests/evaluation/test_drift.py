"""Sketches hold no rows; tests of them are right as often as they say, and find what differs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from drift_rows import NAMES, some
from scipy import stats

from tltool.evaluation.drift.file import SKETCH_FILE, read_sketch, write_sketch
from tltool.evaluation.drift.rows import Rows
from tltool.evaluation.drift.samples import (
    discrepancy_p,
    holm,
    larger_p,
    mean_difference_p,
    named_p,
    ordered_p,
    stratified_larger_p,
)
from tltool.evaluation.drift.sketch import Column, Features, Sketch
from tltool.evaluation.drift.verdict import judge, lines
from tltool.support.errors import DamagedError, ExportError


@pytest.fixture(scope="module")
def sketch():
    return Sketch.of(some(250, 1))


def verdict_of(sketch, rows):
    return judge(sketch, sketch.layout.tally(rows))


def test_the_same_data_raises_no_alarm():
    alarms = [
        verdict_of(Sketch.of(some(200, seed)), some(150, 1000 + seed)).drifted for seed in range(5)
    ]
    assert alarms == [()] * 5


@pytest.mark.parametrize(
    ("change", "aspect", "what"),
    [
        ({"darker": 0.4}, "inputs", "brightness"),
        ({"moved": 0.3}, "predictions", "answers, mean"),
        ({"fewer": 0.4}, "predictions", "class"),
        ({"wrong": 0.2}, "quality", "all rows"),
    ],
)
def test_what_differs_is_named_and_nothing_else(sketch, change, aspect, what):
    verdict = verdict_of(sketch, some(300, 2, **change))
    assert verdict.drifted == (aspect,)
    assert what in {finding.what for finding in verdict.findings if finding.drifted}
    assert what in "".join(lines(verdict))


def test_worse_calibration_is_found_apart_from_a_change_of_confidence(sketch):
    verdict = verdict_of(sketch, some(400, 3, wrong=0.2))
    found = {finding.what: finding for finding in verdict.findings}
    assert found["calibration"].drifted
    assert not found["confidence"].drifted
    assert found["calibration"].now > found["calibration"].before  # +0.2 more sure than right


def test_slices_say_where_answers_became_worse(sketch):
    rows = some(600, 4)
    dark = rows.columns["brightness"][1] < 0.37
    worse = replace(rows, wrong=np.where(dark, 1.0, rows.wrong))
    verdict = verdict_of(sketch, worse)
    bad = {one.what for one in verdict.findings if one.drifted and "brightness" in one.what}
    assert len(bad) == 1
    (part,) = (one for one in verdict.slices if one.what in bad)
    assert "below" in part.what
    assert "from" not in part.what
    assert part.wrong == 1
    assert part.wrong_before < 0.4


def test_slices_are_quarters_and_say_the_mean_error_of_their_rows(tmp_path):
    rows = some(400, 9)
    brightness = rows.columns["brightness"][1]
    errors = np.random.default_rng(2).gamma(2, 3, 400)  # of a number, in its own unit
    sketch = Sketch.of(replace(rows, wrong=errors))
    write_sketch(tmp_path, sketch)
    for one in (sketch, read_sketch(tmp_path)):
        verdict = judge(one, one.layout.tally(replace(rows, wrong=2 * errors)))
        parts = [part for part in verdict.slices if part.what.startswith("brightness")]
        assert [part.rows for part in parts] == pytest.approx([100] * 4, abs=5)
        dark = brightness < np.quantile(brightness, 0.25, method="inverted_cdf")
        assert parts[0].wrong_before == pytest.approx(errors[dark].mean())
        assert parts[0].wrong == pytest.approx(2 * errors[dark].mean())
        (whole,) = (found for found in verdict.findings if found.what == "all rows")
        assert float(whole.now.removeprefix("mean error ")) == pytest.approx(
            2 * errors.mean(), rel=1e-3
        )


def test_a_value_all_rows_have_is_found_changed_in_either_direction(sketch):
    for width in (223.0, 224.00001):
        rows = some(60, 5)
        columns = {**rows.columns, "width": ("inputs", np.full(60, width))}
        assert verdict_of(sketch, replace(rows, columns=columns)).drifted == ("inputs",)


def test_p_values_of_many_rare_names_have_the_right_level():
    rng = np.random.default_rng(0)
    p = [
        named_p(*(np.bincount(rng.integers(0, 77, rows), minlength=77) for rows in (100, 60)))
        for _ in range(40)
    ]
    assert sum(value < 0.05 for value in p) <= 6  # of 40: more has a chance of 0.3 %


def test_ties_and_bins_of_the_reference_leave_the_level_right():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        old, new = rng.poisson(2, 120).astype(float), rng.poisson(2, 900).astype(float)
        column = Column.of("inputs", old)
        counts = [np.bincount(column.bin_of(x), minlength=column.bins) for x in (old, new)]
        alarms += ordered_p(*counts) < 0.05
    assert alarms <= 8


def test_exact_tests_are_those_of_the_books():
    old, new = np.array([90, 10]), np.array([30, 12])
    fisher = stats.fisher_exact([[12, 30], [10, 90]], alternative="greater").pvalue
    assert larger_p(old, new) == pytest.approx(fisher)
    assert stratified_larger_p(np.array([old, old]), np.array([new, [0, 0]])) == pytest.approx(
        fisher
    )
    many = larger_p(np.array([50, 30, 20]), np.array([20, 30, 50]))
    assert many == pytest.approx(1e-4)
    assert larger_p(np.array([20, 30, 50]), np.array([50, 30, 20])) > 0.99


def test_hotelling_in_one_dimension_is_the_t_test():
    rng = np.random.default_rng(2)
    old, new = rng.normal(0, 1, 40), rng.normal(0.6, 1, 30)
    pooled = (old.var(ddof=1) * 39 + new.var(ddof=1) * 29) / 68
    p = mean_difference_p(np.array([new.mean() - old.mean()]), np.array([[pooled]]), (40, 30))
    assert p == pytest.approx(stats.ttest_ind(old, new).pvalue)
    assert mean_difference_p(np.zeros(2), np.zeros((2, 2)), (40, 30)) == 1.0


def test_the_tail_of_the_discrepancy_is_right_where_it_is_known():
    # Equal weights: a chi-square.
    k, rows = 7, (50, 80)
    scale = 1 / 50 + 1 / 80
    gap = np.full(k, np.sqrt(stats.chi2.isf(0.003, k) * scale / k))
    assert discrepancy_p(gap, np.eye(k), rows) == pytest.approx(0.003, rel=1e-3)


def test_answers_of_a_sure_classifier_have_the_right_level():
    """Each logit is high in few rows: features must not be fitted to those of the sketch."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(200):
        rows = 8 * np.eye(70)[rng.integers(70, size=350)] + 0.3 * rng.standard_normal((350, 70))
        features = Features.of("predictions", rows[:150])
        old, new = (features(part)[:, features.directions.shape[1] :]
                    for part in (rows[:150], rows[150:]))  # fmt: skip
        pooled = (np.cov(old.T) * 149 + np.cov(new.T) * 199) / 348
        drawn.append(discrepancy_p(new.mean(0) - old.mean(0), pooled, (150, 200)))
    assert np.mean(np.array(drawn) < 0.05) < 0.09


def test_random_features_see_what_means_do_not():
    rng = np.random.default_rng(3)
    old, new = rng.normal(0, 1, (300, 4)), rng.normal(0, 1, (300, 4)) * 1.8
    new += old.mean(0) - new.mean(0)
    first, second = (Rows({}, {"answers": ("predictions", values)}) for values in (old, new))
    found = {one.what: one.p for one in verdict_of(Sketch.of(first), second).findings}
    assert found["answers, mean"] > 0.9
    assert found["answers, distribution"] < 1e-6


def test_holm_is_what_it_should_be():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_a_sketch_is_small_comes_back_whole_and_holds_no_row(tmp_path):
    rows = some(250, 6)
    sketch = Sketch.of(rows)
    write_sketch(tmp_path, sketch)
    file = tmp_path / SKETCH_FILE
    assert file.stat().st_size < 200_000
    longest = max(len(part) for found in json.loads(file.read_text())["columns"].values()
                  for part in found.values() if isinstance(part, list))  # fmt: skip
    assert longest <= len(NAMES)  # no list is as long as there are rows
    again, new = read_sketch(tmp_path), some(100, 7, darker=0.1)
    first, second = (verdict_of(one, new) for one in (sketch, again))
    for one, two in zip(first.findings, second.findings, strict=True):
        assert one.what == two.what
        assert one.p == pytest.approx(two.p, rel=0.01, abs=1e-12)


def test_tallies_of_parts_add_up_to_that_of_the_whole(sketch):
    rows = some(90, 8)
    parts = [rows.take(np.arange(40)), rows.take(np.arange(40, 90))]
    whole = sketch.layout.tally(rows)
    added = sketch.layout.tally(parts[0]) + sketch.layout.tally(parts[1])
    assert added.rows == whole.rows
    np.testing.assert_array_equal(added.wrong["class"], whole.wrong["class"])
    for one, two in zip(added.moments("answers"), whole.moments("answers"), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-9)


def test_a_damaged_or_missing_sketch_is_told_of(tmp_path):
    with pytest.raises(ExportError, match=r"no sketch\.json"):
        read_sketch(tmp_path)
    for content in ("{", '{"format": 3}', '{"format": 1, "columns": {}}'):
        (tmp_path / SKETCH_FILE).write_text(content)
        with pytest.raises(DamagedError, match="is damaged"):
            read_sketch(tmp_path)


def test_vectors_of_one_number_and_constant_ones_do_no_harm():
    features = Features.of("inputs", np.ones((30, 1)))
    assert np.isfinite(features(np.ones((5, 1)))).all()

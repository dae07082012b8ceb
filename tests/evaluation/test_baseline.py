from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from real_data import DATA
from tiny import texts

from tltool.data.examples import Examples
from tltool.evaluation import baseline
from tltool.evaluation.baseline import constant_baseline, text_baseline
from tltool.support.errors import EvaluationError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

SENTIMENT = Task(TASKS["text-classification"], ClassTarget(("negative", "positive")))


def examples(inputs, targets):
    n = len(inputs)
    return Examples("text", inputs, targets, ["train"] * n, [f"item {i}" for i in range(n)])


def test_learnable_texts_are_learnt():
    result = text_baseline(examples(*texts(60)), examples(*texts(40, seed=1)), SENTIMENT)
    assert result.name == "TF-IDF + logistic regression"
    assert result.value == result.metrics["accuracy"] > 0.9
    assert "cross-validation" in result.setting
    assert result.seconds > 0


def test_equal_calls_give_equal_results():
    train, test = examples(*texts(40)), examples(*texts(20, seed=1))
    first, second = (text_baseline(train, test, SENTIMENT) for _ in range(2))
    assert first.metrics == second.metrics


def test_a_class_without_training_rows_keeps_its_column():
    task = Task(TASKS["text-classification"], ClassTarget(("mixed", "negative", "positive")))
    train, (inputs, targets) = examples(*texts(40)), texts(20, seed=1)
    result = text_baseline(train, examples([*inputs, "so so"], [*targets, "mixed"]), task)
    mixed, *others = result.metrics["per_class"]
    assert (mixed["recall"], mixed["predicted"]) == (0.0, 0)
    assert min(row["recall"] for row in others) > 0.8


def test_two_rows_are_enough_and_punctuation_counts_as_words():
    result = text_baseline(
        examples(["!!!", "?"], ["positive", "negative"]), examples(["!!!"], ["positive"]), SENTIMENT
    )
    assert result.value == 1.0
    assert "too few rows" in result.setting


def test_large_data_skips_cross_validation(monkeypatch):
    monkeypatch.setattr(baseline, "_BUDGET", 1.0)
    result = text_baseline(examples(*texts(40)), examples(*texts(20, seed=1)), SENTIMENT)
    assert result.setting.startswith("C = 10, the default")


def test_a_fit_that_the_memory_does_not_hold_is_refused_in_time():
    labels = tuple(f"class {number}" for number in range(200_000))
    task = Task(TASKS["text-classification"], ClassTarget(labels))
    many = examples(*texts(40))
    many = replace(many, targets=[labels[row % 7] for row in range(40)])
    with pytest.raises(EvaluationError, match=r"200,000 outputs takes some .* GB"):
        text_baseline(many, many, task)


def test_texts_that_give_nothing_are_refused():
    good = examples(*texts(4))
    with pytest.raises(EvaluationError, match="not blank"):
        text_baseline(examples([" ", "\n"], ["positive", "negative"]), good, SENTIMENT)
    with pytest.raises(EvaluationError, match="two classes"):
        text_baseline(examples(["a", "b"], ["positive"] * 2), good, SENTIMENT)
    with pytest.raises(EvaluationError, match="training and test rows"):
        text_baseline(good, examples([], []), SENTIMENT)


def test_text_regression_counts_words():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, 120)
    data = [" ".join(["film"] * 3 + ["good"] * int(n)) for n in counts]
    targets = [float(n) for n in counts]
    result = text_baseline(
        examples(data[:90], targets[:90]),
        examples(data[90:], targets[90:]),
        Task(TASKS["text-regression"], NumbersTarget()),
    )
    assert result.name == "TF-IDF + ridge regression"
    assert result.value == result.metrics["mae"] < 0.2


def test_pairs_are_compared():
    words = ("film", "food", "price", "service")
    pairs = [(f"the {a} is nice", f"a {b} was good") for a in words for b in words] * 3
    rows = Examples("text_pair", pairs, [float(a.split()[1] == b.split()[1]) for a, b in pairs],
                    [None] * len(pairs), [str(i) for i in range(len(pairs))])  # fmt: skip
    task = Task(TASKS["text-pair-regression"], NumbersTarget.fit(rows.targets))
    assert text_baseline(rows, rows, task).metrics["r2"] > 0.9


def test_several_labels_have_a_model_each():
    inputs, sentiment = texts(80)
    long = [len(text) > np.median([len(text) for text in inputs]) for text in inputs]
    sets = [
        (label, "long") if is_long else (label,)
        for label, is_long in zip(sentiment, long, strict=True)
    ]
    sets[0] = ()
    # The last label stands in no training row: it keeps its share, 0.
    target = ClassSetTarget(("long", "negative", "positive", "unseen"))
    task = Task(TASKS["text-multi-label"], target)
    result = text_baseline(examples(inputs[:50], sets[:50]), examples(inputs[50:], sets[50:]), task)
    assert result.name == "TF-IDF + logistic regression for each label"
    assert result.value == result.metrics["mean_average_precision"] > 0.9
    assert "cross-validation" in result.setting
    assert result.metrics["classes_without_rows"] == ["unseen"]
    assert result.metrics["per_class"][3]["predicted"] == 0


@pytest.mark.parametrize(
    ("task", "target", "targets", "name", "value"),
    [
        ("classification", ClassTarget(("a", "b")), ["a", "b", "b"], "always b", 1 / 3),
        ("regression", NumbersTarget(), [0.0, 1.0, 5.0], "always the median", 2.0),
        (
            "regression",
            NumbersTarget(("x", "y"), (0.0, 0.0), (1.0, 1.0)),
            [(0.0, 9.0), (1.0, 7.0), (5.0, 8.0)],
            "always the median",
            (2.0 + 1.0) / 2,
        ),
    ],
)
def test_one_answer_for_all_rows(task, target, targets, name, value):
    train = examples(["x"] * 3, targets)
    test = examples(["x"] * 3, ["a", "a", "b"] if "a" in targets else _worse(targets))
    found = constant_baseline(train, test, Task(TASKS[f"text-{task}"], target))
    assert (found.title, found.name) == ("Constant guess", name)
    assert found.value == pytest.approx(value)


def _worse(numbers):
    """Numbers whose distances from the median of these are 2, 0 and 4, or 2 and 0 and 4 and 1."""
    if isinstance(numbers[0], tuple):
        return [(3.0, 9.0), (1.0, 8.0), (5.0, 6.0)]
    return [3.0, 1.0, 5.0]


def test_the_shares_of_labels_are_their_constant_guess():
    target = ClassSetTarget(("sea", "sky"))
    rows = examples(["x"] * 4, [("sea",), ("sea", "sky"), ("sea",), ()])
    found = constant_baseline(rows, rows, Task(TASKS["text-multi-label"], target))
    np.testing.assert_allclose(found.outputs, [[0.75, 0.25]] * 4)
    assert found.value == pytest.approx(0.5)  # the mean share


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "banking77").is_dir(), reason="banking77 is not here")
def test_it_is_a_strong_baseline_on_banking77():
    def read(name):
        with (DATA / "banking77" / name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return examples([row["text"] for row in rows], [row["label"] for row in rows])

    train, test = read("train.csv"), read("test.csv")
    task = Task(TASKS["text-classification"], ClassTarget(tuple(sorted(set(train.targets)))))
    assert text_baseline(train, test, task).value == pytest.approx(0.918, abs=0.004)

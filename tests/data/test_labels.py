from __future__ import annotations

import json

import numpy as np
import pytest

from tltool.data.examples import Examples
from tltool.data.labels import (
    class_weights,
    encode_targets,
    load_task,
    make_task,
    save_task,
    sort_labels,
)
from tltool.support.errors import DataError, RunError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

TEXT, NUMBER = TASKS["text-classification"], TASKS["text-regression"]


def table(targets, splits=None) -> Examples:
    n = len(targets)
    return Examples("text", list("x" * n), targets, splits or ["train"] * n, list("o" * n))


def test_labels_come_from_training_in_natural_order():
    task = make_task(TEXT, table(["c10", "c2", "c1", "c9"], ["train"] * 3 + ["test"]))
    assert task.labels == ("c1", "c2", "c10")
    assert sort_labels(["10", "2", "-1", "0.5"]) == ("-1", "0.5", "2", "10")
    assert sort_labels(["nan", "10", "a", "2"]) == ("2", "10", "a", "nan")
    with pytest.raises(DataError, match="two are needed"):
        make_task(TEXT, table(["a", "a"]))
    with pytest.raises(DataError, match="no labelled training"):
        make_task(TEXT, table(["a", "b"], ["test", "test"]))


def test_one_hot_keeps_the_order_where_a_class_is_missing():
    task = Task(TEXT, ClassTarget(("a", "b", "c")))
    encoded = encode_targets(task, ["c", "a"])
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert encode_targets(task, []).shape == (0, 3)
    with pytest.raises(DataError, match=r"t\.csv:3: the label 'positve' is none") as caught:
        encode_targets(
            Task(TEXT, ClassTarget(("negative", "positive"))),
            ["negative", "positve"],
            ["", "t.csv:3"],
        )
    assert caught.value.hint == "did you mean `positive`?"
    with pytest.raises(DataError, match="item 0: the label None"):
        encode_targets(task, [None])


def test_regression_is_standardised_by_training_targets():
    task = make_task(NUMBER, table([1.0, 3.0, 100.0], ["train", "train", "test"]))
    assert (task.target_mean, task.target_std) == (2.0, 1.0)
    scaled = encode_targets(Task(NUMBER, NumbersTarget(mean=(2.0,), std=(4.0,))), [10.0, 2.0])
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [[2.0], [0.0]]
    assert make_task(NUMBER, table([5.0, 5.0])).target_std == 1.0
    with pytest.raises(DataError, match="no target"):
        encode_targets(task, [None])


def test_balanced_weights_equal_scikit_learns():
    from sklearn.utils.class_weight import compute_sample_weight

    targets = ["a"] * 6 + ["b"] * 3 + ["c"]
    weights = class_weights(Task(TEXT, ClassTarget(("a", "b", "c"))), targets, "balanced")
    np.testing.assert_allclose(weights, compute_sample_weight("balanced", targets), rtol=1e-6)


def test_weights_by_name():
    task = Task(TEXT, ClassTarget(("cat", "dog")))
    assert class_weights(task, ["cat", "dog"], {"dog": 3}).tolist() == [1.0, 3.0]
    assert class_weights(task, ["cat", "dog"], None).tolist() == [1.0, 1.0]
    with pytest.raises(DataError, match="no class 'dgo'") as caught:
        class_weights(task, ["cat"], {"dgo": 1.0})
    assert caught.value.hint == "did you mean `dog`?"
    with pytest.raises(DataError, match="positive"):
        class_weights(task, ["cat"], {"dog": -1.0})
    with pytest.raises(DataError, match="no classes"):
        class_weights(Task(NUMBER, NumbersTarget()), [1.0], "balanced")


def test_manifest_round_trip(tmp_path):
    path = tmp_path / "labels.json"
    for task in (
        Task(TEXT, ClassTarget(("é", "b"))),
        Task(NUMBER, NumbersTarget(mean=(1 / 3,), std=(0.1,))),
    ):
        save_task(task, path)
        assert load_task(path) == task
    save_task(
        Task(TEXT, ClassTarget(("a", "b"))),
        path,
        table(["a", "b", "b"], ["train", "train", "test"]),
    )
    counts = json.loads(path.read_text())["examples"]
    assert counts == {"train": {"a": 1, "b": 1}, "test": {"b": 1}}


@pytest.mark.parametrize(
    "change", [{"labels": ["a", "a"]}, {"labels": 3}, {"task": "x"}, {"version": 2}, None]
)
def test_a_damaged_manifest_is_refused(tmp_path, change):
    path = tmp_path / "labels.json"
    save_task(Task(TEXT, ClassTarget(("a", "b"))), path)
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, **change}) if change else path.read_text()[:-9])
    with pytest.raises(RunError, match=r"labels\.json"):
        load_task(path)
    with pytest.raises(RunError):
        load_task(tmp_path / "missing.json")

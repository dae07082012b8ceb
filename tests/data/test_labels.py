from __future__ import annotations

import json

import numpy as np
import pytest

from tltool.data.examples import Examples
from tltool.data.labels import count_targets, load_task, make_task, save_task
from tltool.support.errors import DataError, RunError, TargetError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task

TEXT, SETS, NUMBER = (
    TASKS[f"text-{kind}"] for kind in ("classification", "multi-label", "regression")
)


def encode_targets(task, targets, origins=None):
    return task.target.encode(task.target.truth(targets, origins))


def table(targets, splits=None, kind=ClassTarget, columns=()) -> Examples:
    n = len(targets)
    rows = list("x" * n), targets, splits or ["train"] * n, list("o" * n)
    return Examples("text", *rows, kind=kind, columns=columns)


def test_labels_come_from_training_alone():
    task = make_task(TEXT, table(["c10", "c2", "c1", "c9"], ["train"] * 3 + ["test"]))
    assert task.labels == ("c1", "c2", "c10")
    sets = make_task(SETS, table([("b",), (), ("z",)], ["train"] * 2 + ["test"], ClassSetTarget))
    assert sets.labels == ("b",)
    with pytest.raises(DataError, match="two classes at least are needed"):
        make_task(TEXT, table(["a", "a"]))
    with pytest.raises(DataError, match="no labelled training"):
        make_task(TEXT, table(["a", "b"], ["test", "test"]))
    with pytest.raises(DataError, match="no labelled training"):
        make_task(TEXT, table([None, None]))


def test_one_hot_keeps_the_order_where_a_class_is_missing():
    task = Task(TEXT, ClassTarget(("a", "b", "c")))
    encoded = encode_targets(task, ["c", "a"])
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert encode_targets(task, []).shape == (0, 3)
    with pytest.raises(DataError, match=r"t\.csv:3: the label 'positve' is unknown") as caught:
        encode_targets(
            Task(TEXT, ClassTarget(("negative", "positive"))),
            ["negative", "positve"],
            ["", "t.csv:3"],
        )
    assert caught.value.hint == "did you mean `positive`?"
    assert "'negative', 'positive'" in caught.value.message
    with pytest.raises(DataError, match="item 0: there is no label"):
        encode_targets(task, [None])


def test_regression_is_standardised_by_training_targets():
    numbers = table([1.0, 3.0, 100.0], ["train", "train", "test"], NumbersTarget, ("kg",))
    task = make_task(NUMBER, numbers)
    assert task.target == NumbersTarget(("kg",), (2.0,), (1.0,))
    scaled = encode_targets(Task(NUMBER, NumbersTarget(mean=(2.0,), std=(4.0,))), [10.0, 2.0])
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [[2.0], [0.0]]
    assert encode_targets(task, []).shape == (0, 1)
    with pytest.raises(DataError, match="item 0 has the target None; a number is needed"):
        encode_targets(task, [None])


def test_counts_by_split_and_label():
    examples = table([("a",), ("a", "b"), (), ()], ["train"] * 3 + ["test"], ClassSetTarget)
    assert count_targets(examples) == {"train": {"a": 2, "b": 1}, "test": {"all": 1}}
    numbers = table([1.0, 2.0, 3.0], ["train", "train", None], NumbersTarget)
    assert count_targets(numbers) == {"train": {"all": 2}, "undecided": {"all": 1}}


@pytest.mark.parametrize(
    "task",
    [
        Task(TEXT, ClassTarget(("é", "b"))),
        Task(SETS, ClassSetTarget(("é", "b"), (0.25, 1 / 3), (0.1, 0.7))),
        Task(NUMBER, NumbersTarget(mean=(1 / 3,), std=(0.1,))),
        Task(NUMBER, NumbersTarget(("x", "y"), (1.7e9, 0.1), (60.0, 1e-9), True)),
    ],
    ids=lambda task: f"{task.spec.name}-{task.num_outputs}",
)
def test_manifest_round_trip(tmp_path, task):
    path = tmp_path / "labels.json"
    save_task(task, path)
    assert load_task(path) == task


def test_a_manifest_counts_the_examples(tmp_path):
    path = tmp_path / "labels.json"
    save_task(
        Task(TEXT, ClassTarget(("a", "b"))),
        path,
        table(["a", "b", "b"], ["train", "train", "test"]),
    )
    counts = json.loads(path.read_text())["examples"]
    assert counts == {"train": {"a": 1, "b": 1}, "test": {"b": 1}}


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["a", "a"]},
        {"labels": []},
        {"labels": 3},
        {"name": "x"},
        {"target": 3},
        {"target": "class_set"},
        {"target": "numbers"},
        "x",
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, change):
    path = tmp_path / "labels.json"
    save_task(Task(TEXT, ClassTarget(("a", "b"))), path)
    manifest = json.loads(path.read_text())
    task = change if isinstance(change, str) else {**manifest["task"], **change}
    path.write_text(json.dumps({**manifest, "task": task}))
    with pytest.raises(RunError, match=r"labels\.json is not a readable label manifest"):
        load_task(path)


def test_a_cut_missing_or_other_manifest_is_refused(tmp_path):
    path = tmp_path / "labels.json"
    save_task(Task(TEXT, ClassTarget(("a", "b"))), path)
    text = path.read_text()
    path.write_text(text[:-9])
    with pytest.raises(RunError, match=r"labels\.json"):
        load_task(path)
    for version in (1, 3):
        path.write_text(json.dumps({**json.loads(text), "version": version}))
        with pytest.raises(RunError, match=f"of version {version}; this tltool reads 2"):
            load_task(path)
    with pytest.raises(RunError):
        load_task(tmp_path / "missing.json")


def test_a_manifest_of_a_kind_that_is_not_here_names_it(tmp_path):
    path = tmp_path / "labels.json"
    save_task(Task(TEXT, ClassTarget(("a", "b"))), path)
    path.write_text(path.read_text().replace('"class"', '"ordinal_ranks"'))
    with pytest.raises(TargetError, match="no kind 'ordinal_ranks'"):
        load_task(path)

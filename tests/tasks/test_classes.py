from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from tltool.support.errors import DataError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.target import LabelColumns
from tltool.tasks.values import BadValueError, sort_labels


def test_labels_are_in_natural_order():
    assert ClassTarget.fit(["c10", "c2", "c1"]).labels == ("c1", "c2", "c10")
    assert sort_labels(["10", "2", "-1", "0.5"]) == ("-1", "0.5", "2", "10")
    assert sort_labels(["nan", "10", "a", "2"]) == ("2", "10", "a", "nan")
    with pytest.raises(DataError, match="All 2 training examples have the same label, 'a'; two"):
        ClassTarget.fit(["a", "a"])


def test_cells_become_names():
    read = ClassTarget.reader(LabelColumns(), [])
    assert [read(cell) for cell in (" cat ", 3, 3.0, True, np.int64(7), b"dog")] == [
        "cat", "3", "3", "true", "7", "dog",
    ]  # fmt: skip
    for cell in ("  ", None, float("nan"), {"a": 1}, b"\xff", "a" * 1001):
        with pytest.raises(BadValueError, match="the label"):
            read(cell)


@pytest.mark.parametrize("setting", ["balanced", "auto"])
def test_balanced_weights_equal_scikit_learns(setting):
    from sklearn.utils.class_weight import compute_sample_weight

    targets = ["a"] * 6 + ["b"] * 3 + ["c"]
    weights = ClassTarget(("a", "b", "c")).weights(targets, setting)
    np.testing.assert_allclose(weights, compute_sample_weight("balanced", targets), rtol=1e-6)


def test_weights_by_name():
    target = ClassTarget(("cat", "dog"))
    assert target.weights(["cat", "dog"], {"dog": 3}).tolist() == [1.0, 3.0]
    assert target.weights(["cat", "dog"], None).tolist() == [1.0, 1.0]
    with pytest.raises(DataError, match="no class 'dgo', 'cta'; the classes are") as caught:
        target.weights(["cat"], {"dgo": 1.0, "cat": 2.0, "cta": 1.0})
    assert caught.value.hint == "did you mean `dog`?"


def test_labels_that_are_numbers_are_noticed():
    (remark,) = ClassTarget.remarks_on([str(i / 4) for i in range(9)], "image-classification")
    assert "task=image-regression" in remark
    assert ClassTarget.remarks_on(["1", "2", "3"], "image-classification") == []
    assert ClassTarget.remarks_on(["0.5", "a"], "image-classification") == []
    many = [str(i) for i in range(40)]
    assert "40 labels" in ClassTarget.remarks_on(many, "text-classification")[0]


def test_folds_are_stratified_and_cover_all_rows():
    target = ClassTarget(("a", "b"))
    truth = np.array([0] * 20 + [1] * 10)
    folds = target.folds(truth, 5, seed=0)
    held_out = np.concatenate([rows for _, rows in folds])
    assert sorted(held_out) == list(range(30))
    for rows, others in folds:
        assert not set(rows) & set(others)
        assert np.bincount(truth[others]).tolist() == [4, 2]
    assert target.most_folds(truth) == 20
    assert target.rows_of_rarest(truth) == 10
    with pytest.raises(DataError, match="21 folds need 21 rows of at least one class"):
        target.folds(truth, 21, seed=0)
    with pytest.raises(DataError, match="two folds at least"):
        target.folds(truth, 1, seed=0)


def test_an_answer_tied_with_the_best_agrees():
    target = ClassTarget(("a", "b", "c"))
    expected = np.array([[0.4, 0.4001, 0.1999]] * 3, np.float32)
    assert target.agrees(expected, ["a", "b", "c"]).tolist() == [True, True, False]
    assert target.agrees(expected[:1], ["of another model"]).tolist() == [False]


@pytest.mark.parametrize("cell", [["a b"], '["a b"]', '{"choices": ["a b"]}', ' [ "a b" ] '])
def test_a_list_of_one_label_is_that_label(cell):
    assert ClassTarget.reader(LabelColumns(), [])(cell) == "a b"


@pytest.mark.parametrize("cell", [["a", "b"], '["a", "b"]', '{"choices": ["a", "b"]}', "[]"])
def test_a_list_of_more_or_fewer_labels_is_for_another_task(cell):
    with pytest.raises(BadValueError, match="where one is needed; the multi-label"):
        ClassTarget.reader(LabelColumns(), [])(cell)


@pytest.mark.parametrize("cell", ["[UNK]", "{a}", '{"a": 1}', "[" * 100_000])
def test_what_only_looks_like_a_list_is_a_label(cell):
    assert ClassTarget.reader(LabelColumns(), [])(cell[:1000]) == cell[:1000]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        *((f"a{mark}b", "one line") for mark in "\n\r\t\0\x1b\x7f\x85\u2028\u2029\v\f\x1c"),
        ("a\ud800", r"half a character \(\\ud800\)$"),
        ("caf\udce9", "the byte 0xe9 that is not UTF-8"),
    ],
)
def test_a_label_that_no_line_of_a_file_holds_is_refused(label, said):
    for cell in (label, [label]):
        with pytest.raises(BadValueError, match=said):
            ClassTarget.reader(LabelColumns(), [])(cell)
    for cell in (f"{label}|c", [label, "c"]):
        with pytest.raises(BadValueError, match=said):
            ClassSetTarget.reader(LabelColumns(), ["a|c"])(cell)
    with pytest.raises(BadValueError, match=said):
        ClassSetTarget.reader(LabelColumns((label, "c"), several=True), [])((1, 0))


def test_many_classes_are_kept_as_numbers_and_encoded_a_batch_at_a_time():
    target = ClassTarget(tuple(f"class {number}" for number in range(20_000)))
    truth = np.arange(60_000) % 20_000
    tracemalloc.start()
    kept, encode = target.packed(truth)
    found = encode(tf.constant(kept)[7:10]).numpy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
    assert len(kept) == 60_000
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, target.encode(truth[7:10]))


def test_a_derived_kind_that_encodes_otherwise_is_trained_as_it_encodes():
    class Reversed(ClassTarget):
        def encode(self, truth):
            return super().encode(truth)[:, ::-1]

    target, truth = Reversed(("a", "b", "c")), np.array([0, 2, 1])
    kept, encode = target.packed(truth)
    np.testing.assert_array_equal(encode(tf.constant(kept)), target.encode(truth))

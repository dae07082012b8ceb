"""Several labels, and several numbers, from every source."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tltool.data.checks.summary import describe
from tltool.data.labels import make_task
from tltool.data.reading.sources import examples_from_python, load_examples
from tltool.data.splits import split_examples
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.tasks.table import TASKS

SETS, NUMBERS, CLASSES = (
    TASKS[f"text-{kind}"] for kind in ("multi-label", "regression", "classification")
)
IMAGE_SETS, IMAGE_NUMBERS = TASKS["image-multi-label"], TASKS["image-regression"]
TEXTS = ["one", "two", "three", "four"]
HOT = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [0, 1, 0]])
NAMES = ("big", "red", "old")
FOUND = [("big", "old"), (), ("old", "red"), ("red",)]
AMOUNTS = [(1.5, 10.0), (2.0, 20.0), (0.0, -3.0), (7.0, 1e3)]


def write(path, header, columns):
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def table(tmp_path, spec, header, columns, **fields):
    path = write(tmp_path / "a.csv", header, columns)
    return load_examples(DataSection(train=str(path), **fields), spec)


def target_of(examples, spec):
    """What all rows together make of it."""
    none = {"validation_fraction": 0.0, "test_fraction": 0.0, "seed": 0}
    return make_task(spec, split_examples(examples, **none)).target


def given(data, spec, **fields):
    return examples_from_python(data, spec, DataSection(**fields))


# ---- several labels --------------------------------------------------------------------------


@pytest.mark.parametrize("separator", ["|", ";", "; "])
def test_labels_in_one_cell_of_a_csv_file(tmp_path, separator):
    cells = [separator.join(labels) for labels in FOUND]
    examples = table(tmp_path, SETS, "text,label", (TEXTS, cells))
    assert list(examples.targets) == FOUND
    assert target_of(examples, SETS).labels == ("big", "old", "red")


def test_commas_between_labels(tmp_path):
    cells = [f'"{", ".join(labels)}"' for labels in FOUND]
    assert list(table(tmp_path, SETS, "text,label", (TEXTS, cells)).targets) == FOUND


def test_a_separator_that_is_given(tmp_path):
    cells = ["big/old", "", "old/red", "red"]
    examples = table(tmp_path, SETS, "text,label", (TEXTS, cells), label_separator="/")
    assert list(examples.targets) == FOUND
    # What the others would be without it.
    whole = table(tmp_path, SETS, "text,label", (TEXTS, cells))
    assert target_of(whole, SETS).labels == ("big/old", "old/red", "red")


def test_columns_of_a_csv_file(tmp_path):
    examples = table(
        tmp_path, SETS, "text,big,more,red,old", (TEXTS, HOT[:, 0], TEXTS, *HOT[:, 1:].T),
        label_columns=NAMES,
    )  # fmt: skip
    assert list(examples.targets) == FOUND
    assert list(examples.inputs) == TEXTS


def test_one_column_that_is_named_as_several(tmp_path):
    examples = table(tmp_path, SETS, "text,red", (TEXTS, HOT[:, 1]), label_columns=["red"])
    assert list(examples.targets) == [(), (), ("red",), ("red",)]


def test_bad_cells_name_their_line_and_column(tmp_path):
    path = write(tmp_path / "a.csv", "text,big,red", (TEXTS, (1, 2, 0, ""), (0, 1, "yes", 1)))
    with pytest.raises(DataError, match="2 of the rows cannot be used") as caught:
        load_examples(DataSection(train=str(path), label_columns=("big", "red")), SETS)
    assert f"{path}:3: the column 'big' holds '2', not 0 or 1" in caught.value.message
    assert f"{path}:5: the column 'big' holds '', not 0 or 1" in caught.value.message
    section = DataSection(train=str(path), label_columns=("big", "red"), on_error="skip")
    assert list(load_examples(section, SETS).targets) == [("big",), ("red",)]


def test_a_column_that_is_not_there_or_has_no_label(tmp_path):
    with pytest.raises(DataError, match="no column 'rad'") as caught:
        table(tmp_path, SETS, "text,big,red", (TEXTS, *HOT[:, :2].T), label_columns=["big", "rad"])
    assert "`red`" in caught.value.hint
    assert "data.label_columns" in caught.value.hint
    none = np.zeros(4, int)
    with pytest.raises(DataError, match="No training example has 2 labels: 'red', 'old'"):
        table(tmp_path, SETS, "text,big,red,old", (TEXTS, HOT[:, 0], none, none),
              label_columns=NAMES)  # fmt: skip


def test_json_lines_hold_lists(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"text": t, "label": list(ls)} for t, ls in zip(TEXTS, FOUND, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    examples = load_examples(DataSection(train=str(path)), SETS)
    assert list(examples.targets) == FOUND


def test_parquet_holds_lists_or_columns(tmp_path):
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"text": TEXTS, "label": [list(ls) for ls in FOUND]})
    frame[list(NAMES)] = HOT.astype(bool)
    frame.to_parquet(path)
    for fields in ({}, {"label_columns": NAMES}):
        examples = load_examples(DataSection(train=str(path), **fields), SETS)
        assert list(examples.targets) == FOUND


def test_a_data_frame():
    frame = pd.DataFrame({"text": TEXTS, "tags": ["|".join(labels) for labels in FOUND]})
    frame[list(NAMES)] = HOT
    assert list(given(frame, SETS, label_column="tags").targets) == FOUND
    assert list(given(frame, SETS, label_columns=NAMES).targets) == FOUND
    frame.loc[2, "red"] = 5
    with pytest.raises(DataError, match="item 2: the column 'red' holds '5'"):
        given(frame, SETS, label_columns=NAMES)
    with pytest.raises(DataError, match="The data frame: there is no column 'rad'"):
        given(frame, SETS, label_columns=("big", "rad"))


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
def test_a_multi_hot_array(dtype):
    hot = HOT.astype(dtype)
    assert list(given((TEXTS, hot), SETS, label_columns=NAMES).targets) == FOUND
    assert list(given((TEXTS, hot), SETS).targets) == [("0", "2"), (), ("1", "2"), ("1",)]
    with pytest.raises(DataError, match="there are 3 values for 2 labels"):
        given((TEXTS, hot), SETS, label_columns=("big", "red"))


def test_lists_of_lists():
    lists = [list(labels) for labels in FOUND]
    assert list(given((TEXTS, lists), SETS).targets) == FOUND
    rows = given((TEXTS, HOT.tolist()), SETS, label_columns=NAMES)
    assert list(rows.targets) == FOUND
    data = {"train": (TEXTS, lists), "test": (["five"], [["red"]])}
    assert list(given(data, SETS).targets) == [*FOUND, ("red",)]
    with pytest.raises(DataError, match="test item 0: the label 'rde' is in test but not in train"):
        given({"train": (TEXTS, lists), "test": (["five"], [["rde"]])}, SETS)


@pytest.mark.parametrize("batch", [None, 1, 3, 4])
def test_a_tensorflow_dataset_of_texts(batch):
    import tensorflow as tf

    cells = ["|".join(labels) for labels in FOUND]
    for labels, fields in ((HOT, {"label_columns": NAMES}), (cells, {})):
        dataset = tf.data.Dataset.from_tensor_slices((TEXTS, labels))
        dataset = dataset if batch is None else dataset.batch(batch)
        examples = given(dataset, SETS, **fields)
        assert list(examples.inputs) == TEXTS
        assert list(examples.targets) == FOUND


@pytest.mark.parametrize("batch", [None, 2, 4])
@pytest.mark.parametrize("shape", [(3, 5, 3), (3, 3), (3, 7), (4, 3, 1), (4, 4, 3)])
def test_a_tensorflow_dataset_of_images(batch, shape):
    import tensorflow as tf

    # Three labels and images three rows high: of equal lengths, but no batch.
    pixels = np.arange(4 * np.prod(shape)).reshape(4, *shape).astype("uint8")
    dataset = tf.data.Dataset.from_tensor_slices((pixels, HOT))
    dataset = dataset if batch is None else dataset.batch(batch)
    examples = given(dataset, IMAGE_SETS, label_columns=NAMES)
    assert list(examples.targets) == FOUND
    assert [image.shape for image in examples.inputs] == [
        shape if shape[-1] > 1 or len(shape) == 2 else shape[:2]
    ] * 4


def test_a_batch_of_grey_images_with_one_number_each():
    import tensorflow as tf

    pixels = np.zeros((8, 8, 6), "uint8")
    dataset = tf.data.Dataset.from_tensor_slices((pixels, np.arange(8.0))).batch(8)
    examples = given(dataset, IMAGE_NUMBERS)
    assert list(examples.targets) == list(map(float, range(8)))
    assert examples.inputs[0].shape == (8, 6)


# ---- several numbers -------------------------------------------------------------------------


def test_numbers_in_columns_of_a_csv_file(tmp_path):
    columns = (TEXTS, *zip(*AMOUNTS, strict=True))
    examples = table(tmp_path, NUMBERS, "text,kg,cm", columns, label_columns=["kg", "cm"])
    assert list(examples.targets) == AMOUNTS
    target = target_of(examples, NUMBERS)
    assert target.names == ("kg", "cm")
    assert target.mean == (2.625, 256.75)
    one = table(tmp_path, NUMBERS, "text,kg,cm", columns, label_column="cm")
    assert list(one.targets) == [row[1] for row in AMOUNTS]
    assert target_of(one, NUMBERS).names == ("cm",)


def test_a_cell_that_is_no_number_names_its_column(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:3: the column 'cm': the label 'tall' is not a"):
        table(tmp_path, NUMBERS, "text,kg,cm", (TEXTS, range(4), (1, "tall", 3, 4)),
              label_columns=["kg", "cm"])  # fmt: skip


def test_numbers_from_python():
    import tensorflow as tf

    frame = pd.DataFrame({"text": TEXTS, "kg": [a for a, _ in AMOUNTS]})
    frame["cm"] = [b for _, b in AMOUNTS]
    amounts = np.array(AMOUNTS)
    named = {"label_columns": ("kg", "cm")}
    for data, fields in (
        (frame, named),
        ((TEXTS, amounts), named),
        ((TEXTS, AMOUNTS), named),
        ((TEXTS, [list(row) for row in AMOUNTS]), named),
        (tf.data.Dataset.from_tensor_slices((TEXTS, amounts)), named),
        (tf.data.Dataset.from_tensor_slices((TEXTS, amounts)).batch(3), named),
        ((TEXTS, amounts), {}),
    ):
        examples = given(data, NUMBERS, **fields)
        assert list(examples.targets) == AMOUNTS
        names = target_of(examples, NUMBERS).names
        assert names == (("kg", "cm") if fields else ("number_0", "number_1"))
    with pytest.raises(DataError, match="item 1: there are 1 values for 2 columns"):
        given((TEXTS, [AMOUNTS[0], 3.0, *AMOUNTS[2:]]), NUMBERS, **named)
    with pytest.raises(DataError, match="have 1 and 2 numbers"):
        given((TEXTS, [AMOUNTS[0], 3.0, *AMOUNTS[2:]]), NUMBERS)


# ---- what follows ----------------------------------------------------------------------------


def test_a_task_of_one_class_takes_no_array_of_labels():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((TEXTS, HOT))
    with pytest.raises(DataError, match=r"labels of shape \(3,\)") as caught:
        given(dataset, CLASSES)
    assert "one-hot only for several labels" in caught.value.hint


def test_sets_and_numbers_are_split_and_described():
    rng = np.random.default_rng(0)
    hot = rng.uniform(size=(200, 3)) < (0.1, 0.3, 0.6)
    texts = [f"text {i}" for i in range(200)]
    fractions = {"validation_fraction": 0.2, "test_fraction": 0.2, "seed": 0}
    examples = split_examples(given((texts, hot), SETS, label_columns=NAMES), **fractions)
    found = describe(examples, "text-multi-label")
    assert found["rows"] == {"train": 120, "validation": 40, "test": 40}
    for label, total in zip(NAMES, hot.sum(axis=0), strict=True):
        for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
            assert abs(found["counts"][split][label] - share * total) <= 2
    assert found["warnings"] == []
    few = given((TEXTS, HOT), SETS, label_columns=NAMES)
    assert any("'big' (1), 'old' (2)" in text for text in describe(few)["warnings"])
    amounts = np.c_[hot[:, 0] + rng.normal(size=200), rng.normal(size=200)]
    numbers = split_examples(given((texts, amounts), NUMBERS), **fractions)
    assert describe(numbers)["rows"] == {"train": 120, "validation": 40, "test": 40}
    assert describe(numbers)["counts"]["train"] == {"all": 120}
    assert describe(numbers)["warnings"] == []


def test_rows_of_one_label_each_are_better_classes():
    examples = given((TEXTS, ["red", "big", "big", "red"]), SETS)
    assert "task=text-classification" in describe(examples, "text-multi-label")["warnings"][-1]

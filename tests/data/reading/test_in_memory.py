from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from tiny import write_images

from tltool.data.reading.sources import examples_from_python
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.tasks.table import TASKS

TEXT, IMAGE = TASKS["text-classification"], TASKS["image-classification"]


def test_lists_of_texts():
    examples = examples_from_python((["a", "b"], [1, np.int64(0)]), TEXT)
    assert list(examples.inputs) == ["a", "b"]
    assert list(examples.targets) == ["1", "0"]
    assert list(examples.origins) == ["item 0", "item 1"]
    with pytest.raises(DataError, match=r"(?s)2 of the rows.*item 1: the text.*item 2: the label"):
        examples_from_python((["a", None, "c"], ["x", "y", float("nan")]), TEXT)


def test_arrays_of_images():
    pixels = np.zeros((2, 5, 4, 1), "uint8")
    examples = examples_from_python((pixels, ["x", "y"]), IMAGE)
    assert [image.shape for image in examples.inputs] == [(5, 4), (5, 4)]
    with pytest.raises(DataError, match=r"item 0: the image is float64, not uint8"):
        examples_from_python((pixels / 255, ["x", "y"]), IMAGE)
    with pytest.raises(DataError, match=r"shape \(5, 4, 2\)"):
        examples_from_python((np.zeros((2, 5, 4, 2), "uint8"), ["x", "y"]), IMAGE)


def test_image_paths(tmp_path):
    folder = write_images(tmp_path, per_class=1)
    paths = [folder / "blue" / "000.jpg", str(folder / "red" / "000.jpg")]
    examples = examples_from_python((paths, ["x", "y"]), IMAGE)
    assert list(examples.inputs) == [str(path) for path in paths]
    with pytest.raises(DataError, match=r"item 1: .*gone\.jpg: there is no such file"):
        examples_from_python(([paths[0], "gone.jpg"], ["x", "y"]), IMAGE)


def test_data_frame():
    frame = pd.DataFrame({"review": ["a", "b", "c"], "stars": [1, 2, np.nan]})
    section = DataSection(input_column="review", label_column="stars", on_error="skip")
    examples = examples_from_python(frame, TEXT, section)
    assert list(examples.targets) == ["1", "2"]
    assert examples.skipped == ("item 2: the label is missing",)
    with pytest.raises(DataError, match="'review', 'stars'") as caught:
        examples_from_python(frame, TEXT)
    assert caught.value.hint.startswith("name the columns with data.input_column")


def test_mapping_of_splits():
    train = (["a", "b"], ["x", "y"])
    examples = examples_from_python({"train": train, "test": (["c"], ["x"])}, TEXT)
    assert list(examples.splits) == [None, None, "test"]
    assert examples.origins[2] == "test item 0"
    with pytest.raises(DataError) as caught:
        examples_from_python({"train": train, "tests": train}, TEXT)
    assert caught.value.hint == "did you mean `test`?"
    with pytest.raises(DataError, match="no 'train'"):
        examples_from_python({"test": train}, TEXT)


@pytest.mark.parametrize(
    "data", ["text", ["a", "b"], (["a"], "x"), (["a", "b"], ["x"]), 3, (["a"], 1)]
)
def test_other_objects_are_refused(data):
    with pytest.raises(DataError, match="data: "):
        examples_from_python(data, TEXT)


def test_dataset_batched_or_not():
    import tensorflow as tf

    texts = tf.data.Dataset.from_tensor_slices((["é", "b", "c"], [0, 1, 1]))
    for dataset in (texts, texts.batch(2)):
        examples = examples_from_python(dataset, TEXT)
        assert list(examples.inputs) == ["é", "b", "c"]
        assert list(examples.targets) == ["0", "1", "1"]
    names = tf.data.Dataset.from_tensor_slices((np.zeros((3, 5, 4, 3), "uint8"), ["x", "y", "x"]))
    for dataset in (names, names.batch(2)):
        examples = examples_from_python({"train": dataset}, IMAGE)
        assert [image.shape for image in examples.inputs] == [(5, 4, 3)] * 3
        assert list(examples.targets) == ["x", "y", "x"]


def test_datasets_that_cannot_be_used():
    import tensorflow as tf

    texts = tf.data.Dataset.from_tensor_slices((["a", "b"], ["x", "y"]))
    one_hot = tf.data.Dataset.from_tensor_slices((["a", "b"], np.eye(2)))
    with pytest.raises(DataError, match="never ends"):
        examples_from_python(texts.repeat(), TEXT)
    for dataset in (one_hot, one_hot.batch(2)):
        with pytest.raises(DataError, match="with labels of shape"):
            examples_from_python(dataset, TEXT)
    with pytest.raises(DataError, match="pairs"):
        examples_from_python(texts.map(lambda text, label: text), TEXT)


def test_lists_need_no_tensorflow():
    code = (
        "import sys; from tltool.data.reading.sources import examples_from_python as f; "
        "from tltool.tasks.table import TASKS; "
        "f((['a', 'b'], ['x', 'y']), TASKS['text-classification']); "
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'pandas', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_frames_name_images_as_tables_do(tmp_path):
    write_images(tmp_path, ("red",), 2)
    names = sorted(path.stem for path in (tmp_path / "red").iterdir())
    frame = pd.DataFrame({"image": names, "label": ["a", "b"]})
    suffix = next((tmp_path / "red").iterdir()).suffix
    section = DataSection(image_root=str(tmp_path / "red"), image_suffix=suffix)
    examples = examples_from_python(frame, TASKS["image-classification"], section)
    assert list(examples.inputs) == [str(tmp_path / "red" / f"{name}{suffix}") for name in names]

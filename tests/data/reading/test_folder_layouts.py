"""Folders of images as other programs write them: read where they fit, else told what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import write_images

from tltool.data.labels import count_targets, make_task
from tltool.data.reading.sources import load_examples, load_labelled
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.table import TASKS

IMAGE, SETS, NUMBERS = (
    TASKS[f"image-{kind}"] for kind in ("classification", "multi-label", "regression")
)


def pictures(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)
    return folder


def load(path: Path, spec, **fields):
    return load_examples(DataSection(train=str(path), **fields), spec)


def refused(path: Path, spec=IMAGE, **fields) -> DataError:
    with pytest.raises(DataError) as caught:
        load(path, spec, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("images", "masks"), "segmentation"),
        (("Images", "Masks"), "segmentation"),
        (("image", "mask"), "segmentation"),
        (("images", "annotations"), "detection"),
        (("images", "labels"), "detection"),
        (("images", "labels", "annotations"), "detection"),
    ],
)
@pytest.mark.parametrize("below", ["", "train"])
@pytest.mark.parametrize("spec", [IMAGE, SETS], ids=lambda spec: spec.name)
def test_parts_of_other_data_are_no_classes(tmp_path, names, kind, below, spec):
    for name in names:
        pictures(tmp_path / below / name, "1.png", "2.png")
    if below:
        pictures(tmp_path / "val" / names[0], "3.png")
    error = refused(tmp_path, spec)
    assert f"{tmp_path / below} holds {', '.join(f'{n}/' for n in sorted(names))}" in error.message
    assert f"looks like data for {kind}, not like one folder for each class" in error.message
    assert f"no task for {kind} in this version" in error.hint


def test_classes_that_are_called_like_parts_are_classes_beside_others(tmp_path):
    write_images(tmp_path, classes=("masks", "gloves", "images"), per_class=1)
    assert set(load(tmp_path, IMAGE).targets) == {"masks", "gloves", "images"}


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "Valid", "test"), ("test", "val")])
@pytest.mark.parametrize("spec", [IMAGE, SETS, NUMBERS], ids=lambda spec: spec.name)
def test_splits_with_pictures_directly_in_them(tmp_path, names, spec):
    for name in names:
        pictures(tmp_path / name, "1.png", "2.png")
    error = refused(tmp_path, spec)
    assert f"holds {', '.join(f'{n}/' for n in sorted(names))} with the files directly" in (
        error.message
    )
    assert "splits without folders for the classes" in error.message
    assert "one folder for each class" in error.hint
    assert "table of labels" in error.hint


@pytest.fixture
def roboflow(tmp_path):
    """As Roboflow exports several labels: a table beside the pictures of each split."""
    tables = {
        "train": "filename, a, b\n1.png, 1, 0\n2.png, 0, 1\n3.png, 1, 1\n4.png, 0, 0\n",
        "valid": "filename, b, a\n5.png, 1, 0\n",
        "test": "filename, a, b\n6.png, 0, 0\n7.png, 0, 1\n",
    }
    for split, table in tables.items():
        names = [line.split(",")[0] for line in table.splitlines()[1:]]
        (pictures(tmp_path / split, *names) / "_classes.csv").write_text(table)
    (tmp_path / "README.roboflow.txt").write_text("made by")
    return tmp_path


def test_tables_beside_pictures_are_read(roboflow):
    examples = load(roboflow, SETS)
    assert examples.kind is ClassSetTarget
    assert list(examples.targets) == [("a",), ("b",), ("a", "b"), (), ("b",), (), ("b",)]
    assert list(examples.splits) == ["train"] * 4 + ["validation"] + ["test"] * 2
    assert [Path(path).relative_to(roboflow).as_posix() for path in examples.inputs[3:6]] == [
        "train/4.png", "valid/5.png", "test/6.png",
    ]  # fmt: skip
    assert examples.origins[4] == f"{roboflow / 'valid' / '_classes.csv'}:2"
    assert count_targets(examples)["train"] == {"a": 2, "b": 2}
    assert make_task(SETS, examples).target.frequencies == (0.5, 0.5)


def test_one_folder_with_a_table(roboflow):
    examples = load(roboflow / "train", SETS, test=str(roboflow / "valid"))
    assert list(examples.targets) == [("a",), ("b",), ("a", "b"), (), ("b",)]
    assert list(examples.splits) == [None] * 4 + ["test"]
    found = load_labelled(roboflow, DataSection(), SETS)  # of the folders, the one to test on
    assert list(found.targets) == [(), ("b",)]


def test_some_columns_of_the_table_alone(roboflow):
    examples = load(roboflow, SETS, label_columns=["b"])
    assert list(examples.targets)[:4] == [(), ("b",), ("b",), ()]


def test_columns_of_numbers_keep_their_names(roboflow):
    examples = load(roboflow, NUMBERS)
    assert list(examples.targets)[:3] == [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    assert list(examples.targets)[4] == (0.0, 1.0)  # by name, not by place
    assert make_task(NUMBERS, examples).target.names == ("a", "b")


def test_what_is_wrong_with_a_table_names_its_line_and_column(roboflow):
    table = roboflow / "train" / "_classes.csv"
    table.write_text("filename,a,b\n1.png,1,yes\n2.png,0,maybe\ngone.png,0,1\n")
    message = refused(roboflow, SETS).message
    assert f"{table}:3: the column 'b' holds 'maybe', not 0 or 1" in message
    assert f"{table}:4: " in message
    assert "gone.png: there is no such file" in message
    table.write_text("filename,a,b\n1.png,1,0\n2.png,0,0\n")
    error = refused(roboflow, SETS)
    assert "No training example has 1 label: 'b'" in error.message
    assert "data.label_columns" in error.hint
    table.write_text("filename,a,c\n1.png,1,0\n2.png,0,1\n")
    assert (
        "_classes.csv: there is no column 'c'; its columns are" in refused(roboflow, SETS).message
    )


def test_a_task_of_one_class_says_which_task_reads_the_table(roboflow):
    error = refused(roboflow, IMAGE)
    assert "no class folders" in error.message
    assert "task=image-multi-label reads it" in error.hint

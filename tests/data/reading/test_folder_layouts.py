"""Folders of images as other programs write them: read where they fit, else told what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import write_images

from tltool.data.labels import count_targets, make_task
from tltool.data.reading import csv_records
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
    wanted = {"detection": "no task for detection", "segmentation": "task=image-segmentation"}
    assert wanted[kind] in error.hint


def test_classes_that_are_called_like_parts_are_classes_beside_others(tmp_path):
    write_images(tmp_path, classes=("masks", "gloves", "images"), per_class=1)
    assert set(load(tmp_path, IMAGE).targets) == {"masks", "gloves", "images"}


@pytest.mark.parametrize(
    "names",
    [("train", "test"), ("Train", "Valid", "test"), ("test", "val"), ("train", "eval"), ("train",)],
)
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


def test_a_table_beside_pictures_has_any_separator(roboflow):
    table = roboflow / "train" / "_classes.csv"
    table.write_text(table.read_text().replace(",", ";"))
    assert list(load(roboflow / "train", SETS).targets) == [("a",), ("b",), ("a", "b"), ()]


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


@pytest.fixture
def metadata(tmp_path):
    """As `datasets` of Hugging Face has it: a table with `file_name` beside the pictures."""
    for split, names in {"train": "123", "validation": "4", "test": "56"}.items():
        pictures(tmp_path / split, *(f"{name}.png" for name in names))
        rows = [f"{name}.png,{'cat' if int(name) % 2 else 'dog'},{name}.5,{name}" for name in names]
        table = "\n".join(["file_name,label,weight,age", *rows])
        (tmp_path / split / "metadata.csv").write_text(table)
    (tmp_path / "README.md").write_text("---\n")
    return tmp_path


def test_metadata_tables_beside_the_pictures_of_splits(metadata):
    examples = load(metadata, IMAGE)
    assert list(examples.targets) == ["cat", "dog", "cat", "dog", "cat", "dog"]
    assert list(examples.splits) == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert examples.inputs[3] == str(metadata / "validation" / "4.png")
    assert examples.origins[0] == f"{metadata / 'train' / 'metadata.csv'}:2"
    assert list(load_labelled(metadata, DataSection(), IMAGE).targets) == ["cat", "dog"]
    numbers = load(metadata, NUMBERS, label_columns=["weight", "age"])
    assert numbers.targets[0] == (1.5, 1.0)
    assert list(load(metadata, NUMBERS, label_column="age").targets)[:2] == [1.0, 2.0]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_metadata_in_other_formats(tmp_path, form):
    import pandas as pd

    pictures(tmp_path, "1.png", "2.png")
    frame = pd.DataFrame({"file_name": ["1.png", "2.png"], "tags": [["a", "b"], ["c"]]})
    path = tmp_path / f"metadata.{form}"
    if form == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    assert list(load(tmp_path, SETS, label_column="tags").targets) == [("a", "b"), ("c",)]


def test_one_metadata_table_above_the_splits(tmp_path):
    pictures(tmp_path / "train", "1.png", "2.png")
    pictures(tmp_path / "test", "3.png")
    rows = "file_name,label\ntrain/1.png,a\ntrain/2.png,b\ntest/3.png,b\n"
    table = tmp_path / "metadata.csv"
    table.write_text(rows)
    assert list(load(tmp_path, IMAGE).splits) == [None, None, "test"]
    pictures(tmp_path, "4.png")
    table.write_text(rows + "4.png,a\n")
    assert f"{table}:5: {tmp_path / '4.png'} lies in no folder of a split" in (
        refused(tmp_path, IMAGE).message
    )
    table.write_text(f"{rows}{tmp_path.parent / 'far.png'},a\n")
    assert f"{table}:5: {tmp_path.parent / 'far.png'} lies in no folder of a split" in (
        refused(tmp_path, IMAGE).message
    )
    table.write_text(rows + ",a\n")
    assert f"{table}:5: the image path is empty" in refused(tmp_path, IMAGE).message
    table.write_text("file_name;label\n4.png;a\ntest/3.png;b\n")
    assert list(load(tmp_path, IMAGE).splits) == [None, None]


def test_pictures_that_the_metadata_lacks_are_told(metadata, caplog):
    pictures(metadata / "train", "7.png", "8.png")
    assert len(load(metadata, IMAGE)) == 6
    assert f"2 of the 5 images in {metadata / 'train'} are not in metadata.csv" in caplog.text
    assert "'7.png', '8.png'" in caplog.text


def test_metadata_without_what_is_needed(metadata):
    error = refused(metadata, IMAGE, label_column="breed")
    assert "there is no column 'breed'; its columns are 'file_name', 'label'" in error.message
    assert "data.label_column" in error.hint
    (metadata / "train" / "metadata.jsonl").write_text('{"file_name": "1.png", "label": "a"}')
    assert "several tables: metadata.csv, metadata.jsonl" in refused(metadata, IMAGE).message


def test_class_folders_beside_a_table_that_lacks_the_labels(tmp_path):
    write_images(tmp_path, per_class=1)
    table = tmp_path / "metadata.csv"
    for columns in ("file_name,photographer", "id,label"):
        table.write_text(f"{columns}\nred/000.jpg,me\n")
        assert set(load(tmp_path, IMAGE).targets) == {"red", "blue"}
    table.write_text("file_name,label\nred/000.jpg,warm\nblue/000.jpg,cold\n")
    assert set(load(tmp_path, IMAGE).targets) == {"warm", "cold"}


def test_linked_folders_are_read_as_folders(tmp_path):
    write_images(tmp_path / "base", per_class=2)
    write_images(tmp_path / "data", per_class=1)
    for name in ("red", "blue"):
        (tmp_path / "data" / name / "more").symlink_to(tmp_path / "base" / name)
        (tmp_path / "links").mkdir(exist_ok=True)
        (tmp_path / "links" / name).symlink_to(tmp_path / "base" / name)
    assert len(load(tmp_path / "data", IMAGE)) == 6
    assert list(load(tmp_path / "links", IMAGE).targets) == ["blue", "blue", "red", "red"]


def test_a_class_with_a_hidden_name_is_told(tmp_path, caplog):
    write_images(tmp_path, classes=(".net", "java", "python"), per_class=2)
    pictures(tmp_path / "java" / "@eaDir", "000.jpg")
    assert set(load(tmp_path, IMAGE).targets) == {"java", "python"}
    assert f"{tmp_path / '.net'} (2 files)" in caplog.text
    assert f"{tmp_path / 'java' / '@eaDir'} (1 file)" in caplog.text
    assert "rename what should be used" in caplog.text


def test_a_path_that_is_too_long_for_one_is_not_there(tmp_path):
    for name in ("x" * 300, "x" * 300 + "/y", "y/x"):
        assert "there is no file or folder" in refused(tmp_path / name, IMAGE).message
    (tmp_path / "t.csv").write_text(f"image,label\n{'x' * 300}.png,a\n")
    assert "cannot be read (File name too long)" in refused(tmp_path / "t.csv", IMAGE).message


@pytest.mark.parametrize("name", ["metadata.csv", "_classes.csv"])
def test_a_table_beside_pictures_is_split_into_records_once(tmp_path, monkeypatch, name):
    """Its header is read before, and no more of it."""
    pictures(tmp_path, *(f"{i}.png" for i in range(8)))
    lines = [f"{i}.png,{i % 2},{(i + 1) % 2}" for i in range(8)]
    (tmp_path / name).write_text("\n".join(["file_name,a,b", *lines]))
    read = []
    records = csv_records._records

    def noted(*given, **settings):
        for record in records(*given, **settings):
            read.append(record.line)
            yield record

    monkeypatch.setattr(csv_records, "_records", noted)
    columns = {"label_columns": ["a", "b"]} if name == "metadata.csv" else {}
    assert len(load(tmp_path, SETS, **columns)) == 8
    assert read == [1, *range(1, 10)]

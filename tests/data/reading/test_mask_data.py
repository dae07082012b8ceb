"""Pictures with masks from folders, tables, COCO's files and Python; every fault at once."""

from __future__ import annotations

import json
import shutil

import mask_data
import numpy as np
import pytest
from PIL import Image

from tltool.data.reading.in_memory import examples_from_python
from tltool.data.reading.sources import load_examples, load_labelled
from tltool.data.splits import split_examples
from tltool.recipe.schema import DataSection
from tltool.support.errors import DataError
from tltool.tasks.table import TASKS

SPEC = TASKS["image-segmentation"]
NAMES = ("background", "class 1", "class 2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mask_data.write_folders(tmp_path_factory.mktemp("masks") / "all", 12)


def load(source, **settings):
    return load_examples(DataSection(train=str(source), **settings), SPEC)


def test_pairs_of_folders(folder):
    examples = load(folder)
    assert len(examples) == 12
    assert examples.targets[0].table.names == NAMES
    for value, target in zip(examples.inputs, examples.targets, strict=True):
        number = int(value[-7:-4])
        wanted = mask_data.scene(number)[1]
        wanted[:3, :3][number % 6 == 0] = 255
        np.testing.assert_array_equal(target.numbers(), wanted)


@pytest.mark.parametrize("nested", ["train/images", "images/train"])
def test_folders_of_splits(folder, tmp_path, nested):
    for split, numbers in {"train": range(8), "val": (8, 9), "test": (10, 11)}.items():
        for kind in ("images", "masks"):
            place = tmp_path / nested.replace("train", split).replace("images", kind)
            place.mkdir(parents=True)
            for number in numbers:
                shutil.copy(folder / kind / f"{number:03}.png", place)
    examples = load(tmp_path)
    found = [examples.splits.count(split) for split in ("train", "validation", "test")]
    assert found == [8, 2, 2]
    assert len(load_labelled(tmp_path, DataSection(), SPEC)) == 2


def test_a_picture_beside_the_folders_of_splits_does_not_undo_them(folder, tmp_path):
    for number, place in enumerate(("train", "train", "test", "")):
        for kind in ("images", "masks"):
            (tmp_path / kind / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / kind / f"{number:03}.png", tmp_path / kind / place)
    with pytest.raises(DataError, match=r"images/003\.png lies in no folder of a split"):
        load(tmp_path)


def test_tables_name_masks_beside_them(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "d")
    lines = [f"images/{n:03}.png,masks/{n:03}.png" for n in range(12)]
    (tmp_path / "d" / "rows.csv").write_text("\n".join(["image,mask", *lines, ""]))
    classes = {"ground": 0, "square": 1, "bar": 2}
    examples = load(tmp_path / "d" / "rows.csv", mask_classes=classes)
    assert examples.targets == load(folder).targets
    assert examples.targets[1].present == ("ground", "square", "bar")
    split = split_examples(examples, validation_fraction=0.2, test_fraction=0.2, seed=0)
    for part in ("train", "validation", "test"):
        present = {name for target in split.split(part).targets for name in target.present}
        assert present == set(classes)


def test_every_fault_is_told_at_once(folder, tmp_path):
    place = tmp_path / "faulty"
    shutil.copytree(folder, place)
    Image.new("L", (10, 10)).save(place / "masks" / "000.png")
    (place / "masks" / "001.png").write_bytes(b"no picture")
    (place / "masks" / "002.png").unlink()
    (place / "images" / "003.png").unlink()
    shutil.copy(place / "masks" / "005.png", place / "masks" / "005.gif")
    with pytest.raises(DataError) as caught:
        load(place)
    text = str(caught.value)
    for told in ("10 x 10 pixels, its picture 48 x 40", "001.png: the mask cannot be read",
                 "there is no mask of this name", "there is no picture of this name",
                 "which mask is of which picture"):  # fmt: skip
        assert told in text
    assert "5 of the rows" in text
    assert len(load(place, on_error="skip")) == 7


def test_other_folders_say_what_is_needed(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="is a folder") as caught:
        load(tmp_path)
    assert "images/" in caught.value.hint


def test_python_objects(folder):
    pictures, masks = zip(*map(mask_data.scene, range(4)), strict=True)
    for labels in (list(masks), np.stack(masks), [str(folder / "masks" / f"{n:03}.png")
                                                  for n in range(1, 5)]):  # fmt: skip
        assert len(examples_from_python((list(pictures), labels), SPEC)) == 4
    with pytest.raises(DataError, match="its picture"):
        examples_from_python((list(pictures), [mask[:9] for mask in masks]), SPEC)


def test_one_class_is_nothing_to_learn(folder):
    pictures = [mask_data.scene(n)[0] for n in range(3)]
    with pytest.raises(DataError, match="the same class"):
        examples_from_python((pictures, [np.zeros(mask_data.SIZE, np.uint8)] * 3), SPEC)


def test_annotations_of_coco(tmp_path):
    coding = pytest.importorskip("pycocotools.mask")
    images, shapes = [], []
    for number in range(3):
        picture, mask = mask_data.scene(2 * number + 1)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 40, "width": 48})
        rows, columns = np.nonzero(mask == 1)
        top, left = int(rows.min()), int(columns.min())
        bottom, right = min(top + 14, 30), left + 14
        square = [left, top, right, top, right, bottom, left, bottom]
        packed = coding.encode(np.asfortranarray(mask == 2))
        packed["counts"] = packed["counts"].decode()
        shapes += [
            {"image_id": number, "category_id": 7, "segmentation": [square]},
            {"image_id": number, "category_id": 9, "segmentation": packed, "iscrowd": 1},
        ]
    file = tmp_path / "annotations.json"
    content = {
        "images": images,
        "annotations": shapes,
        "categories": [{"id": 9, "name": "bar"}, {"id": 7, "name": "square"}],
    }
    file.write_text(json.dumps(content))
    examples = load(file)
    assert examples.targets[0].table.names == ("background", "square", "bar")
    for number, target in enumerate(examples.targets):
        np.testing.assert_array_equal(target.numbers(), mask_data.scene(2 * number + 1)[1])
    # Classes that are given have their own order, and may be more.
    classes = {"dot": 7, "bar": 3, "background": 1, "square": 2}
    given = load(file, mask_classes=classes)
    for target, other in zip(given.targets, examples.targets, strict=True):
        np.testing.assert_array_equal(target.numbers(), np.array([2, 3, 1])[other.numbers()])
    with pytest.raises(DataError, match=r"has the label 'bar'; known are 'background', 'square'"):
        load(file, mask_classes={"background": 0, "square": 1})
    content["images"][0]["height"] = 41
    content["annotations"][2]["segmentation"] = [[1, 2, 3]]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="2 of the rows"):
        load(file)

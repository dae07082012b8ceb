"""Masks are read whatever their form is, and what is wrong with each is told."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tltool.support.errors import DataError
from tltool.tasks.masks.files import IGNORED, ClassTable, MaskReader, check_size, code_of
from tltool.tasks.masks.pictures import class_numbers, coded_png, numbers_in, palette
from tltool.tasks.values import BadValueError

NUMBERS = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)


def png(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def indexed(numbers: np.ndarray, colours: np.ndarray | None = None) -> bytes:
    picture = Image.fromarray(numbers, "L")
    picture.putpalette((palette() if colours is None else colours).tobytes())
    return png(picture)


FORMS = {
    "grey": png(Image.fromarray(NUMBERS)),
    "palette": indexed(NUMBERS),
    "grey as RGB": png(Image.fromarray(NUMBERS).convert("RGB")),
    "16 bit": png(Image.fromarray(NUMBERS.astype(np.uint16))),
    "array": NUMBERS,
    "array of whole numbers": NUMBERS.astype(np.int64),
}


@pytest.mark.parametrize("form", FORMS)
def test_values_are_classes_in_their_order(form):
    reader = MaskReader([FORMS[form]], None)
    mask = reader(FORMS[form])
    np.testing.assert_array_equal(mask.numbers(), NUMBERS)
    assert reader.table.names == ("background", "class 1", "class 2")
    assert (mask.size, mask.counts) == ((2, 3), (2, 2, 2))


def test_colours_are_classes_and_palettes_among_them_are_read_by_their_colours():
    colours = palette()[NUMBERS]
    cells = [png(Image.fromarray(colours)), indexed(NUMBERS)]
    reader = MaskReader(cells, None)
    first, second = map(reader, cells)
    assert first == second
    assert reader.table.names == ("background", "class #008000", "class #800000")
    table = ClassTable.given({"red": "#800000", "green": (0, 128, 0), "nothing": "#000000"})
    np.testing.assert_array_equal(
        MaskReader(cells, table)(cells[1]).numbers(), np.array([2, 0, 1])[NUMBERS]
    )


def test_palettes_that_differ_need_to_be_told_whether_numbers_or_colours_count(tmp_path):
    turned = palette().copy()
    turned[[1, 2]] = turned[[2, 1]]
    turned[9:] = 7  # of numbers that are not there
    cells = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    for cell, content in zip(cells, (indexed(NUMBERS), indexed(NUMBERS, turned)), strict=True):
        Path(cell).write_bytes(content)
    with pytest.raises(DataError) as refused:
        MaskReader(cells, None)
    assert f"#800000 in {cells[0]} and #008000 in {cells[1]}" in str(refused.value)
    assert "data.mask_classes" in refused.value.hint
    numbers = ClassTable.given({"nothing": 0, "one": 1, "two": 2})
    colours = ClassTable.given({"nothing": "#000000", "red": "#800000", "green": "#008000"})
    for table, second in ((numbers, NUMBERS), (colours, np.array([0, 2, 1])[NUMBERS])):
        reader = MaskReader(cells, table)
        np.testing.assert_array_equal(reader(cells[0]).numbers(), NUMBERS)
        np.testing.assert_array_equal(reader(cells[1]).numbers(), second)
    other = palette().copy()
    other[9:] = 7
    same = [indexed(NUMBERS), indexed(NUMBERS, other)]
    assert MaskReader(same, None).table.names == ("background", "class 1", "class 2")


@pytest.mark.parametrize(
    ("values", "names", "ignored"),
    [
        ([0, 255], ("background", "class 255"), None),
        ([0, 1, 255], ("background", "class 1"), 255),
        ([1, 7], ("class 1", "class 7"), None),
    ],
)
def test_255_is_ignored_where_there_are_two_other_values(values, names, ignored):
    cell = np.array([values, values], np.uint8)
    reader = MaskReader([cell], None)
    assert (reader.table.names, reader.table.ignored) == (names, ignored)
    assert (IGNORED in reader(cell).numbers()) == (ignored is not None)


def test_an_ignored_value_of_ones_own():
    cell = np.array([[0, 1, 2]], np.uint8)
    mask = MaskReader([cell], None, 0)(cell)
    assert mask.present == ("class 1", "class 2")
    assert mask.numbers().tolist() == [[IGNORED, 0, 1]]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("nowhere.png", "there is no such mask"),
        (b"no picture", "cannot be read"),
        (None, "missing"),
        (" ", "missing"),
        (np.zeros((2, 2)), "float64"),
        (np.array([[0, 1, 9]], np.uint8), "9 .1 of 3 pixels., which is no class"),
    ],
)
def test_faults_are_told(cell, reason):
    reader = MaskReader([cell], ClassTable.given({"a": 0, "b": 1}))
    with pytest.raises(BadValueError, match=reason):
        reader(cell)


def test_pictures_are_no_masks():
    cell = np.arange(200, dtype=np.uint8)[None]
    with pytest.raises(BadValueError, match="200 different values"):
        MaskReader([cell], None)(cell)
    colours = (np.arange(900) % 256).astype(np.uint8).repeat(3).reshape(30, 30, 3)
    colours[..., 1] = np.arange(30)
    with pytest.raises(BadValueError, match="the mask has more than 256 different values"):
        MaskReader([colours], ClassTable.given({"a": "#000000", "b": "#ffffff"}))(colours)


def test_faults_of_a_table_are_told_together():
    with pytest.raises(DataError) as caught:
        ClassTable.given({"a": 0, "b": 0, "c": "#ffffff"})
    assert "0 stands for more" in str(caught.value) or "more than one class" in str(caught.value)
    assert "some classes have values and others colours" in str(caught.value)
    with pytest.raises(BadValueError):
        code_of("#12345g")


def test_a_mask_has_the_size_of_its_picture_as_it_is_seen(tmp_path):
    """EXIF 6 turns a picture of 3 x 2 pixels to one of 2 x 3."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = tmp_path / "turned.jpg"
    Image.new("RGB", (3, 2)).save(picture, exif=exif)
    stored, seen = NUMBERS, np.ascontiguousarray(NUMBERS.T)
    reader = MaskReader([stored, seen], None)
    assert check_size(reader(seen), str(picture)).size == (3, 2)
    with pytest.raises(BadValueError, match=r"3 x 2 pixels, its picture 2 x 3: .* EXIF"):
        check_size(reader(stored), str(picture))
    turned = png(Image.fromarray(stored), exif=exif)
    assert MaskReader([turned], None)(turned).size == (3, 2)


@pytest.mark.parametrize(
    "classes",
    [{"a": 0, "b": 7, "c": 255}, {"a": 0, "b": 300, "c": 4000}, {"a": "#000000", "b": "#ff0000",
     "c": "#0000ff"}],
)  # fmt: skip
def test_predicted_masks_are_read_back(classes):
    table = ClassTable.given(classes)
    np.testing.assert_array_equal(numbers_in(coded_png(NUMBERS, table), table), NUMBERS)


def test_masks_of_another_size_are_interpolated_by_probability():
    """From 0.7 at 25 of 40 columns to 0 at 35: one half is passed at 27.9."""
    share = np.array([1, 1, 0.7, 0], np.float32)
    probabilities = np.stack([share, 1 - share], -1)[None].repeat(2, 0)
    numbers = class_numbers(probabilities, (4, 40))
    assert numbers.shape == (4, 40)
    assert numbers[0].tolist() == [0] * 28 + [1] * 12

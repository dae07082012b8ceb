from __future__ import annotations

import io
import zlib
from pathlib import Path

import image_zoo as zoo
import numpy as np
import pytest
from PIL import Image
from tiny import write_images

from tltool.data.checks.doctor import check_examples
from tltool.data.checks.summary import describe
from tltool.data.examples import Examples
from tltool.data.reading.sources import load_examples
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS

IMAGE = TASKS["image-classification"]


def load(folder: Path) -> Examples:
    return load_examples(DataSection(train=str(folder)), IMAGE)


def encoded(form: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def test_every_broken_file_is_named_at_once(tmp_path):
    folder = write_images(tmp_path, per_class=3)
    truncated, empty, text = (
        folder / "blue" / "cut.jpg",
        folder / "red" / "none.png",
        folder / "red" / "text.jpg",
    )
    truncated.write_bytes((folder / "blue" / "000.jpg").read_bytes()[:-200])
    empty.write_bytes(b"")
    text.write_text("hello, I am a text")
    with pytest.raises(DataError) as caught:
        check_examples(load(folder), on_error="stop")
    message = caught.value.message
    assert message.startswith("3 of the image files")
    assert f"{truncated}: damaged or truncated JPEG" in message
    assert f"{empty}: the file is empty (0 bytes)" in message
    assert f"{text}: not an image but a file that begins with b'hello" in message
    kept = check_examples(load(folder), on_error="skip")
    assert len(kept) == 6
    assert len(kept.skipped) == 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WebP"])
def test_truncation_is_found_in_every_format(tmp_path, form):
    folder = write_images(tmp_path, per_class=1)
    whole = folder / "blue" / f"whole.{form.lower()}"
    whole.write_bytes(encoded(form))
    assert len(check_examples(load(folder), on_error="stop")) == 3
    cut = folder / "red" / f"cut.{form.lower()}"
    cut.write_bytes(encoded(form)[: len(encoded(form)) * 2 // 3])
    with pytest.raises(DataError, match=f"cut.{form.lower()}: damaged or truncated {form}"):
        check_examples(load(folder), on_error="stop")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"II*\0rest", "TIFF"),
        (b"\0\0\0\x18ftypheic", "a HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "an AVIF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "a video"),
        (b"RIFF\0\0\0\0WAVE", "RIFF"),
    ],
)
def test_other_formats_under_a_wrong_name(tmp_path, data, reason):
    folder = write_images(tmp_path, per_class=1)
    (folder / "red" / "x.jpg").write_bytes(data)
    with pytest.raises(DataError, match=rf"x\.jpg: not an image but .*{reason}"):
        check_examples(load(folder), on_error="stop")


def test_what_the_decoder_takes_no_later_step_refuses(tmp_path):
    """Damage beside the pixels, and texts that are larger than other libraries read."""
    folder = write_images(tmp_path, per_class=1)
    plain = zoo.encode(zoo.picture(), "PNG")
    text = zoo.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)))
    damaged = zoo.chunk(b"tEXt", b"Comment\0hello")[:-1] + b"?"
    (folder / "red" / "text.png").write_bytes(zoo.with_chunk(plain, text))
    (folder / "red" / "damaged.png").write_bytes(zoo.with_chunk(plain, damaged))
    examples = check_examples(load(folder), on_error="stop")
    assert describe(examples)["image_width_px"]["min"] == 31


def test_a_picture_that_is_too_large_is_a_broken_file(tmp_path):
    folder = write_images(tmp_path, per_class=2)
    line = bytes(20_000 // 8 + 1)
    bomb = zoo.png(20_000, 20_000, line * 20_000, depth=1, colour=0)
    (folder / "red" / "huge.png").write_bytes(bomb)
    with pytest.raises(DataError, match=r"huge\.png: a PNG that is too large: 20000 x 20000 pix"):
        check_examples(load(folder), on_error="stop")
    kept = check_examples(load(folder), on_error="skip")
    assert (len(kept), len(kept.skipped)) == (4, 1)


def test_a_class_may_not_vanish(tmp_path):
    folder = write_images(tmp_path, per_class=2)
    for path in (folder / "red").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="All 2 image files of the class 'red'"):
        check_examples(load(folder), on_error="skip")
    for path in (folder / "blue").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="all of them are broken"):
        check_examples(load(folder), on_error="skip")


def test_a_table_row_is_named_with_its_file(tmp_path):
    write_images(tmp_path, per_class=1)
    (tmp_path / "bad.png").write_bytes(b"")
    rows = "image,label\nblue/000.jpg,blue\nred/000.jpg,red\nbad.png,red\nbad.png,blue\n"
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(DataError) as caught:
        check_examples(load(tmp_path / "t.csv"), on_error="stop")
    for line in (4, 5):
        assert f"t.csv:{line}: {tmp_path / 'bad.png'}: the file is empty" in caught.value.message


def test_describe_counts_and_warns():
    texts = ["good", "good ", "bad", "good", "fine", "odd"]
    examples = Examples(
        "text",
        texts,
        ["Positive", "positive", "negative", "Positive", "Positive", "negative"],
        ["train", "train", "train", "test", "train", "test"],
        [f"a.csv:{i}" for i in range(2, 8)],
    )
    found = describe(examples)
    assert found["counts"]["train"] == {"Positive": 2, "negative": 1, "positive": 1}
    assert found["duplicates"] == 2
    assert found["across_splits"] == {"train and test": [["a.csv:2", "a.csv:5"]]}
    assert len(found["conflicts"]) == 1
    assert found["text_length_characters"]["max"] == 5
    warnings = "\n".join(found["warnings"])
    for part in ("both in train and test", "different labels", "look alike", "fewer than 10"):
        assert part in warnings
    assert list(examples.inputs) == texts


@pytest.mark.parametrize("apart", [False, True])
def test_describe_warns_of_groups_across_splits(apart, tmp_path):
    rows = [("train", "p"), ("train", "q"), ("train", "p"), ("val", "q"), ("val", "r"),
            ("test", "q"), ("test", "p"), ("test", "s")]  # fmt: skip
    how = {"split_column": "split"}
    for split in ("train", "val", "test"):
        lines = [f"{split} {i},{'ab'[i % 2]},{one},{group}" for i, (one, group) in enumerate(rows)
                 if one == split or not apart]  # fmt: skip
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label,split,who", *lines]))
    if apart:
        how = {"validation": str(tmp_path / "val.csv"), "test": str(tmp_path / "test.csv")}
    section = DataSection(train=str(tmp_path / "train.csv"), group_column="who", **how)
    found = describe(load_examples(section, TASKS["text-classification"]))
    assert {pair: len(groups) for pair, groups in found["groups_across_splits"].items()} == {
        "train and validation": 1,
        "train and test": 2,
        "validation and test": 1,
    }
    told = next(text for text in found["warnings"] if "train and test" in text)
    places = ("train.csv:2", "test.csv:3" if apart else "train.csv:8")
    first, last = (str(tmp_path / place) for place in places)
    assert told.startswith(
        f"Of 2 groups rows are both in train and test (the first, 'p': {first} and {last});"
    )


def test_describe_images_and_numbers(tmp_path):
    found = describe(load(write_images(tmp_path, per_class=12)))
    assert found["image_width_px"]["median"] == 48
    assert found["image_height_px"]["max"] == 40
    assert found["warnings"] == []
    numbers = Examples(
        "text", ["a", "b"], [1.0, 3.0], ["train"] * 2, ["x", "y"], kind=NumbersTarget
    )
    assert describe(numbers)["targets"]["median"] == 2.0
    assert describe(numbers)["warnings"] == []
    assert describe(numbers)["counts"] == {"train": {"all": 2}}


def test_describe_warns_of_uneven_classes():
    targets = ["a"] * 400 + ["b"] * 20
    examples = Examples("text", [str(i) for i in range(420)], targets, ["train"] * 420, targets)
    (warning,) = describe(examples)["warnings"]
    assert "400 of 'a', 20 of 'b'" in warning


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("Red", "red", "'Red', 'red'"),
        ("caf\u00e9", "cafe\u0301", r"'cafe\u0301', 'caf\xe9'"),
        ("good", "go\u200bod", r"'good', 'go\u200bod'"),
        ("1", "1.0", "'1', '1.0'"),
    ],
)
def test_labels_that_look_alike_are_told_by_what_differs(one, other, told):
    targets = [one, other] * 20
    examples = Examples("text", [str(i) for i in range(40)], targets, ["train"] * 40, targets)
    (warning,) = [text for text in describe(examples)["warnings"] if "alike" in text]
    assert warning.endswith(f": {told}.")


def test_many_classes_with_few_examples_are_one_warning():
    targets = [f"c{number}" for number in range(30)] + ["c29"]
    examples = Examples("text", targets, targets, ["train"] * 31, targets)
    (warning,) = describe(examples)["warnings"]
    assert warning.startswith("30 classes have fewer than 10 training examples: 'c0' (1), 'c1' (1)")
    assert warning.endswith("and 20 more.")


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("highest", "told"), [(4080, "6.2%"), (8191, "12.5%"), (65_535, "")])
def test_pictures_that_use_the_lowest_levels_of_16_bits_get_a_warning(
    suffix, highest, told, tmp_path
):
    for number in range(24):
        levels = np.zeros((20, 20), np.uint16)
        levels.flat[: number + 1] = highest
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(levels).save(folder / f"{number}.{suffix}")
    found = describe(load(tmp_path))["warnings"]
    assert len(found) == bool(told)
    if told:
        share = told if suffix == "png" else {"6.2%": "5.9%", "12.5%": "12.2%"}[told]
        assert f"24 of 24 pictures looked at are nearly black: they use {share}" in found[0]

"""The formats that data sets come in, each written here as people write it."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import struct
import tarfile
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import ipc, parquet
from test_sources import IMAGE, TEXT, load, refused, write
from tiny import write_images

from tltool.data.checks.doctor import check_examples
from tltool.data.checks.fingerprints import content_digests
from tltool.data.reading.columns import Columns
from tltool.data.reading.sources import examples_from_python, load_labelled
from tltool.data.reading.tables import column_names, read_table
from tltool.recipe.recipe import DataSection
from tltool.runs.predict import collect_inputs, row_of
from tltool.support.errors import DataError
from tltool.support.files import cache_dir
from tltool.tasks.masks.files import MaskReader
from tltool.tasks.table import TASKS
from tltool.tasks.values import BadValueError

HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[tuple[bytes, str]]:
    """Encoded pictures and their classes."""
    folder = write_images(tmp_path_factory.mktemp("photos"), per_class=4)
    return [(path.read_bytes(), path.parent.name) for path in sorted(folder.rglob("*.jpg"))]


def hf_table(photos, names=("blue", "red")) -> pa.Table:
    """A table as `datasets` has it: images as structs, labels as numbers of a ClassLabel."""
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.table(
        {
            "image": pa.array([{"bytes": b, "path": "a.jpg"} for b, _ in photos], HF_IMAGE),
            "label": [names.index(label) for _, label in photos],
        }
    )
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def write_arrow(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table, 3)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    written = io.BytesIO()
    image.save(written, form, **options)
    return written.getvalue()


def pixels_of(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


# ---- Hugging Face ----------------------------------------------------------------------------


def test_images_in_parquet_become_files_named_by_their_content(photos, tmp_path):
    table = hf_table([*photos, photos[0]])
    parquet.write_table(table, tmp_path / "a.parquet")
    examples = load(tmp_path / "a.parquet", IMAGE)
    assert list(examples.targets) == [label for _, label in [*photos, photos[0]]]
    assert [Path(path).read_bytes() for path in examples.inputs[:-1]] == [b for b, _ in photos]
    assert all(Path(path).is_relative_to(cache_dir()) for path in examples.inputs)
    assert examples.inputs[0] == examples.inputs[-1]
    assert len(np.unique(content_digests(examples), axis=0)) == len(photos)
    assert examples.origins[2] == f"{tmp_path / 'a.parquet'}: row 3"
    assert len(check_examples(examples, on_error="stop")) == len(photos) + 1


def test_bytes_alone_and_paths_alone_are_images_too(photos, tmp_path):
    write(tmp_path / "p" / "0.jpg", photos[0][0])
    cells = {
        "binary": pa.array([photos[0][0]]),
        "path": pa.array([{"bytes": None, "path": "p/0.jpg"}], HF_IMAGE),
    }
    for name, cell in cells.items():
        parquet.write_table(pa.table({"image": cell, "label": ["a"]}), tmp_path / f"{name}.pq")
        (row,) = read_rows_of(tmp_path / f"{name}.pq")
        assert Path(row.input).read_bytes() == photos[0][0]


def read_rows_of(path, modality="image"):
    return collect_inputs([str(path)], TASKS[f"{modality}-classification"])


def test_images_that_are_none_are_named_with_their_rows(photos, tmp_path):
    good, label = photos[0]
    bad = [(b"", label), (b"\0\0\0\x18ftypheic", label), (good[:200], label)]
    parquet.write_table(hf_table([photos[0], *bad, photos[-1]]), tmp_path / "a.parquet")
    error = refused(tmp_path / "a.parquet", IMAGE)
    assert "row 2: what should be the image is empty (0 bytes)" in error.message
    assert "row 3: what should be the image is not an image but a HEIC image" in error.message
    examples = load(tmp_path / "a.parquet", IMAGE, on_error="skip")
    checked = check_examples(examples, on_error="skip")
    assert len(checked) == 2
    assert "row 4: " in checked.skipped[-1]
    text = refused(tmp_path / "a.parquet", TEXT, input_column="image")
    assert "holds struct<bytes: binary, path: string>" in text.message


def test_a_picture_cut_short_in_the_cache_is_written_again(photos, tmp_path):
    parquet.write_table(hf_table(photos), tmp_path / "a.parquet")
    kept = Path(load(tmp_path / "a.parquet", IMAGE).inputs[0])
    kept.write_bytes(b"")
    assert Path(load(tmp_path / "a.parquet", IMAGE).inputs[0]).read_bytes() == photos[0][0]


@pytest.mark.parametrize("layout", ["{}-{:05}-of-00002.parquet", "data/{}-{}.parquet", "{}/{}.pq"])
def test_shards_with_the_names_of_splits(layout, photos, tmp_path):
    for split, rows in (("train", photos), ("test", photos[::4])):
        for number in range(2):
            path = tmp_path / layout.format(split, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(hf_table(rows[number::2]), path)
    write(tmp_path / "README.md", "# A data set")
    examples = load(tmp_path, IMAGE)
    assert examples.splits.count("test") == 2
    assert len(examples) == len(photos) + 2
    assert [label for label, split in zip(examples.targets, examples.splits, strict=True)
            if split == "test"] == ["blue", "red"]  # fmt: skip
    assert len(read_rows_of(tmp_path)) == len(examples)


def test_patterns_name_shards(photos, tmp_path):
    for number in range(3):
        parquet.write_table(hf_table(photos[number::3]), tmp_path / f"train-{number}.parquet")
    parquet.write_table(hf_table(photos[:2]), tmp_path / "test-0.parquet")
    examples = load(tmp_path / "train-*.parquet", IMAGE, test=str(tmp_path / "test-*.parquet"))
    assert examples.splits.count(None) == len(photos)
    assert examples.splits.count("test") == 2
    message = refused(tmp_path / "*.parquet", IMAGE).message
    assert "matches files of train and test" in message
    assert "there is no file" in refused(tmp_path / "valid-*.parquet", IMAGE).message


def test_folders_of_tables_that_are_not_one_data_set(photos, tmp_path, caplog):
    table = hf_table(photos)
    for name in ("plain", "augmented"):
        (tmp_path / "two" / name).mkdir(parents=True)
        parquet.write_table(table, tmp_path / "two" / name / "0.parquet")
    error = refused(tmp_path / "two", IMAGE)
    assert "several data sets: 'augmented', 'plain'" in error.message
    (tmp_path / "mixed").mkdir()
    parquet.write_table(table, tmp_path / "mixed" / "train.parquet")
    write(tmp_path / "mixed" / "train.csv", "image,label\n")
    assert "tables of .csv and .parquet" in refused(tmp_path / "mixed", IMAGE).message
    (tmp_path / "mixed" / "train.csv").unlink()
    parquet.write_table(table, tmp_path / "mixed" / "unsupervised-00000-of-00001.parquet")
    assert len(load(tmp_path / "mixed", IMAGE)) == len(photos)
    assert "'unsupervised-00000-of-00001.parquet'" in caplog.text
    write_images(tmp_path / "classes", per_class=2)
    write(tmp_path / "classes" / "train.csv", "image,label\n")
    assert len(load(tmp_path / "classes", IMAGE)) == 4


def test_a_folder_that_datasets_saved(photos, tmp_path, caplog):
    saved = tmp_path / "saved"
    for split, rows in (("train", photos), ("test", photos[::4]), ("unsupervised", photos[:1])):
        files = []
        for number in range(2 if split == "train" else 1):
            name = f"data-{number:05}.arrow"
            shards = 2 if split == "train" else 1
            write_arrow(saved / split / name, hf_table(rows[number::shards]))
            files.append({"filename": name})
        write(saved / split / "state.json", json.dumps({"_data_files": files}))
        write(saved / split / "dataset_info.json", "{}")
    write(saved / "dataset_dict.json", json.dumps({"splits": ["train", "test", "unsupervised"]}))
    examples = load(saved, IMAGE)
    assert (examples.splits.count(None), examples.splits.count("test")) == (len(photos), 2)
    assert set(examples.targets) == {"blue", "red"}
    assert "no splits" in caplog.text
    alone = load(saved / "train", IMAGE)
    assert len(alone) == len(photos)
    state = {"_data_files": [{"filename": "data-00000.arrow"}], "_indices_data_files": None}
    write(saved / "test" / "state.json", json.dumps(state))
    assert len(load(saved, IMAGE)) == len(examples)
    state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    write(saved / "test" / "state.json", json.dumps(state))
    for path in (saved, saved / "test"):
        error = refused(path, IMAGE)
        assert f"{saved / 'test'} was saved with a choice or an order of rows" in error.message
        assert "flatten_indices" in error.hint
    (saved / "train" / "data-00001.arrow").unlink()
    assert "lacks 'data-00001.arrow'" in refused(saved / "train", IMAGE).message


def test_arrow_files(tmp_path):
    table = pa.table({"text": ["a", "b"], "label": ["x", "y"]})
    with ipc.new_file(tmp_path / "a.feather", table.schema) as file:
        file.write_table(table)
    assert list(load(tmp_path / "a.feather").inputs) == ["a", "b"]
    assert column_names(tmp_path / "a.feather") == ("text", "label")
    write(tmp_path / "b.arrow", "text")
    assert "b.arrow is not a readable Arrow file" in refused(tmp_path / "b.arrow").message


# ---- other tables ----------------------------------------------------------------------------


def test_json_arrays_have_true_lines(tmp_path):
    rows = '[\n{"text": "a\\n",\n "label": "x"},\n3,\n{"text": "b"},\n{"text": "c", "label": "y"}]'
    path = write(tmp_path / "a.json", rows)
    message = refused(path).message
    assert f"{path}:4: not a JSON object" in message
    assert f"{path}:5: there is no 'label'" in message
    assert list(load(path, on_error="skip").inputs) == ["a\n", "c"]
    lines = write(tmp_path / "lines.json", '{"text": "a", "label": "x"}\n{"text": "b", "label": 2}')
    assert list(load(lines).targets) == ["x", "2"]
    message = refused(write(path, '[{"text": "a", "label": "x"}, {"text": "b"}]')).message
    assert f"{path}: item 2: there is no 'label'" in message
    for number, text in ((1, "[{}, "), (2, '[{"a": 1},\n{"a": 1, "a": 2}]'), (3, "[\n\n{}]x")):
        assert f"a.json:{number}: not JSON" in refused(write(path, text)).message
    assert "holds one object" in refused(write(path, '{"data": []}')).message
    assert "no rows" in refused(write(path, "[ ]")).message


def test_workbooks(tmp_path, caplog):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    lines = [["id", " text ", "label"], [1, "good", 3], [None] * 3, [2, None, 4], [3, "bad", 4.5]]
    for line in lines:
        book.active.append(line)
    book.create_sheet("notes").append(["x"])
    path = tmp_path / "a.xlsx"
    book.save(path)
    message = refused(path).message
    assert f"{path}:4: the text is missing" in message
    examples = load(path, on_error="skip")
    assert list(examples.targets) == ["3", "4.5"]
    assert examples.origins[-1] == f"{path}:5"
    assert "has 2 sheets; the first is read, 'Sheet': to read another one, move" in caplog.text
    assert column_names(path) == ("id", "text", "label")
    assert "there is no column 'stars'" in refused(path, label_column="stars").message
    write(tmp_path / "b.xlsx", "x")
    assert "not a readable workbook" in refused(tmp_path / "b.xlsx").message
    with ZipFile(path) as sound, ZipFile(tmp_path / "d.xlsx", "w") as cut:
        for name in sound.namelist():
            content = sound.read(name)
            cut.writestr(name, content[:-99] if "sheet1.xml" in name else content)
    assert "d.xlsx is not a readable workbook" in refused(tmp_path / "d.xlsx").message
    content = bytearray(path.read_bytes())
    place = content.index(b"xl/worksheets/sheet1.xml") + 60
    content[place : place + 40] = b"\xff" * 40
    (tmp_path / "e.xlsx").write_bytes(content)
    assert "e.xlsx is not a readable workbook" in refused(tmp_path / "e.xlsx").message
    charts = type(book)()
    charts.create_chartsheet("chart")
    charts.remove(charts.active)
    charts.save(tmp_path / "c.xlsx")
    assert "c.xlsx" in refused(tmp_path / "c.xlsx").message


def test_cells_of_workbooks_that_hold_errors_dates_or_formulas_alone(tmp_path, caplog):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    day = datetime.datetime(2024, 2, 29)
    lines = [("text", "label", "on", "other"), ("NA", "x", day, "#N/A"), ("a", "#N/A", day, 1),
             ("#DIV/0!", "y", day, 1), ("b", "=A2", day, 1), ("c", "y", day.replace(hour=9), None),
             ("#N/A", "y", None, "=1+1")]  # fmt: skip
    for line in lines:
        book.active.append(line)
    book.active["A7"].data_type = "s"  # written as text
    path = tmp_path / "a.xlsx"
    book.save(path)
    unstored = "is a formula without a stored value: open the workbook in a spreadsheet program"
    message = refused(path).message
    assert f"{path}:3: the cell of 'label' is an error, #N/A" in message
    assert f"{path}:4: the cell of 'text' is an error, #DIV/0!" in message
    assert f"{path}:5: the cell of 'label' {unstored}" in message
    examples = load(path, on_error="skip")
    assert list(examples.inputs) == ["NA", "c", "#N/A"]
    rows = read_table(path, Columns("on", ("other",), sparse=True))
    assert [row.input for row in rows][3:] == ["2024-02-29", "2024-02-29 09:00:00", None]
    assert [row.label for row in rows] == [None, 1, 1, 1, None, None]
    assert f"{path}:7: the cell of 'other' {unstored}" in caplog.text


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_tar_shards_of_web_datasets(photos, tmp_path):
    files = {}
    for number, (content, label) in enumerate(photos):
        files[f"set/{number:04}.jpg"] = content
        files[f"set/{number:04}.cls"] = f"{label}\n".encode()
        files[f"set/{number:04}.json"] = json.dumps({"who": number % 2, "label": label}).encode()
    path = write_tar(tmp_path / "a-000.tar", files)
    assert column_names(path) == ("__key__", "jpg", "image", "cls", "who", "label")
    for column in ("label", "cls"):
        examples = load(path, IMAGE, label_column=column)
        assert list(examples.targets) == [label for _, label in photos]
    assert Path(examples.inputs[1]).read_bytes() == photos[1][0]
    assert examples.origins[1] == f"{path}: set/0001"
    del files["set/0001.cls"]
    files["set/0002.json"] = b"{"
    write_tar(path, files)
    message = refused(path, IMAGE, label_column="cls").message
    assert "set/0001: there is no 'cls'" in message
    assert "set/0002: its .json is not JSON" in message
    assert "its columns are '__key__'" in refused(path, IMAGE, label_column="kind").message
    path.write_bytes(path.read_bytes()[:3000])
    assert "not a readable tar archive" in refused(path, IMAGE, label_column="cls").message


def test_tar_shards_of_texts(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.txt": b"good", "1.cls": b"1", "._1.txt": b"x"})
    (row,) = read_table(path, Columns("text", ("cls",)))
    assert (row.input, row.label) == (b"good", b"1")


def test_tfrecords(photos, tmp_path):
    import tensorflow as tf

    def feature(value):
        if isinstance(value, list):
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def write_records(path, rows):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                features = {name: feature(value) for name, value in row.items()}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
        return path

    rows = [
        {"image": image, "label": label.encode(), "n": number, "box": [0.5, 1]}
        for number, (image, label) in enumerate(photos, start=3)
    ]
    path = write_records(tmp_path / "set-train.tfrecord-00000-of-00001", rows)
    examples = load(path, IMAGE)
    assert list(examples.targets) == [label for _, label in photos]
    assert Path(examples.inputs[0]).read_bytes() == photos[0][0]
    assert examples.origins[1] == f"{path}: record 2"
    assert column_names(path) == ("box", "image", "label", "n")
    numbers = load(path, TASKS["image-regression"], label_columns=["n"])
    assert numbers.targets[0] == 3.0
    assert len(load(tmp_path, IMAGE)) == len(photos)
    path.write_bytes(path.read_bytes()[:-5])
    error = refused(path, IMAGE)
    assert f"not a readable TFRecord file: record {len(photos)}: " in error.message
    assert "cut short or damaged" in error.hint
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert refused(path, IMAGE).hint == "it must not be compressed"


# ---- pictures of other formats, and where they are -------------------------------------------


def test_tiffs_are_read_as_their_first_page_with_eight_bits(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    grey = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300
    pages = [Image.fromarray(rgb), Image.fromarray(rgb[::-1])]
    red, blue = tmp_path / "t" / "red", tmp_path / "t" / "blue"
    write(red / "a.TIF", encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    write(red / "b.tiff", encoded(Image.fromarray(grey), "TIFF"))
    turned = Image.fromarray(rgb)
    exif = turned.getexif()
    exif[274] = 6
    write(blue / "a.tif", encoded(turned, "TIFF", exif=exif, compression="tiff_lzw"))
    write(blue / "b.tif", encoded(Image.fromarray(grey), "TIFF", tiffinfo={262: 0}))
    examples = check_examples(load(tmp_path / "t", IMAGE), on_error="stop")
    found = dict(zip([Path(o).name for o in examples.origins], examples.inputs, strict=True))
    one = dict(zip(examples.origins, examples.inputs, strict=True))
    np.testing.assert_array_equal(pixels_of(one[str(red / "a.TIF")]), rgb)
    np.testing.assert_array_equal(pixels_of(found["b.tiff"]), grey >> 8)
    np.testing.assert_array_equal(pixels_of(one[str(blue / "a.tif")]), np.rot90(rgb, -1))
    np.testing.assert_array_equal(pixels_of(one[str(blue / "b.tif")]), (0xFFFF - grey) >> 8)


def tiff(levels, order, photometric):
    """A TIFF with one strip of grey levels, by hand: Pillow writes no other order of bytes."""
    bits, (height, width) = levels.dtype.itemsize * 8, levels.shape
    content = levels.astype(levels.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 122, 277: 1,
            278: height, 279: len(content)}  # fmt: skip
    fields = b"".join(
        struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()
    )
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    return head + fields + bytes(4) + content


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("levels", [np.uint8, np.uint16])
def test_tiffs_whose_black_is_highest_are_read_as_they_look(tmp_path, order, levels):
    highest = np.iinfo(levels).max
    stored = np.linspace(0, highest, 48).astype(levels).reshape(6, 8)
    seen = (highest - stored) >> (8 if levels == np.uint16 else 0)
    write(tmp_path / "t" / "red" / "a.tif", tiff(stored, order, photometric=0))
    write(tmp_path / "t" / "blue" / "b.tif", tiff(highest - stored, order, photometric=1))
    for one in load(tmp_path / "t", IMAGE).inputs:
        np.testing.assert_array_equal(pixels_of(one), seen)
    for item in collect_inputs([str(tmp_path / "t")], IMAGE):
        np.testing.assert_array_equal(pixels_of(row_of(item, "image").input), seen)
    mask = str(tmp_path / "t" / "red" / "a.tif")
    with pytest.raises(BadValueError, match=f"{mask}: its black is its highest value"):
        MaskReader([mask], None)(mask)


def test_tiffs_that_cannot_be_read_say_why(tmp_path):
    write_images(tmp_path, per_class=1)
    write(tmp_path / "red" / "f.tif", encoded(Image.fromarray(np.ones((4, 4), "f4")), "TIFF"))
    write(tmp_path / "red" / "cut.tif", encoded(Image.new("RGB", (64, 64)), "TIFF")[:500])
    write(tmp_path / "red" / "jpeg.tif", (tmp_path / "red" / "000.jpg").read_bytes())
    message = refused(tmp_path, IMAGE).message
    assert "a TIFF of 32 bits (F); 8 and 16 bits without sign are read" in message
    assert "cut.tif: damaged, or a TIFF of no kind read here" in message
    assert "jpeg.tif" not in message


def test_tables_whose_images_lack_folder_and_suffix(tmp_path):
    write_images(tmp_path / "p", classes=("red",), per_class=3)
    table = write(tmp_path / "t" / "a.csv", "image,label\n000,a\n001.JPG,b\n2,b\n")
    (tmp_path / "p" / "red" / "001.jpg").rename(tmp_path / "p" / "red" / "001.JPG")
    (tmp_path / "p" / "red" / "002.jpg").rename(tmp_path / "p" / "red" / "2.jpg")
    fields = {"image_root": str(tmp_path / "p" / "red"), "image_suffix": ".jpg"}
    examples = load(table, IMAGE, **fields)
    assert [Path(path).name for path in examples.inputs] == ["000.jpg", "001.JPG", "2.jpg"]
    error = refused(table, IMAGE, image_root=str(tmp_path / "q"))
    assert "data.image_root: there is no file or folder" in error.message


# ---- splits and groups -----------------------------------------------------------------------

SPLIT_TABLE = """text,label,fold,who
a,x,train,p1
b,y,Val,p2
c,x,dev,p2
d,y,TEST,p3
e,x,train,p1
f,y,train, p4
"""


def test_a_column_says_the_splits_and_another_the_groups(tmp_path):
    path = write(tmp_path / "a.csv", SPLIT_TABLE)
    examples = load(path, split_column="fold", group_column="who")
    assert list(examples.splits) == ["train"] * 3 + ["validation"] * 2 + ["test"]
    assert list(examples.groups) == ["p1", "p1", "p4", "p2", "p2", "p3"]
    write(path, SPLIT_TABLE.replace("TEST,p3", "held out,").replace("dev,p2", ",p2"))
    message = refused(path, split_column="fold").message
    assert f"{path}:4: the split '' is none of train, training, validation" in message
    assert f"{path}:5: the split 'held out' is none of" in message
    assert f"{path}:5: the group is empty" in refused(path, group_column="who").message
    assert "no column 'whom'" in refused(path, group_column="whom").message


def test_splits_are_said_once(tmp_path):
    path = write(tmp_path / "a.csv", SPLIT_TABLE)
    error = refused(path, split_column="fold", test=str(path))
    assert "data.test is given, and" in error.message
    write(tmp_path / "d" / "train.csv", SPLIT_TABLE)
    write(tmp_path / "d" / "test.csv", SPLIT_TABLE)
    assert "is divided into train and test already" in (
        refused(tmp_path / "d", split_column="fold").message
    )
    write_images(tmp_path / "p", per_class=1)
    assert "has no table" in refused(tmp_path / "p", IMAGE, group_column="who").message


def test_other_data_needs_neither_splits_nor_groups(tmp_path):
    section = DataSection(split_column="fold", group_column="who")
    path = write(tmp_path / "a.csv", SPLIT_TABLE)
    assert list(load_labelled(path, section, TEXT).inputs) == ["d"]
    plain = write(tmp_path / "b.csv", "text,label\na,x\nb,y\n")
    assert len(load_labelled(plain, section, TEXT)) == 2


def test_nothing_is_measured_on_the_training_part_of_divided_data(tmp_path):
    write_images(tmp_path / "train", ("blue", "red"), 2)
    write_images(tmp_path / "val", ("blue", "red"), 2)
    told = "is divided into train and validation, and no part is to test on"
    with pytest.raises(DataError, match=told):
        load_labelled(tmp_path, DataSection(), IMAGE)
    table = write(tmp_path / "a.csv", "text,label,fold\na,x,train\nb,y,dev\n")
    with pytest.raises(DataError, match=told):
        load_labelled(table, DataSection(split_column="fold"), TEXT)


def test_folders_and_held_out_shards_can_be_measured_on_alone(photos, tmp_path):
    section = DataSection(split_column="set", group_column="who")
    write_images(tmp_path / "folder", ("blue", "red"), 2)
    assert len(load_labelled(tmp_path / "folder", section, IMAGE)) == 4
    (tmp_path / "shards").mkdir()
    parquet.write_table(hf_table(photos), tmp_path / "shards" / "test-00000-of-00001.parquet")
    assert len(load_labelled(tmp_path / "shards", section, IMAGE)) == len(photos)


def test_frames_have_splits_and_groups_too(tmp_path):
    path = write(tmp_path / "a.csv", SPLIT_TABLE)
    section = DataSection(split_column="fold", group_column="who")
    examples = examples_from_python(pd.read_csv(path), TEXT, section)
    assert examples.splits.count("test") == 1
    assert examples.groups[0] == "p1"
    with pytest.raises(DataError, match="names a column, and a tuple has none"):
        examples_from_python((["a", "b"], ["x", "y"]), TEXT, section)

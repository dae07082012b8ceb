"""What `tltool data inspect` finds out: formats, columns, tasks, the lines that read data."""

from __future__ import annotations

import io
import json
import re
import tarfile

import mask_data
import pyarrow as pa
import pytest
from command import cli, succeed
from PIL import Image
from pyarrow import parquet

from tltool.data.checks.inspection import inspect_data
from tltool.data.reading.sources import load_examples
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.tasks.table import TASKS

WORDS = ("good", "bad", "odd")


def lines(*records) -> str:
    return "\n".join(json.dumps(record) for record in records)


def png(image) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def found(path, **options):
    """What is found out, and the rows that its own lines read."""
    result = inspect_data(str(path), **options)
    assert result["problems"] == []
    recipe = result["recipe"]
    section = DataSection.model_validate(recipe["data"])
    inputs = section.input_columns
    spec = TASKS[recipe["task"]].for_columns(inputs, section.label_column).of_rows(inputs)
    examples = load_examples(section, spec)
    return recipe["task"], {k: v for k, v in recipe["data"].items() if k != "train"}, examples


def test_columns_of_texts_labels_splits_and_groups(tmp_path):
    rows = [f"a {WORDS[i % 3]} one {i},{WORDS[i % 3]},u{i % 9},{'train' if i % 5 else 'test'}"
            for i in range(60)]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(["review,sentiment,author,split", *rows, ""]))
    task, fields, examples = found(tmp_path / "a.csv")
    assert (task, fields) == (
        "text-classification",
        {"input_column": "review", "split_column": "split", "label_column": "sentiment"},
    )
    assert examples.splits.count("test") == 12
    assert "group_column=author" in inspect_data(str(tmp_path / "a.csv"))["remarks"][0]


def test_names_of_pictures_without_folder_and_suffix(tmp_path):
    (tmp_path / "pics").mkdir()
    for i in range(30):
        image = Image.new("RGB", (9, 9), (i, 200 * (i % 2), 0))
        image.save(tmp_path / "pics" / f"{i:03}.png")
    rows = [f"{i:03},{WORDS[i % 2]}" for i in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["id,diagnosis", *rows, ""]))
    task, fields, examples = found(tmp_path / "a.csv")
    assert task == "image-classification"
    assert fields["image_suffix"] == ".png"
    assert fields["image_root"] == str(tmp_path / "pics")
    assert len(examples) == 30


def test_texts_that_are_too_long_to_name_files(tmp_path):
    rows = [f"{'word ' * 80}{i},{WORDS[i % 2]}" for i in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows, ""]))
    assert found(tmp_path / "a.csv")[:2] == ("text-classification", {})


def test_what_is_wrong_with_the_first_row_is_told(tmp_path):
    rows = [{"text": f"one {i}", "label": WORDS[i % 2]} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("{oops\n" + lines(*rows))
    result = inspect_data(str(tmp_path / "a.jsonl"))
    assert result["recipe"]["task"] == "text-classification"
    assert "a.jsonl:1: not JSON" in result["problems"][0]
    (tmp_path / "b.jsonl").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"no row that can be read: .*:1: not a JSON object"):
        inspect_data(str(tmp_path / "b.jsonl"))


@pytest.mark.parametrize(
    "cells",
    [("{}.25", "NA", ":62: the label 'NA'"), ("{}", "n/a", ":62: the label 'n/a'"),
     ('"0,{}5"', '"0,25"', "a.csv:4 and 58 more: the label '0,05'")],
)  # fmt: skip
def test_cells_among_numbers_that_are_none_are_told(tmp_path, cells):
    rows = [f"some text {i},{cells[0].format(i)}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["text,score", *rows, f"a text,{cells[1]}", ""]))
    result = inspect_data(str(tmp_path / "a.csv"))
    assert result["recipe"]["task"] == "text-regression"
    assert "numbers" in {column["holds"] for column in result["columns"]}
    assert f"{cells[2]} is not a finite number" in "\n".join(result["problems"])


@pytest.mark.parametrize("cells", [("{}", "other"), ("c{}", "1.5")])
def test_words_among_whole_numbers_may_be_classes(tmp_path, cells):
    rows = [f"some text {i},{cells[0].format(i % 40)}" for i in range(120)]
    (tmp_path / "a.csv").write_text("\n".join(["text,score", *rows, f"a text,{cells[1]}", ""]))
    assert inspect_data(str(tmp_path / "a.csv"))["recipe"]["task"] == "text-classification"


def test_rows_that_lack_a_label_do_not_hide_those_of_others(tmp_path):
    rows = [{"text": f"one {i}", "label": WORDS[i % 2]} for i in range(40)]
    first = {"text": "one", "note": "odd"}
    (tmp_path / "a.jsonl").write_text(lines(first, *rows))
    result = inspect_data(str(tmp_path / "a.jsonl"))
    assert result["recipe"]["task"] == "text-classification"
    assert result["problems"] == [f"{tmp_path}/a.jsonl:1: there is no 'label'"]
    told = {column["column"]: column["missing"] for column in result["columns"]}
    assert told == {"text": 0, "note": 40, "label": 1}
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for i in range(30):
            for suffix in ("txt", "cls") if i else ("txt",):
                member = tarfile.TarInfo(f"{i:03}.{suffix}")
                content = (f"one {i}" if suffix == "txt" else WORDS[i % 2]).encode()
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    assert inspect_data(str(tmp_path / "b.tar"))["recipe"]["data"]["label_column"] == "cls"


def test_columns_without_a_name_of_their_own_are_not_read(tmp_path, caplog):
    rows = [f"{i},one {i},{WORDS[i % 2]},{i},," for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["id,text,label,id,,", *rows, ""]))
    assert found(tmp_path / "a.csv")[:2] == ("text-classification", {})
    assert "columns of one name cannot be read: 'id'" in caplog.text


TOKENS = [["Ann", "went", str(i)] for i in range(20)]
TAGS = [["B-PER", "O", "O"]] * 20
TAGGED = {
    "a.jsonl": lines(*({"tokens": w, "ner_tags": t} for w, t in zip(TOKENS, TAGS, strict=True))),
    "b.jsonl": lines(*({"text": f"Ann {i}", "entities": [[0, 3, "PER"]]} for i in range(20))),
    "c.conll": "\n\n".join(f"Ann B-PER\nwent O\n{i} O" for i in range(20)),
    "d.jsonl": lines(*([f"Ann {i}", {"entities": [[0, 3, "PER"]]}] for i in range(20))),
}


@pytest.mark.parametrize("name", TAGGED)
def test_tagged_texts(tmp_path, name):
    (tmp_path / name).write_text(TAGGED[name])
    task, _, examples = found(tmp_path / name)
    assert task == "token-classification"
    assert len(examples) == 20


def test_a_text_without_spans_does_not_hide_those_of_others(tmp_path):
    rows = [{"text": f"Ann {i}", "spans": [[0, 3, "PER"]] if i else None} for i in range(20)]
    (tmp_path / "a.jsonl").write_text(lines(*rows))
    result = inspect_data(str(tmp_path / "a.jsonl"))
    assert result["recipe"]["task"] == "token-classification"
    assert result["problems"] == [f"{tmp_path}/a.jsonl:1: there are no tags"]


CHOSEN = {"data": {"text": "a"}, "annotations": [{"result": [{"type": "choices", "value": {}}]}]}


@pytest.mark.parametrize("content", [{"data": [{"text": "a", "label": "x"}] * 9}, [CHOSEN] * 9])
def test_classes_of_texts_are_no_tags(tmp_path, content):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"holds one object, not rows|no column looks like"):
        inspect_data(str(tmp_path / "a.json"))


def test_why_a_file_is_none_of_the_task_that_is_named(tmp_path):
    (tmp_path / "a.xml").write_text("<annotations/>")
    with pytest.raises(DataError, match="is no export of CVAT"):
        inspect_data(str(tmp_path / "a.xml"), task="image-segmentation")


def test_labels_beside_texts_are_no_tags(tmp_path):
    rows = [{"text": f"one {i}", "labels": ["a", "b"] if i % 3 else ["c"]} for i in range(40)]
    (tmp_path / "a.jsonl").write_text(lines(*rows))
    assert found(tmp_path / "a.jsonl")[:2] == ("text-multi-label", {"label_column": "labels"})


@pytest.mark.parametrize(
    ("header", "label", "task", "fields"),
    [
        ("text_a,text_b,label", "yes,no", "text-pair-classification", {}),
        ("id,Sentence1,Sentence2,score", "0.25,1.5,2.75,4.0,4.6", "text-pair-regression",
         {"input_columns": ["Sentence1", "Sentence2"], "label_column": "score"}),
    ],
)  # fmt: skip
def test_pairs_of_texts(tmp_path, header, label, task, fields):
    labels = label.split(",")
    rows = [f"a man walks {i},one walks {i},{labels[i % len(labels)]}" for i in range(40)]
    if header.startswith("id"):
        rows = [f"{i},{row}" for i, row in enumerate(rows)]
    (tmp_path / "a.csv").write_text("\n".join([header, *rows, ""]))
    kind, found_fields, examples = found(tmp_path / "a.csv")
    assert (kind, found_fields) == (task, fields)
    assert examples.inputs[1] == ("a man walks 1", "one walks 1")


@pytest.mark.parametrize(
    ("columns", "task", "fields"),
    [
        ("question,answer", None, {"input_columns": ["question", "answer"]}),
        ("id,one,other", None, {"input_columns": ["one", "other"]}),
        ("anchor,positive,negative", None, {"input_columns": ["anchor", "positive", "negative"]}),
        ("one,other,like", "text-embedding",
         {"input_columns": ["one", "other"], "label_column": "like"}),
        ("question,answer,score", "text-embedding",
         {"input_columns": ["question", "answer"], "label_column": "score"}),
    ],
)  # fmt: skip
def test_texts_that_are_like_each_other(tmp_path, columns, task, fields):
    names = columns.split(",")
    cells = {"id": "{i}", "like": "0.{i}", "score": "0.{i}"}
    rows = [",".join(cells.get(name, "{name} {i}").format(name=name, i=i) for name in names)
            for i in range(40)]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join([columns, *rows, ""]))
    kind, found_fields, examples = found(tmp_path / "a.csv", task=task)
    assert (kind, found_fields) == ("text-embedding", fields)
    texts = fields["input_columns"]
    assert examples.inputs[1] == tuple(f"{name} 1" for name in texts)


def test_spans_of_which_some_are_wrong_are_spans(tmp_path):
    rows = [{"text": f"Ada {i} saw Bob", "spans": [{"start": 0, "end": 3, "label": "person"}]}
            for i in range(20)]  # fmt: skip
    for number, spans in enumerate(([{"start": "0", "end": 3, "label": "person"}], None, [7],
                                    [{"end": 3, "label": "person"}])):  # fmt: skip
        rows[2 * number]["spans"] = spans
    (tmp_path / "a.jsonl").write_text(lines(*rows))
    result = inspect_data(str(tmp_path / "a.jsonl"))
    assert result["recipe"]["task"] == "token-classification"
    told = " ".join(result["problems"])
    for reason in ("no whole number: '0'", "there are no tags", "'7' is no span", "no 'start'"):
        assert reason in told


def test_a_column_that_is_named_is_taken(tmp_path):
    rows = [f"{i},{WORDS[i % 3]},{'test' if i % 5 == 0 else 'train'},s{i % 2}" for i in range(40)]
    (tmp_path / "t").mkdir()
    table = tmp_path / "t" / "a.csv"
    table.write_text("\n".join(["id_code,diagnosis,site,group", *rows, ""]))
    (tmp_path / "pics").mkdir()
    for i in range(40):
        Image.fromarray(mask_data.scene(i)[0]).save(tmp_path / "pics" / f"{i}.png")
    how = {"input_columns": ["id_code"], "label_columns": ["diagnosis"]}
    result = inspect_data(str(table), task="image-classification", how=how)
    assert result["recipe"]["data"]["input_column"] == "id_code"
    assert "40 of the rows cannot be used" in result["problems"][0]
    overrides = [f"data.image_root={tmp_path / 'pics'}", "data.image_suffix=.png",
                 "data.split_column=site", "data.group_column=group"]  # fmt: skip
    task, fields, examples = found(table, how=how, overrides=overrides)
    assert task == "image-classification"
    assert fields == {
        "input_column": "id_code", "label_column": "diagnosis", "split_column": "site",
        "group_column": "group", "image_root": str(tmp_path / "pics"), "image_suffix": ".png",
    }  # fmt: skip
    assert len(examples.inputs) == 40
    # Pictures are found below a folder that is given, too.
    assert found(table, overrides=overrides)[:2] == (task, fields)
    with pytest.raises(DataError, match="there is no column 'nope'; its columns are id_code, "):
        inspect_data(str(table), how={"input_columns": ["nope"]})
    with pytest.raises(DataError, match="there is no column 'nope'; its columns are id_code, "):
        inspect_data(str(table), how={"input_columns": ["id_code"], "label_columns": ["nope"]})
    shown = succeed("data", "inspect", table, *overrides, "--json").json()
    assert shown["recipe"]["data"]["image_suffix"] == ".png"
    refused = cli("data", "inspect", table, "training.seed=3")
    assert refused.code == 2
    assert "only fields of data" in refused.err
    (tmp_path / "b.csv").write_text("id,n\n100,200\n300,400\n")
    told = cli("data", "inspect", tmp_path / "b.csv").err
    assert "--input-column, twice for pairs of texts" in told


def test_lines_that_no_recipe_may_have_are_a_problem(tmp_path):
    rows = [f"a {i},b {i},c {i},0.{i}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,c,n", *rows, ""]))
    how = {"input_columns": ["a", "b", "c"], "label_columns": ["n"]}
    result = inspect_data(str(tmp_path / "a.csv"), task="text-embedding", how=how)
    assert result["summary"] is None
    (problem,) = result["problems"]
    assert problem.startswith("data.input_columns: a third column is for text-embedding without")
    how = {"label_columns": ["b", "n"]}
    result = inspect_data(str(tmp_path / "a.csv"), task="text-classification", how=how)
    assert "data.label_columns: text-classification takes one column" in result["problems"][0]


def test_both_readings_of_pairs_are_told(tmp_path):
    rows = [f"one {i},other {i},0.{i}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["one,other,like", *rows, ""]))
    result = inspect_data(str(tmp_path / "a.csv"))
    assert result["recipe"]["task"] == "text-pair-regression"
    (remark,) = result["remarks"]
    assert "set task: text-embedding and data.input_columns: [one, other]" in remark
    rows = [f"title {i},text {i},{WORDS[i % 3]}" for i in range(40)]
    (tmp_path / "b.csv").write_text("\n".join(["title,text,label", *rows, ""]))
    result = inspect_data(str(tmp_path / "b.csv"))
    assert result["recipe"]["task"] == "text-classification"
    (remark,) = result["remarks"]
    assert "task: text-pair-classification and data.input_columns: [title, text]" in remark


def test_words_of_a_split_column_that_are_none_are_told(tmp_path):
    rows = [f"text {i},{WORDS[i % 3]},{'holdout' if i % 5 else 'train'}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label,split", *rows, ""]))
    result = inspect_data(str(tmp_path / "a.csv"))
    assert "split_column" not in result["recipe"]["data"]
    assert "'holdout' beside train, which is no split" in result["remarks"][0]


def test_an_array_of_json_with_named_columns_is_a_table_of_tagged_texts(tmp_path):
    rows = [{"w": words, "t": tags} for words, tags in zip(TOKENS, TAGS, strict=True)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    section = DataSection(train=str(tmp_path / "a.json"), input_column="w", label_column="t")
    assert len(load_examples(section, TASKS["token-classification"])) == 20


@pytest.mark.parametrize("task", [None, "image-segmentation"])
def test_masks_in_folders_and_in_the_cells_of_tables(tmp_path, task):
    folder = mask_data.write_folders(tmp_path / "pairs", 12)
    kind, fields, pairs = found(folder, task=task)
    assert (kind, fields) == ("image-segmentation", {})
    columns = {
        "annotation": [{"bytes": (folder / "masks" / f"{i:03}.png").read_bytes(), "path": None}
                       for i in range(12)],
        "image": [{"bytes": (folder / "images" / f"{i:03}.png").read_bytes(), "path": "x"}
                  for i in range(12)],
    }  # fmt: skip
    (tmp_path / "t").mkdir()
    parquet.write_table(pa.table(columns), tmp_path / "t" / "a.parquet")
    kind, fields, examples = found(tmp_path / "t", task=task)
    assert (kind, fields) == ("image-segmentation", {"label_column": "annotation"})
    assert [m.present for m in examples.targets] == [m.present for m in pairs.targets]


def test_annotations_beside_pictures_are_no_classes(tmp_path):
    pytest.importorskip("pycocotools")
    for i in range(12):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / f"{i}.png")
    images = [{"id": i, "file_name": f"{i}.png", "height": 9, "width": 9} for i in range(12)]
    shapes = [{"image_id": i, "category_id": 1, "segmentation": [[1, 1, 6, 1, 6, 6]]}
              for i in range(12)]  # fmt: skip
    content = {"images": images, "annotations": shapes, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "_annotations.coco.json").write_text(json.dumps(content))
    assert found(tmp_path)[:2] == ("image-segmentation", {})


VOC = "<annotation><object><name>a</name><bndbox><xmin>1</xmin></bndbox></object></annotation>"
BOXES = {
    "images/{}.png, labels/{}.txt": ("0 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.1\n", "boxes (YOLO)"),
    "train/images/{}.png, train/labels/{}.txt": ("0 0.5 0.5 0.1 0.1", "boxes (YOLO)"),
    "images/{}.png, labels/{}.txt ": ("0 0.1 0.1 0.5 0.1 0.5 0.5", "outlines as YOLO"),
    "{}.png, {}.txt": ("0 0.5 0.5 0.1 0.1", "boxes (YOLO)"),
    "JPEGImages/{}.png, Annotations/{}.xml": (VOC, "boxes (Pascal VOC)"),
    "{}.png, {}.xml": (VOC, "boxes (Pascal VOC)"),
}


@pytest.mark.parametrize("places", BOXES)
def test_boxes_are_no_task_of_tltool(tmp_path, places):
    content, told = BOXES[places]
    picture, boxes = places.strip().split(", ")
    for i in range(3):
        for place in (picture, boxes):
            (tmp_path / place.format(i)).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / picture.format(i))
        (tmp_path / boxes.format(i)).write_text(content)
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        inspect_data(str(tmp_path))
    assert "no task for boxes" in caught.value.hint


def test_a_file_of_boxes_is_told_though_no_task_is_named(tmp_path):
    content = {"images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 4}],
               "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}],
               "categories": [{"id": 1, "name": "a"}]}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(content, indent=1))
    with pytest.raises(DataError, match="holds boxes, no outlines"):
        inspect_data(str(tmp_path / "a.json"))


@pytest.mark.parametrize("content", ["a text of 5 words", "3 4 5 6 7", "0 0.5", ""])
def test_other_texts_beside_pictures_are_no_boxes(tmp_path, content):
    for i in range(3):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text(content)
    assert inspect_data(str(tmp_path))["format"] == "folder of files"


def test_pictures_that_a_table_names_may_have_boxes_too(tmp_path):
    for i in range(12):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.xml").write_text(VOC)
    rows = [f"{i}.png,{'ab'[i % 2]}" for i in range(12)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *rows, ""]))
    assert found(tmp_path)[0] == "image-classification"


SENTENCES = "Ada NNP\nsang VBD\n\nBob NNP\nran VBD\n"


@pytest.mark.parametrize(
    ("content", "likely"),
    [
        (SENTENCES, True),
        ("Ada B-person\nLovelace I-person\nsang O\n", True),
        ("name: x\nepochs: 3\n\nrate: 0.1\n", False),
        ("apples 3\npears 3\nplums 3\n", False),
        ("hello world\nthe cat\n\nmore words\nso what\n", False),
    ],
)
def test_two_words_a_line_are_not_always_words_and_tags(tmp_path, content, likely):
    file = tmp_path / "a.txt"
    file.write_text(content)
    if likely:
        assert inspect_data(str(file))["recipe"]["task"] == "token-classification"
    else:
        with pytest.raises(DataError, match="neither a folder nor a table"):
            inspect_data(str(file))
    assert inspect_data(str(file), task="token-classification")["format"].startswith("file of")


def test_words_and_tags_in_a_tsv_are_no_table(tmp_path):
    sentences = [f"Ada\tB-person\nsang\tO\n{i}\tO" for i in range(20)]
    (tmp_path / "a.tsv").write_text("\n\n".join(sentences) + "\n")
    assert found(tmp_path / "a.tsv")[0] == "token-classification"
    rows = [f"one {i}\t{WORDS[i % 2]}\ntwo {i}\t{WORDS[i % 2]}" for i in range(20)]
    (tmp_path / "b.tsv").write_text("\n\n".join(["text\tlabel", *rows]) + "\n")
    assert found(tmp_path / "b.tsv")[0] == "text-classification"


def test_where_no_row_can_be_used_each_says_why(tmp_path, caplog):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for i in range(3):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "labels" / f"{i}.txt").write_text("a crack")
    (problem,) = inspect_data(str(tmp_path))["problems"]
    assert "the mask cannot be read" in problem
    with pytest.raises(DataError, match="neither a folder nor a table"):
        inspect_data(str(tmp_path / "images" / "0.png"))
    assert "was read as" not in caplog.text
    assert inspect_data(str(tmp_path / "images"))["format"] == "folder of files"


def test_what_cannot_be_guessed_is_asked_for(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n" + "\n".join(f"{i},{i}" for i in range(9)) + "\n")
    with pytest.raises(DataError, match="no column looks like texts or images"):
        inspect_data(str(tmp_path / "a.csv"))
    for text, told in (("", "is empty"), ("text,label\n", "has no rows")):
        (tmp_path / "c.csv").write_text(text)
        with pytest.raises(DataError, match=told):
            inspect_data(str(tmp_path / "c.csv"))
    (tmp_path / "b.xls").write_text("x")
    with pytest.raises(DataError, match="neither a folder nor a table"):
        inspect_data(str(tmp_path / "b.xls"))


def test_damage_of_a_file_is_told(tmp_path):
    table = pa.table({"text": [f"some text {i}" for i in range(50)], "label": ["a", "b"] * 25})
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as writer,
    ):
        writer.write_table(table)
    (tmp_path / "b.arrow").write_bytes((tmp_path / "a.arrow").read_bytes()[:600])
    with pytest.raises(DataError, match="is not a readable Arrow file"):
        inspect_data(str(tmp_path / "b.arrow"))


def test_the_command(tmp_path):
    rows = [f"a {WORDS[i % 3]} one {i},{WORDS[i % 3]}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows, ""]))
    result = cli("data", "inspect", tmp_path / "a.csv")
    assert result.code == 0
    assert "task: text-classification" in result.out
    (tmp_path / "b.csv").write_text("\n".join(["text,label", *rows, ",good", ""]))
    result = cli("data", "inspect", tmp_path / "b.csv", "--json")
    assert result.code == 1
    assert result.json()["problems"] == [f"{tmp_path}/b.csv:62: the text is empty"]
    assert cli("data", "inspect", tmp_path / "c.csv").code == 2
    assert "run's" not in cli("data", "inspect", "--help").out


def test_dates_are_told_and_are_no_labels(tmp_path):
    rows = [f"{WORDS[i % 3]} words {i},2024-01-0{i % 4 + 1},2024-01-02 09:0{i % 2},{i % 7}"
            for i in range(40)]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(["text,day,moment,kind", *rows]))
    result = inspect_data(str(tmp_path / "a.csv"), task="text-classification")
    holds = [column["holds"] for column in result["columns"]]
    assert holds == ["texts", "dates", "dates", "numbers"]
    assert result["recipe"]["data"]["label_column"] == "kind"


def test_what_is_warned_of_is_told_once_each_time(tmp_path, caplog):
    rows = [f"{WORDS[i % 3]} caf\xe9 {i},{WORDS[i % 3]}" for i in range(60)]
    (tmp_path / "a.csv").write_bytes("\n".join(["text,label", *rows]).encode("cp1252"))
    for times in (1, 2):
        inspect_data(str(tmp_path / "a.csv"))
        assert [record.getMessage() for record in caplog.records].count(
            f"{tmp_path / 'a.csv'} is not UTF-8; it was read as Windows-1252 (data.encoding)"
        ) == times  # fmt: skip

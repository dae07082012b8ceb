"""What people drew in Label Studio and in CVAT, read as masks; every fault at once."""

from __future__ import annotations

import json

import mask_data
import numpy as np
import pytest
from PIL import Image

from tltool.data.reading.sources import load_examples, load_labelled
from tltool.recipe.schema import DataSection
from tltool.support.errors import DataError
from tltool.tasks.masks.label_studio import brush
from tltool.tasks.table import TASKS

SPEC = TASKS["image-segmentation"]
HEIGHT, WIDTH = mask_data.SIZE
CORNERS = ((4, 6), (14, 6), (14, 26), (4, 26))


def load(source, **settings):
    return load_examples(DataSection(train=str(source), **settings), SPEC)


def faults(source, **settings) -> str:
    with pytest.raises(DataError) as caught:
        load(source, **settings)
    return str(caught.value)


def pictures(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(mask_data.scene(number)[0]).save(folder / name)


def square(number=1):
    """The mask of a polygon with CORNERS (x, y)."""
    mask = np.zeros(mask_data.SIZE, np.uint8)
    mask[6:26, 4:14] = number
    return mask


# Label Studio


def packed(mask) -> list[int]:
    """RGBA in @thi.ng/rle-pack: runs of 40 values, of one or of several."""
    values = np.repeat(np.where(mask, 255, 0).astype(np.uint8).ravel(), 4)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    for start in range(0, len(values), 40):
        run = values[start : start + 40]
        same = len(set(run)) == 1
        bits += f"{same:d}10{len(run) - 1:08b}"
        bits += "".join(f"{value:08b}" for value in (run[:1] if same else run))
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def region(kind, label, **value):
    names = {} if label is None else {kind: [label]}
    return {
        "id": f"{kind} {label}", "type": kind, "value": {**value, **names}, "image_rotation": 0,
        "original_width": WIDTH, "original_height": HEIGHT,
    }  # fmt: skip


def polygon(label="square", corners=CORNERS, kind="polygonlabels"):
    points = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners]
    return region(kind, label, points=points, closed=True)


def drawn(label, mask, kind="brushlabels"):
    return region(kind, label, format="rle", rle=packed(mask))


def task(number, image, *results):
    return {"id": number, "data": {"image": image}, "annotations": [{"result": list(results)}]}


def write_tasks(file, *tasks):
    file.write_text(json.dumps(tasks))
    return file


BAR = np.zeros(mask_data.SIZE, bool)
BAR[20:30] = True


def test_brushes_are_read_as_label_studio_packs_them():
    # As Label Studio's own `mask2rle` packs it.
    packed_there = [0, 0, 0, 60, 57, 27, 254, 23, 0, 183, 255, 24, 4, 127, 247, 192, 0]
    mask = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(brush(packed_there, (3, 5)), mask)
    for other in (mask, BAR, ~BAR, np.random.default_rng(0).random((31, 7)) < 0.5):
        np.testing.assert_array_equal(brush(packed(other), other.shape), other)
    with pytest.raises(ValueError, match="60 values of 8 bits, not 64 of 8"):
        brush(packed_there, (4, 4))
    for end in range(len(packed_there) - 1):
        with pytest.raises(ValueError, match="damaged"):
            brush(packed_there[:end], (3, 5))


def test_brushes_and_polygons_of_label_studio(tmp_path):
    pytest.importorskip("pycocotools")
    names = ("0a1b2c3d-a b.png", "b.png", "c.png", "d.png", "e.png")
    pictures(tmp_path / "images", *names[1:])
    pictures(tmp_path, "a b.png")
    relation = {"type": "relation", "from_id": "x", "to_id": "y"}
    choice = {"type": "choices", "value": {"choices": ["blurred"]}}
    cancelled = {"was_cancelled": True, "result": []}
    file = write_tasks(
        tmp_path / "tasks.json",
        task(7, "/data/upload/1/0a1b2c3d-a%20b.png", polygon(), drawn("bar", BAR), relation),
        task(8, "/data/local-files/?d=scans/b.png", drawn("bar", BAR), polygon(), choice),
        task(9, "https://example.org/c.png?size=2", drawn("bar", BAR), drawn("background", BAR)),
        task(10, "s3://some/where/d.png", drawn(None, BAR, "brush"), drawn("bar", BAR, "labels")
             | {"id": "brush None"}),
        {**task(11, "e.png", polygon()), "id": 11},
    )  # fmt: skip
    content = json.loads(file.read_text())
    content[4]["annotations"] += [{"result": []}, cancelled]
    file.write_text(json.dumps(content))
    examples = load(file)
    assert examples.targets[0].table.names == ("background", "bar", "square")
    under, over = square(2), square(2)
    under[BAR] = 1
    over[BAR & (over == 0)] = 1
    expected = [under, over, BAR * 0, BAR * 1, BAR * 0]
    for target, mask in zip(examples.targets, expected, strict=True):
        np.testing.assert_array_equal(target.numbers(), mask)
    assert examples.inputs[0] == str(tmp_path / "a b.png")
    assert examples.inputs[1] == str(tmp_path / "images" / "b.png")


def test_known_classes_are_those_of_label_studio_too(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    train = write_tasks(
        tmp_path / "train.json", task(1, "a.png", drawn("bar", BAR), drawn("dot", square(1)))
    )
    test = write_tasks(tmp_path / "test.json", task(2, "b.png", drawn("dot", BAR)))
    examples = load(train, test=str(test))
    assert [target.present for target in examples.targets] == [
        ("background", "bar", "dot"), ("background", "dot"),
    ]  # fmt: skip
    classes = {"dot": "#ff0000", "background": "#000000", "bar": "#00ff00"}
    (target,) = load_labelled(test, DataSection(mask_classes=classes), SPEC).targets
    assert target.table.names == tuple(classes)
    np.testing.assert_array_equal(target.numbers(), np.where(BAR, 0, 1))
    assert "result 1, brushlabels, has the label 'bar'; known are 'background', 'dot'" in faults(
        train, mask_classes={"background": 0, "dot": 1}
    )
    assert "has no 'background'" in faults(train, mask_classes={"bar": 0, "dot": 1})


def test_every_fault_of_label_studio_is_told(tmp_path):
    pytest.importorskip("pycocotools")
    pictures(tmp_path, "a.png")
    box = region("rectanglelabels", "square", x=1, y=2, width=3, height=4)
    small = {**drawn("bar", BAR), "original_width": 20}
    damaged = region("brushlabels", "bar", format="rle", rle=packed(BAR)[:-9])
    no_bytes = region("brushlabels", "bar", format="rle", rle=[1, 300])
    two = drawn("bar", BAR)
    two["value"]["brushlabels"] = ["bar", "square"]
    turned = {**drawn("bar", BAR), "image_rotation": 90}
    opened = polygon()
    opened["value"]["closed"] = False
    file = write_tasks(
        tmp_path / "tasks.json",
        task(1, "a.png", box, small, damaged, no_bytes, two, turned, opened),
        task(2, "a.png", polygon(corners=CORNERS[:2]), polygon(None, kind="polygon")),
        task(3, "missing.png", polygon()),
        {"id": 4, "data": {"image": "a.png"}, "annotations": []},
        {"data": {"x": "a.png", "y": "b.png"}, "annotations": [{"result": []}]},
        "no task",
    )
    text = faults(file)
    assert "6 of the rows" in text
    for told in (
        "task 1: result 1, rectanglelabels, is neither a brush nor a closed polygon",
        "result 2, brushlabels, is of a picture of 20 x 40, not 48 x 40",
        "result 3, brushlabels, is damaged: it ends after",
        "result 4, brushlabels, ",
        "result 5, brushlabels, has the labels ['bar', 'square'], where one is needed",
        "result 6, brushlabels, was drawn on a picture turned by 90 degrees",
        "result 7, polygonlabels, is neither",
    ):
        assert told in text
    for told in (
        "task 2: result 1, polygonlabels, has a polygon of 4 numbers",
        "result 2, polygon, has no label",
        "missing.png is missing or cannot be read",
        "task 4: the task has no annotation",
        "task 5: which of its data is the picture: 'x', 'y'?",
    ):
        assert told in text
    assert "task 6: is no task" in text
    write_tasks(file, {"image": "a.png", "label": []})
    assert "without anything that was drawn" in faults(file)


# CVAT

LABELS = "".join(
    f"<label><name>{name}</name><attributes><attribute><name>x</name></attribute></attributes>"
    "</label>"
    for name in ("square", "background", "bar")
)
MASK = (
    '<mask label="bar" rle="3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, '
    '11, 3, 9, 5, 7, 7, 5, 3" left="7" top="8" width="13" height="15" z_order="{}"/>'
)
POLYGON = (
    '<polygon label="{}" points="4,6;14,6;14.0,26;4,26.0" z_order="{}">'
    '<attribute name="x"/></polygon>'
)


def write_cvat(folder, *images):
    folder.mkdir(exist_ok=True)
    meta = f"<meta><task><labels>{LABELS}</labels></task></meta>"
    lines = ["<?xml version='1.0'?>", "<annotations>", meta, *images, "</annotations>"]
    (folder / "annotations.xml").write_text("\n".join(lines))
    return folder


def image(name, *shapes, size=mask_data.SIZE, more=""):
    height, width = size
    inner = "\n".join(shapes)
    return (
        f'<image id="0" name="{name}" width="{width}" height="{height}"{more}>\n{inner}\n</image>'
    )


def ellipse():
    """What MASK draws, from its runs."""
    runs = [int(run) for run in MASK.split('"')[3].split(",")]
    mask = np.zeros(mask_data.SIZE, bool)
    flat = [place % 2 for place, run in enumerate(runs) for _ in range(run)]
    mask[8:23, 7:20] = np.reshape(flat, (15, 13))
    return mask


def test_polygons_and_masks_of_cvat(tmp_path):
    pytest.importorskip("pycocotools")
    folder = tmp_path / "task"
    pictures(folder / "images", "a.png", "b.png")
    pictures(folder / "images" / "Train", "c.png")
    write_cvat(
        folder,
        image("a.png", POLYGON.format("square", 0), MASK.format(0)),
        image("b.png", POLYGON.format("square", 3), MASK.format(-1), '<tag label="bar"/>'),
        image("c.png", POLYGON.format("background", 0), more=' subset="Train"'),
    )
    examples = load(folder)
    assert load(folder / "annotations.xml").targets == examples.targets
    assert examples.targets[0].table.names == ("background", "square", "bar")
    assert ellipse()[8, 10]
    assert not ellipse()[8, 9]
    under, over = square(), square()
    under[ellipse()] = 2
    over[ellipse() & (over == 0)] = 2
    for target, mask in zip(examples.targets, (under, over, 0 * over), strict=True):
        np.testing.assert_array_equal(target.numbers(), mask)
    assert [value.rpartition("/")[2] for value in examples.inputs] == ["a.png", "b.png", "c.png"]


def test_every_fault_of_cvat_is_told_with_its_line(tmp_path):
    pytest.importorskip("pycocotools")
    pictures(tmp_path / "images", "a.png")
    write_cvat(
        tmp_path,
        image(
            "a.png",
            '<box label="bar" xtl="1" ytl="1" xbr="2" ybr="2"/>',
            POLYGON.format("circle", 0),
            '<polygon label="bar" points="1,2;3,4"/>',
            '<polygon label="bar" points="1;2;3"/>',
            MASK.format(0).replace("3, 5, 7", "3, 5, 8"),
            MASK.format(0).replace('left="7"', 'left="40"'),
            MASK.format(0).replace('left="7"', ""),
        ),
        image("a.png", POLYGON.format("bar", 0), size=(10, 10)),
        image("missing.png", POLYGON.format("bar", 0)),
        '<image id="1" name="a.png" width="48"/>',
    )
    text = faults(tmp_path)
    assert "4 of the rows" in text
    for told in (
        "annotations.xml:4: line 5: <box> is neither a polygon nor a mask; "
        "line 6: <polygon> has the label 'circle'; known are 'background', 'square', 'bar'; "
        "line 7: <polygon> has a polygon of 4 numbers",
        "line 8: <polygon> ",
        "line 9: <mask> has runs of 196 pixels in a box of 195",
        "line 10: <mask> has a box that reaches out of the picture of 48 x 40",
        "line 11: <mask> has no 'left'",
        "10 x 10 pixels, its picture 48 x 40",
        "missing.png",
        "line 19: <image> has no 'height'",
    ):
        assert told in text


def test_segmentation_masks_of_cvat(tmp_path):
    pictures(tmp_path / "JPEGImages", "a.png", "b.png")
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "SegmentationObject").mkdir()
    colours = np.array([(0, 0, 0), (250, 50, 83), (51, 221, 255)], np.uint8)
    mask = square()
    mask[BAR] = 2
    for name in ("a.png", "b.png"):
        Image.fromarray(colours[mask]).save(tmp_path / "SegmentationClass" / name)
    labels = ["# label:color_rgb:parts:actions", "background:0,0,0::", "square:250,50,83::", "",
              "bar:51,221,255::"]  # fmt: skip
    (tmp_path / "labelmap.txt").write_text("\n".join(labels))
    target, _ = load(tmp_path).targets
    assert target.table.names == ("background", "square", "bar")
    np.testing.assert_array_equal(target.numbers(), mask)
    classes = {"none": "#000000", "a": "#fa3253", "b": "#33ddff"}
    assert load(tmp_path, mask_classes=classes).targets[0].table.names == tuple(classes)
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nbar:51,221::\n")
    assert "labelmap.txt:2: 'bar:51,221::' is no class with its colour" in faults(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<annotation><size/></annotation>", "is no export of CVAT"),
        ("<annotations><meta/></annotations>", "is no export of CVAT"),
        ("<annotations>\n<image></annotations>", ":2: mismatched tag"),
        ("<annotations>\n<track id='0'/></annotations>", "line 2: <track> is a track of a video"),
    ],
)
def test_other_xml_is_refused(content, told, tmp_path):
    (tmp_path / "a.xml").write_text(content)
    assert told in faults(tmp_path / "a.xml")


@pytest.mark.parametrize("size", [(10**8, 10**8), (-1, 4), (0, 0)])
def test_sizes_that_no_picture_has_are_told(tmp_path, size):
    (tmp_path / "a.xml").write_text(
        "<annotations><labels><label><name>a</name></label></labels>"
        f"<image name='a.png' width='{size[0]}' height='{size[1]}'/></annotations>"
    )
    assert f"there is no picture of {size[0]} x {size[1]} pixels" in faults(tmp_path / "a.xml")
    coco(tmp_path / "a.json", images=[{"id": 1, "file_name": "a.png", "width": size[0],
                                       "height": size[1]}])  # fmt: skip
    assert f"there is no picture of {size[0]} x {size[1]} pixels" in faults(tmp_path / "a.json")


def coco(file, *, images, annotations=()):
    content = {"images": images, "annotations": list(annotations),
               "categories": [{"id": 1, "name": "a"}]}  # fmt: skip
    file.write_text(json.dumps(content))


def test_a_file_of_annotations_beside_a_folder_of_pictures_is_to_be_named(tmp_path):
    for name in ("images/a.png", "annotations/instances_train.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(DataError, match=r"holds no masks but 'instances_train\.json'") as caught:
        load(tmp_path)
    assert str(tmp_path / "annotations" / "instances_train.json") in caught.value.hint


def test_boxes_of_coco_are_no_masks(tmp_path):
    pytest.importorskip("pycocotools")
    picture = {"id": 1, "file_name": "a.png", "width": 4, "height": 4}
    box = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": []}
    coco(tmp_path / "a.json", images=[picture], annotations=[box])
    assert "a.json holds boxes, no outlines" in faults(tmp_path / "a.json")
    outline = {**box, "id": 6, "segmentation": [[0, 0, 3, 0, 3, 3]]}
    coco(tmp_path / "a.json", images=[picture], annotations=[outline, box])
    assert "annotation 5 has no outline" in faults(tmp_path / "a.json")


def test_annotations_of_what_is_not_there_are_faults(tmp_path):
    pytest.importorskip("pycocotools")
    pictures(tmp_path, "a.png", "b.png")
    images = [{"id": i, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
              for i, name in enumerate("ab")]  # fmt: skip
    corners = [part for corner in CORNERS for part in corner]
    shape = {"category_id": 1, "segmentation": [corners]}
    shapes = [{"id": 5, "image_id": 0, **shape}, {"id": 6, "image_id": 1, **shape}]
    # Ids that are numbers in one list and text in the other name the same.
    as_text = [{**one, "image_id": str(one["image_id"]), "category_id": "1"} for one in shapes]
    for drawn in (shapes, as_text):
        coco(tmp_path / "a.json", images=images, annotations=drawn)
        for target in load(tmp_path / "a.json").targets:
            np.testing.assert_array_equal(target.numbers(), square())
    wrong = [shapes[0], {**shapes[1], "category_id": 99}, {"id": 7, "image_id": 77, **shape},
             {"id": 8, "image_id": 77, **shape}]  # fmt: skip
    coco(tmp_path / "a.json", images=images, annotations=wrong)
    text = faults(tmp_path / "a.json")
    assert "image 1: annotation 6 is of category 99, which is not among `categories`" in text
    assert "image 77: is not among `images`, but named by 2 annotations" in text
    point = {**shapes[1], "segmentation": [[1, 2]]}
    coco(tmp_path / "a.json", images=images, annotations=[shapes[0], point])
    assert "image 1: annotation 6 has a polygon of 2 numbers" in faults(tmp_path / "a.json")
    coco(tmp_path / "a.json", images=[images[0], {"id": 1}], annotations=shapes)
    text = faults(tmp_path / "a.json")
    assert "image 1: has no 'file_name'" in text
    assert "is not among" not in text


def test_a_byte_order_mark_is_no_part_of_annotations(tmp_path):
    pictures(tmp_path / "JPEGImages", "a.png")
    (tmp_path / "SegmentationClass").mkdir()
    mask = Image.fromarray(square()).convert("RGB")
    mask.save(tmp_path / "SegmentationClass" / "a.png")
    labels = "background:0,0,0::\nsquare:1,1,1::\n"
    (tmp_path / "labelmap.txt").write_text(labels, encoding="utf-8-sig")
    assert load(tmp_path).targets[0].table.names == ("background", "square")
    content = {"images": [7], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8-sig")
    assert "a.json: image 1: cannot be used: TypeError" in faults(tmp_path / "a.json")
    for i in range(3):
        (tmp_path / f"yolo/labels/{i}.txt").parent.mkdir(parents=True, exist_ok=True)
        text = "0 0.5 0.5 0.1 0.1\n"
        (tmp_path / f"yolo/labels/{i}.txt").write_text(text, encoding="utf-8-sig")
    pictures(tmp_path / "yolo" / "images", "0.png")
    assert "boxes (YOLO)" in faults(tmp_path / "yolo")


@pytest.mark.parametrize("shape", [3, {"category_id": 1}, {"image_id": [1]}])
def test_annotations_of_no_image_are_no_coco(tmp_path, shape):
    picture = {"id": 1, "file_name": "a.png", "width": 4, "height": 4}
    coco(tmp_path / "a.json", images=[picture], annotations=[shape])
    assert "is no file of COCO's annotations" in faults(tmp_path / "a.json")
    coco(tmp_path / "a.json", images=[picture, 7])
    assert "a.json: image 2: cannot be used: TypeError" in faults(tmp_path / "a.json")

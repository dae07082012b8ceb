"""LiteRT files that take pixels, images of any size, or texts of any length."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny
import trained
from command import cli, succeed
from exported import export_and_check

from tltool.data.images.preprocessor import resize_and_crop
from tltool.data.preprocessing import ImagePreprocessing
from tltool.export.artifact import load_artifact
from tltool.export.formats.litert.image_graph import resize_in_graph
from tltool.export.formats.litert.metadata import read_metadata
from tltool.recipe.export_section import ExportSection
from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError
from tltool.support.quiet import quiet

TORCH = {"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}
BGR = {**TORCH, "channel_order": "bgr"}


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory, image_classifier):
    """Export folders by name; each passed the check, in a process of its own."""
    folder = tmp_path_factory.mktemp("exports")
    made = replace(
        image_classifier,
        preprocessing=image_classifier.preprocessing.model_copy(update=BGR),
    )
    for given, precisions in (
        ("uint8", ("float32", "int8")),
        ("uint8_any_size", ("float32", "dynamic_int8")),
    ):
        section = ExportSection(formats=("litert",), precisions=precisions, litert_input=given)
        reports = export(made, folder, section, calibration=made.held_out)
        assert all(report.passed and report.conclusive for report in reports)
    text = trained.text_classifier()
    (report,) = export(text, folder, ExportSection(formats=("litert",), litert_length="free"))
    assert report.passed
    return {"image": made, "text": text}, folder


def export(made, folder, section, **options):
    return export_and_check(*made.parts(), made.held_out, folder, section=section, **options)


def interpreter(file):
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(str(file))
    made.allocate_tensors()
    return made


def test_exports_with_options_have_folders_of_their_own(exported):
    _, folder = exported
    assert {path.name for path in folder.iterdir()} == {
        "litert_float32_free_length",
        "litert_float32_uint8",
        "litert_float32_uint8_any_size",
        "litert_dynamic_int8_uint8_any_size",
        "litert_int8_uint8",
    }


@pytest.mark.parametrize("name", ["litert_float32_uint8", "litert_int8_uint8"])
def test_pixels_go_in_as_they_are(exported, name):
    made, folder = exported
    (serve,) = json.loads((folder / name / "contract.json").read_text())["signatures"]
    (given,) = serve["inputs"]
    assert (given["dtype"], given["shape"]) == ("uint8", [1, 32, 32, 3])
    assert given["content"] == "resized_image"
    content = (folder / name / "model.tflite").read_bytes()
    (image,) = read_metadata(content).inputs
    (unit,) = image.process_units
    assert (unit.mean, unit.std, image.colour_space) == ((0.0,), (1.0,), "rgb")
    assert (image.minimum, image.maximum) == ((0.0,), (255.0,))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    run = interpreter(folder / name / "model.tflite").get_signature_runner("serving_default")
    levels = (pixels - np.float32(TORCH["mean"])) / np.float32(TORCH["std"])
    expected = made["image"].task.outputs(made["image"].model(levels[..., ::-1]))
    tolerance = 1e-5 if "float32" in name else 0.05
    np.testing.assert_allclose(run(image=pixels)["probabilities"], expected, atol=tolerance)


def test_8_bit_pixels_are_levels_and_nothing_is_computed_in_floats(exported):
    _, folder = exported
    made = interpreter(folder / "litert_int8_uint8" / "model.tflite")
    (given,) = made.get_input_details()
    assert given["quantization"] == (1.0, 0)
    names = [op["op_name"] for op in made._get_ops_details()]
    assert names[0] == "QUANTIZE"
    assert "CAST" not in names


def test_an_image_of_any_size_gives_what_the_model_gives(exported):
    made, folder = exported
    name = "litert_float32_uint8_any_size"
    (serve,) = json.loads((folder / name / "contract.json").read_text())["signatures"]
    (given,) = serve["inputs"]
    assert (given["dtype"], given["shape"], given["content"]) == (
        "uint8",
        [1, None, None, 3],
        "image",
    )
    (said,) = read_metadata((folder / name / "model.tflite").read_bytes()).inputs
    assert "any height and width" in said.description
    assert (said.process_units[0].mean, said.process_units[0].std) == ((0.0,), (1.0,))
    image = made["image"]
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((36, 90), (200, 41))]
    found = load_artifact(folder / name).predict(pictures)
    levels = np.stack([resize_and_crop(p, image.preprocessing) for p in pictures])
    normal = (levels - np.float32(TORCH["mean"])) / np.float32(TORCH["std"])
    expected = image.task.outputs(image.model(normal[..., ::-1]))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("antialias", [True, False])
def test_resizing_in_built_in_operations_equals_the_contracts(interpolation, fit, antialias):
    contract = ImagePreprocessing(
        size_px=(24, 20), resize_px=27, fit=fit, interpolation=interpolation, antialias=antialias
    )

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, 3), tf.uint8, "image")], autograph=False
    )
    def run(image):
        return {"resized": resize_in_graph(image, contract)}

    with quiet():
        function = run.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    from ai_edge_litert.interpreter import Interpreter

    resized = Interpreter(model_content=content).get_signature_runner("serving_default")
    rng = np.random.default_rng(0)
    for size in ((24, 20), (27, 31), (10, 12), (150, 97), (61, 300)):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        expected = resize_and_crop(image, contract).numpy()
        off = np.abs(resized(image=image)["resized"] - expected)
        assert off.max() <= 1
        assert (off > 0).mean() < 0.002


def test_texts_go_in_unpadded_and_say_the_same_as_padded(exported):
    made, folder = exported
    folder = folder / "litert_float32_free_length"
    contract = json.loads((folder / "contract.json").read_text())
    assert contract["length"] is None
    assert {tuple(t["shape"]) for t in contract["signatures"][0]["inputs"]} == {(1, None)}
    run = interpreter(folder / "model.tflite").get_signature_runner("serving_default")
    ids = np.array([[2, 5, 10, 3]], "int32")
    found = []
    for padding in (0, 1, 12):
        padded = np.pad(ids, ((0, 0), (0, padding)))
        mask = np.pad(np.ones_like(ids), ((0, 0), (0, padding)))
        inputs = {"token_ids": padded, "padding_mask": mask, "segment_ids": 0 * padded}
        found.append(run(**inputs)["probabilities"])
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=1e-6)
    expected = made["text"].model(
        {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": 0 * ids}
    )
    np.testing.assert_allclose(found[0], made["text"].task.outputs(expected), atol=1e-5)


def test_free_texts_are_fed_without_padding(exported, monkeypatch):
    _, folder = exported
    artifact = load_artifact(folder / "litert_float32_free_length")
    from ai_edge_litert.interpreter import SignatureRunner

    widths, call = [], SignatureRunner.__call__

    def seen(self, **inputs):
        widths.append(inputs["token_ids"].shape[1])
        return call(self, **inputs)

    monkeypatch.setattr(SignatureRunner, "__call__", seen)
    artifact.predict(["good", "good film !", "nice " * 40])
    assert widths == [3, 5, tiny.TINY_TEXT.max_length]


@pytest.mark.parametrize(
    "name",
    [
        "litert_float32_uint8",
        "litert_int8_uint8",
        "litert_float32_uint8_any_size",
        "litert_float32_free_length",
    ],
)
def test_the_readmes_program_gives_the_golden_output(exported, name):
    _, folder = exported
    folder = folder / name
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    guard = "import sys\nfor name in ['keras', 'tensorflow', 'tltool']: sys.modules[name] = None\n"
    command = [sys.executable, "-c", guard + program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    golden = json.loads((folder / "golden.json").read_text())["examples"][0]
    label, number = done.stdout.split()
    assert label == golden["label"]
    assert float(number) == pytest.approx(max(golden["probabilities"]), abs=1e-5)


def test_predict_and_inspect_take_each(exported):
    made, folder = exported
    picture = made["image"].held_out.inputs[-1]
    for name in ("litert_int8_uint8", "litert_float32_uint8_any_size"):
        (row,) = succeed("predict", folder / name, picture).rows()
        (expected,) = load_artifact(folder / name).predict_with_labels([picture])[1]
        assert row["prediction"] == expected
    shown = succeed("inspect", folder / "litert_float32_uint8_any_size").out
    assert "any × any × 3" in shown
    assert "an upright RGB image, levels 0..255, of any height and width" in " ".join(shown.split())
    assert "1 × any" in succeed("inspect", folder / "litert_float32_free_length").out


def test_a_broken_image_is_named(exported, tmp_path):
    made, folder = exported
    half = tmp_path / "half.jpg"
    half.write_bytes(Path(made["image"].held_out.inputs[0]).read_bytes()[:400])
    for name in ("litert_float32_uint8", "litert_float32_uint8_any_size"):
        done = cli("predict", folder / name, half)
        assert done.code == 1
        assert "half.jpg: damaged or truncated JPEG" in done.err


# Options that are not for the task


@pytest.mark.parametrize(
    ("task", "values", "field"),
    [
        ("text-classification", {"litert_input": "uint8"}, "export.litert_input"),
        ("image-classification", {"litert_length": "free"}, "export.litert_length"),
        (
            "image-classification",
            {"litert_input": "uint8_any_size", "precisions": ["int8"]},
            "export.litert_input",
        ),
    ],
)
def test_what_is_not_for_the_task_is_a_fault(task, values, field, image_classifier, tmp_path):
    with pytest.raises(RecipeError) as caught:
        Recipe.of(task=task, backbone="efficientnet-lite0", export=values)
    assert [fault.path for fault in caught.value.faults] == [field]
    made = trained.text_classifier() if task.startswith("text") else image_classifier
    with pytest.raises(RecipeError) as caught:
        export(made, tmp_path, ExportSection(formats=("litert",), **values))
    assert [fault.path for fault in caught.value.faults] == [field]
    assert list(tmp_path.iterdir()) == []

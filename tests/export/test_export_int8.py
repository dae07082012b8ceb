"""Full 8-bit LiteRT files: ranges measured on balanced training rows, and what the gate says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import trained
from ai_edge_litert.interpreter import Interpreter
from exported import export_and_check

from tltool.data.examples import Examples
from tltool.export.formats.litert.calibration import balanced_rows, calibration_inputs
from tltool.export.formats.litert.export import export_litert
from tltool.export.formats.litert.file import model_table
from tltool.recipe.export_section import ExportSection
from tltool.support.errors import ExportError, GateError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget

INT8 = ExportSection(formats=("litert",), precisions=("int8",))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


def export(made, folder, section=INT8, **options):
    return export_and_check(*made.parts(), made.held_out, folder, section=section, **options)


def table(targets, kind=ClassTarget):
    count = len(targets)
    inputs = [f"text {i}" for i in range(count)]
    origins = [f"row {i}" for i in range(count)]
    return Examples("text", inputs, targets, [None] * count, origins, kind=kind)


def test_rows_are_as_many_of_each_class_as_there_are():
    chosen = balanced_rows(table(["a"] * 90 + ["b"] * 3 + ["c"] * 30), 30)
    assert Counter(chosen.targets) == {"a": 10, "b": 3, "c": 10}
    # Spread over the class, not its first rows.
    of_a = [
        int(o.split()[1]) for o, t in zip(chosen.origins, chosen.targets, strict=True) if t == "a"
    ]
    assert max(of_a) > 70
    assert len(balanced_rows(table(["a", "b"]), 30)) == 2
    assert len(balanced_rows(table(["a"] * 9 + ["b"] * 9), 5)) == 5


def test_numbers_are_taken_over_their_whole_range():
    numbers = table([float(i % 50) ** 2 for i in range(200)], NumbersTarget)
    chosen = balanced_rows(numbers, 10)
    assert len(chosen) == 10
    assert min(chosen.targets) == 0
    assert max(chosen.targets) > 1900


def test_weights_and_activations_are_of_8_bits(made, tmp_path):
    (report,) = export(made, tmp_path, calibration=made.held_out)
    assert report.passed
    assert report.precision == "int8"
    assert report.metric.artifact == 1
    interpreter = Interpreter(str(tmp_path / "litert_int8" / "model.tflite"))
    interpreter.allocate_tensors()
    signature = interpreter.get_signature_runner("serving_default")
    assert signature.get_input_details()["image"]["dtype"] == np.float32
    kinds = Counter(np.dtype(t["dtype"]).name for t in interpreter.get_tensor_details())
    assert kinds["int8"] > kinds["float32"]


def test_ranges_of_other_pictures_are_noticed(made, tmp_path):
    """Calibrated on grey pictures, which the model sees as 0, those of real ones are cut off."""
    grey = [np.full((32, 32, 3), 127, "uint8")] * 8
    rows = table(["blue", "red"] * 4)
    wrong = Examples("image", grey, rows.targets, rows.splits, rows.origins)
    with pytest.raises(GateError, match=r"accuracy falls|largest difference"):
        export(made, tmp_path, calibration=wrong)
    assert list(tmp_path.iterdir()) == []


def test_rows_are_needed_and_other_precisions_are_made_without(made, tmp_path):
    both = ExportSection(formats=("litert",), precisions=("int8", "float32"))
    with pytest.raises(ExportError, match=r"litert_int8: .* needs training rows"):
        export(made, tmp_path, both)
    assert [path.name for path in tmp_path.iterdir()] == ["litert_float32"]
    with pytest.raises(ExportError, match="needs training rows"):
        calibration_inputs(table([]), made.preprocessing, None)


def test_texts_are_padded_to_the_models_length():
    text = trained.text_classifier()
    rows = list(calibration_inputs(text.held_out.take(range(3)), text.preprocessing, 12)())
    assert [{name: tensor.shape for name, tensor in row.items()} for row in rows] == [
        dict.fromkeys(text.preprocessing.inputs, (1, 12))
    ] * 3


def test_the_mask_is_measured_on_masks(tmp_path):
    """The converter puts inputs into an order of its own: by position, ids went into the mask."""
    text = trained.text_classifier()
    export_litert(
        *text.parts(),
        tmp_path / "model.tflite",
        precision="int8",
        length=12,
        calibration=text.held_out,
    )
    model = model_table((tmp_path / "model.tflite").read_bytes())
    mask = [
        tensor["quantization"]
        for graph in model["subgraphs"]
        for tensor in graph["tensors"]
        if "/pooled" in tensor["name"] and "/ExpandDims" in tensor["name"]
    ]
    scales = [float(q["scale"][0]) for q in mask if q is not None and q["scale"] is not None]
    assert scales
    # 0 or 1 in 256 steps.
    assert max(scales) == pytest.approx(1 / 255, rel=0.01)

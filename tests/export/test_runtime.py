"""The oldest runtime that runs an export: made for it, said by it, refused before training."""

from __future__ import annotations

import json

import exported
import numpy as np
import pytest
import tensorflow as tf
import trained
from command import succeed

from tltool.export.audit.audit import audit_export
from tltool.export.contract import Contract
from tltool.export.formats.base import ExportTarget
from tltool.export.formats.litert.dense import with_scales_outside
from tltool.export.formats.litert.export import export_litert
from tltool.export.formats.litert.file import model_table, operator_kinds, read_tflite
from tltool.export.formats.litert.gpu import left_by_gpu
from tltool.export.formats.litert.metadata import read_metadata
from tltool.export.formats.litert.quantisation.graph import kinds_in_float
from tltool.export.formats.litert.runtime import oldest_runtime
from tltool.export.formats.runtime import Runtime, version_key
from tltool.export.formats.saved_model.file import oldest_tensorflow, read_saved_model
from tltool.export.formats.table import FORMATS
from tltool.recipe.export_section import ExportSection, Int8Section
from tltool.recipe.recipe import Recipe
from tltool.support.errors import ExportError, RecipeError
from tltool.support.quiet import quiet

IDS = np.array([[2, 5, 10, 3] + [0] * 12], "int32")
INPUTS = {"token_ids": IDS, "padding_mask": (IDS > 0).astype("int32"), "segment_ids": 0 * IDS}
MOSTLY = Int8Section(keep_float=("SOFTMAX",))


def answer(content: bytes, **inputs):
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    return next(iter(interpreter.get_signature_runner("serving_default")(**inputs).values()))


def litert(made, place, precision, **options) -> bytes:
    export_litert(*made.parts(), place / "m.tflite", precision=precision, **options)
    return (place / "m.tflite").read_bytes()


def versions(content: bytes) -> dict[str, int]:
    model = model_table(content)
    kinds, _ = operator_kinds(model)
    return {k: code["version"] for k, code in zip(kinds, model["operator_codes"], strict=True)}


# What old runtimes lack is done without


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory):
    """A text classifier with 8-bit weights for the oldest runtime, and for a new one."""
    made, place = trained.text_classifier(), tmp_path_factory.mktemp("dynamic")
    return [litert(made, place, "dynamic_int8", runtime=runtime) for runtime in ("2.14", "2.17")]


def test_dense_layers_of_8_bit_weights_are_for_old_runtimes_too(dynamic):
    """`FULLY_CONNECTED` version 12 is what apps' runtimes of 2024 do not find."""
    old, new = dynamic
    assert (versions(old)["FULLY_CONNECTED"] < 12, versions(new)["FULLY_CONNECTED"]) == (True, 12)
    assert oldest_runtime(old) == Runtime("TensorFlow Lite", "2.9")
    assert oldest_runtime(new) == Runtime("TensorFlow Lite", "2.17")


def test_their_scales_are_not_lost(dynamic):
    """One scale for all outputs would move the answers by a hundred times as much."""
    old, new = (answer(content, **INPUTS) for content in dynamic)
    np.testing.assert_allclose(old, new, atol=1e-6)
    assert len(dynamic[0]) < 1.01 * len(dynamic[1])
    assert read_tflite(dynamic[0]).weights["int8"] == read_tflite(dynamic[1]).weights["int8"]


def test_what_buffers_hold_is_aligned_as_the_schema_says(dynamic):
    start = np.frombuffer(dynamic[0], np.uint8).ctypes.data
    data = [buffer["data"] for buffer in model_table(dynamic[0])["buffers"]]
    places = {(d.ctypes.data - start) % 16 for d in data if d is not None and len(d)}
    assert places == {0}


def dense_twice(**settings) -> bytes:
    """A dense layer that is used twice, with a bias and ReLU; one of its outputs has no weights."""
    draw = np.random.default_rng(0)
    kernel = draw.normal(size=(64, 64)).astype("float32") * np.geomspace(1e-3, 10, 64, dtype="f4")
    kernel[:, 3] = 0
    bias = draw.normal(size=64).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec((1, 64), tf.float32, "x")], autograph=False)
    def run(x):
        once = tf.nn.relu(x @ kernel + bias)
        return {"y": tf.nn.relu(tf.tanh(once) @ kernel + bias)}

    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [run.get_concrete_function()], tf.Module()
        )
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        for name, value in settings.items():
            setattr(converter, name, value)
        return converter.convert()


def test_weights_that_two_layers_share_and_their_activations():
    plain = dense_twice(_experimental_disable_per_channel_quantization_for_dense_layers=True)
    channelled = dense_twice()
    made = with_scales_outside(plain, channelled)
    x = np.random.default_rng(1).normal(size=(1, 64)).astype("float32")
    expected = answer(channelled, x=x)
    np.testing.assert_allclose(answer(made, x=x), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(answer(plain, x=x) - expected).max() > 1e-2
    assert read_tflite(made).operators["MUL"] == 2
    with pytest.raises(ExportError, match="two graphs"):
        with_scales_outside(plain, litert_of(lambda x: x + 1.0))


def test_divisions_stay_in_float_for_runtimes_without_them_in_8_bits(tmp_path):
    made = trained.text_classifier()
    options = {"calibration": made.held_out, "int8": MOSTLY}
    old = litert(made, tmp_path, "int8", **options)
    assert kinds_in_float(old)["DIV"] == 1
    assert version_key(oldest_runtime(old).oldest) <= (2, 14)
    new = litert(made, tmp_path, "int8", **options, runtime="2.20")
    assert "DIV" not in kinds_in_float(new)
    # The converter itself says 2.9 of it.
    assert oldest_runtime(new).oldest == "2.20"


def test_the_search_for_what_stays_in_float_begins_with_what_must(tmp_path):
    made = trained.text_classifier()
    section = Int8Section(max_change=1.0, max_trials=3)
    content = litert(made, tmp_path, "int8", calibration=made.held_out, int8=section)
    assert {"DIV"} <= kinds_in_float(content).keys()
    assert "SOFTMAX" not in kinds_in_float(content)


# Every export says what it needs


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Export folders of an image model."""
    root = tmp_path_factory.mktemp("pictures")
    made = exported.image_model(root / "files")
    forms = ("litert", "saved_model", "keras")
    return {f: exported.export_folder(made, root / f, ExportTarget(FORMATS[f])) for f in forms}


def test_a_saved_model_of_photographs_needs_no_new_tensorflow(pictures):
    """WebP files are read all the same, by an operator that old versions refuse them with."""
    found = read_saved_model(pictures["saved_model"] / "model")
    assert "DecodeWebP" not in found.operators
    assert found.runtime == Runtime("TensorFlow", "2.15")
    assert oldest_tensorflow(["MatMul", "DecodeWebP", "CheckPinned"]) == "2.20"


@pytest.mark.parametrize(
    ("form", "said"), [("litert", "TensorFlow Lite 1.5"), ("saved_model", "TensorFlow 2.15")]
)
def test_an_export_says_it_wherever_it_speaks(pictures, form, said):
    folder = pictures[form]
    assert str(Contract.read(folder).runtime) == f"{said} or newer"
    name, _, oldest = said.rpartition(" ")
    contract = json.loads((folder / "contract.json").read_text())
    assert contract["runtime"] == {"name": name, "oldest": oldest}
    assert f"It runs in {said} or newer." in (folder / "README.md").read_text()
    assert f"Runs in     {said} or newer" in succeed("inspect", folder).out
    found = succeed("inspect", folder, "--json").json()
    assert found["runtime"] == found["contract"]["runtime"] == contract["runtime"]
    if form == "litert":
        metadata = read_metadata((folder / "model.tflite").read_bytes())
        assert metadata.description == f"Runs in {said} or newer."


def test_where_it_is_not_known_nothing_is_said(pictures):
    folder = pictures["keras"]
    assert Contract.read(folder).runtime is None
    assert "Runs in" not in succeed("inspect", folder).out
    assert "It runs in" not in (folder / "README.md").read_text()


# What cannot be made for a runtime is refused


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"litert_runtime": "2.5"}, "it needs TensorFlow Lite 2.9 or newer, and export.litert_ru"),
        (
            {"precisions": ("int8",), "int8": Int8Section(keep_float="none")},
            "no 8-bit kernel has 1 CAST, 1 DIV, ",
        ),
    ],
)
def test_it_is_refused_before_training(section, said):
    made = trained.text_classifier()
    audit = audit_export(*made.parts(), ExportSection(formats=("litert",), **section))
    (problem,) = audit.problems
    assert said in problem.what
    assert problem.hint
    with pytest.raises(ExportError, match="could not be exported as the recipe asks"):
        audit.raise_problems()


def test_and_by_the_export(tmp_path):
    with pytest.raises(ExportError, match=r"needs TensorFlow Lite 2\.9") as raised:
        litert(trained.text_classifier(), tmp_path, "float32", runtime="2.5")
    assert "export.litert_runtime" in raised.value.hint
    assert list(tmp_path.iterdir()) == []


def recipe(runtime) -> Recipe:
    return Recipe.of(
        task="text-classification",
        data={"train": "rows.csv"},
        backbone="all-minilm-l6-v2",
        schedule="feature_extraction",
        export={"litert_runtime": runtime},
    )


def test_a_version_has_the_characters_that_were_written(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe("2.14").to_yaml().replace("'2.14'", "2.20"))
    assert Recipe.load(file).export.litert_runtime == "2.20"
    read = Recipe.load(file, overrides=["export.litert_runtime=2.10"])
    assert read.export.litert_runtime == "2.10"


@pytest.mark.parametrize(
    ("given", "said"), [(2.2, "wrong kind"), ("newest", 'such as "2.14"'), (True, "wrong kind")]
)
def test_no_version_is_a_fault_of_the_recipe(given, said):
    with pytest.raises(RecipeError) as raised:
        recipe(given)
    (fault,) = raised.value.faults
    assert fault.path == "export.litert_runtime"
    assert said in fault.problem


# What the GPU delegate takes


def litert_of(function, shape=(1, 10)) -> bytes:
    with quiet():
        concrete = tf.function(
            function, input_signature=[tf.TensorSpec(shape, tf.float32, "x")]
        ).get_concrete_function()
        return tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: tf.nn.softmax(x * 2.0), {}),
        (lambda x: tf.math.top_k(x, 3)[0], {"TOPK_V2": 1}),
        # As the analyzer of TensorFlow 2.15 says: WHERE, and a CAST from int64.
        (lambda x: tf.cast(tf.where(x > 0), tf.float32), {"WHERE": 1, "CAST": 1}),
        (lambda x: tf.reduce_any(x > 0, axis=1), {"REDUCE_ANY": 1}),
    ],
)
def test_operators_that_the_gpu_leaves(function, left):
    assert left_by_gpu(litert_of(function)) == left


def test_inspect_says_what_the_gpu_takes(pictures, dynamic, tmp_path):
    assert "the delegate has all of its operators" in succeed("inspect", pictures["litert"]).out
    (tmp_path / "text.tflite").write_bytes(dynamic[0])
    shown = succeed("inspect", tmp_path / "text.tflite").out
    assert "leaves to the processor: MUL 3, SELECT 2, GATHER 2, CAST 1" in shown
    (tmp_path / "free.tflite").write_bytes(litert_of(lambda x: x + 1.0, (None, 3)))
    assert "free shape" in succeed("inspect", tmp_path / "free.tflite").out

"""`tltool inspect`: says what is in an exported model, and refuses what is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tiny
import trained
from command import cli, succeed
from exported import export_and_check

from tltool.export.inspection.inspection import inspect_artifact
from tltool.recipe.export_section import ExportSection
from tltool.support.quiet import quiet
from tltool.support.sums import write_sums

SECTION = ExportSection(precisions=("float32", "dynamic_int8"))


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Export folders of a text classifier."""
    made, folder = trained.text_classifier(), tmp_path_factory.mktemp("run") / "exports"
    export_and_check(*made.parts(), made.held_out, folder, section=SECTION)
    return folder


def convert(function, specs, **settings) -> bytes:
    import tensorflow as tf

    concrete = tf.function(function, input_signature=specs).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    for name, value in settings.items():
        holder = converter.target_spec if name == "supported_ops" else converter
        setattr(holder, name, value)
    with quiet():
        return converter.convert()


# .tflite files


def test_a_litert_export_in_full(exports):
    from ai_edge_litert.interpreter import Interpreter

    folder = exports / "litert_float32"
    found = succeed("inspect", folder, "--json").json()
    file = folder / "model.tflite"
    assert (found["path"], found["form"]) == (str(file), "LiteRT")
    assert found["size_bytes"] == file.stat().st_size
    interpreter = Interpreter(str(file))
    (signature,) = found["signatures"]
    assert signature["name"] == "serving_default"
    details = interpreter.get_signature_runner("serving_default").get_input_details()
    assert {t["name"]: t["shape"] for t in signature["inputs"]} == {
        name: list(detail["shape"]) for name, detail in details.items()
    }
    assert {t["dtype"] for t in signature["inputs"]} == {"int32"}
    assert signature["outputs"] == [
        {"name": "probabilities", "dtype": "float32", "shape": [1, 2], "quantisation": None}
    ]
    names = [op["op_name"] for op in interpreter._get_ops_details()]
    counted = {name: names.count(name) for name in set(names) - {"DELEGATE"}}
    assert found["operators"] == counted
    assert found["not_built_in"] == []
    assert found["metadata"]["input_process_units"][0]["step"] == "BertTokenizer"
    sizes = {name: (folder / name).stat().st_size for name in ("labels.txt", "vocab.txt")}
    assert found["files"] == sizes
    assert found["contract"]["preprocessing_digest"] == tiny.TINY_TEXT.digest()
    gate = json.loads((folder / "gate.json").read_text())
    assert found["gate"] == {key: gate[key] for key in found["gate"]}
    assert (found["gate"]["passed"], found["gate"]["breaches"]) == (True, [])


def test_a_failed_check_is_told_with_its_reasons(exports, tmp_path):
    folder = shutil.copytree(exports / "litert_float32", tmp_path / "export")
    report = json.loads((folder / "gate.json").read_text())
    report |= {"passed": False, "breaches": ["the accuracy falls by 0.3"]}
    (folder / "gate.json").write_text(json.dumps(report))
    write_sums(folder)
    shown = succeed("inspect", folder).out
    assert "FAILED on 32 rows" in shown
    assert "the accuracy falls by 0.3" in " ".join(shown.split())


def test_the_share_of_weights_by_dtype(exports):
    whole, small = (
        succeed("inspect", exports / f"litert_{precision}", "--json").json()["weights"]
        for precision in ("float32", "dynamic_int8")
    )
    assert "int8" not in whole
    # Each weight that went from four bytes to one, but for the scales that came.
    assert small["int8"] * 4 == pytest.approx(whole["float32"] - small["float32"], rel=0.1)


def test_what_a_user_reads(exports):
    shown = succeed("inspect", exports / "litert_float32" / "model.tflite").out
    assert "token_ids" in shown
    assert "int32    1 × 16" in shown
    assert "FULLY_CONNECTED 7" in shown
    assert "all built in" in shown
    assert "BERT tokenizer with vocab.txt" in shown
    assert "labels.txt (18 B)" in shown
    assert "passed on 32 rows" in shown
    assert f"preprocessing {tiny.TINY_TEXT.digest()[:12]}" in shown
    assert max(map(len, shown.splitlines()[1:])) <= 100


def test_tensorflow_is_not_loaded_for_a_tflite_file(exports):
    program = (
        "import sys; from tltool.cli.app import run; code = run(sys.argv[1:]); "
        "assert 'tensorflow' not in sys.modules; sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "inspect", str(exports / "litert_float32")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_file_of_someone_elses_with_free_shapes(tmp_path):
    import tensorflow as tf

    file = tmp_path / "plus.tflite"
    file.write_bytes(convert(lambda x: x + 1.0, [tf.TensorSpec((None, 3), tf.float32, "x")]))
    found = succeed("inspect", file, "--json").json()
    assert found["signatures"][0]["inputs"][0]["shape"] == [None, 3]
    assert (found["metadata"], found["contract"], found["gate"]) == (None, None, None)
    shown = succeed("inspect", file).out
    assert "any × 3" in shown
    assert "Metadata    none" in shown


def test_operators_that_are_not_built_in_are_named(tmp_path):
    import tensorflow as tf

    file = tmp_path / "cholesky.tflite"
    file.write_bytes(
        convert(
            lambda x: tf.linalg.cholesky(x) + 1.0,
            [tf.TensorSpec((2, 2), tf.float32)],
            supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS],
        )
    )
    found = inspect_artifact(file)
    assert found.not_built_in == ("FlexCholesky",)
    assert found.operators == {"FlexCholesky": 1, "ADD": 1}
    assert "NOT BUILT IN: FlexCholesky" in succeed("inspect", file).out


def test_quantisation_is_that_of_the_interpreter(tmp_path):
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    rng = np.random.default_rng(0)
    kernel = tf.constant(rng.normal(size=(4, 8)), tf.float32)
    file = tmp_path / "int8.tflite"
    file.write_bytes(
        convert(
            lambda x: tf.nn.relu(x @ kernel),
            [tf.TensorSpec((1, 4), tf.float32, "x")],
            optimizations=[tf.lite.Optimize.DEFAULT],
            representative_dataset=lambda: (
                [rng.normal(size=(1, 4)).astype("float32")] for _ in range(8)
            ),
            supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
            inference_input_type=tf.uint8,
            inference_output_type=tf.int8,
        )
    )
    found = succeed("inspect", file, "--json").json()
    interpreter = Interpreter(str(file))
    for way, details in (
        ("inputs", interpreter.get_input_details()),
        ("outputs", interpreter.get_output_details()),
    ):
        (tensor,) = found["signatures"][0][way]
        scale, zero_point = details[0]["quantization"]
        assert tensor["dtype"] == np.dtype(details[0]["dtype"]).name
        assert tensor["quantisation"] == {"scale": [scale], "zero_point": [zero_point]}
    assert "· (q - " in succeed("inspect", file).out


# SavedModels


def test_a_saved_model_in_full(exports):
    import tensorflow as tf

    found = succeed("inspect", exports / "saved_model", "--json").json()
    model = exports / "saved_model" / "model"
    assert (found["path"], found["form"]) == (str(model), "SavedModel")
    assert found["size_bytes"] == sum(f.stat().st_size for f in model.rglob("*") if f.is_file())
    serving = {s["name"]: s for s in found["signatures"]}["serving_default"]
    assert serving["inputs"] == [
        {"name": "texts", "dtype": "string", "shape": [None], "quantisation": None}
    ]
    loaded = tf.saved_model.load(str(model)).signatures
    assert {s["name"] for s in found["signatures"]} == set(loaded)
    expected = loaded["serving_default"].structured_outputs
    assert {t["name"] for t in serving["outputs"]} == set(expected)
    weights = trained.text_classifier().model.count_params()
    assert found["weights"]["float32"] == 4 * weights
    assert found["operators"]["MatMul"] > 3
    assert not set(found["operators"]) & {"StatefulPartitionedCall_1", "__inference_serve"}
    assert found["not_built_in"] == []
    assert found["gate"]["passed"] is True
    assert "SavedModel" in succeed("inspect", model).out


def test_a_saved_model_that_needs_another_library_says_so(exports, tmp_path):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = shutil.copytree(exports / "saved_model" / "model", tmp_path / "model")
    message = SavedModel.FromString((model / "saved_model.pb").read_bytes())
    graph = message.meta_graphs[0].graph_def
    graph.library.function[0].node_def.add(name="tokens", op="SomeTokenizer")
    (model / "saved_model.pb").write_bytes(message.SerializeToString())
    assert inspect_artifact(model).not_built_in == ("SomeTokenizer",)


# What is refused


def refused(path) -> str:
    done = cli("inspect", path)
    assert (done.code, done.out) == (2, "")
    assert "hint:" in done.err
    return done.err


def test_what_is_no_model_is_refused_with_a_way_out(exports, tmp_path):
    assert "does not exist" in refused(tmp_path / "nothing.tflite")
    for name in ("photo.jpg", "model.pb", "model"):
        (tmp_path / name).write_bytes(b"something")
        assert "is not an exported model" in refused(tmp_path / name)
    assert "a file ending in .tflite, .onnx, .keras" in refused(tmp_path)
    for folder in (exports, exports.parent, exports.parent.parent):
        assert str(exports / "litert_float32") in refused(folder)


def test_a_folder_whose_contract_is_wrong_is_refused(exports, tmp_path):
    folder = shutil.copytree(exports / "litert_float32", tmp_path / "export")
    (folder / "model.tflite").rename(folder / "renamed.tflite")
    assert "names no model that is there" in refused(folder)
    assert "renamed.tflite was added" in refused(folder / "renamed.tflite")
    write_sums(folder)
    succeed("inspect", folder / "renamed.tflite")
    for broken in ("{", "[]"):
        (folder / "contract.json").write_text(broken)
        write_sums(folder)
        assert "contract.json is damaged" in refused(folder)


@pytest.fixture
def damaged_files(exports, tmp_path):
    """Every way a file is damaged on its way, by name."""
    whole = (exports / "litert_float32" / "model.tflite").read_bytes()
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("labels.txt", "a\nb\n")
    return {
        "empty": b"",
        "a few bytes": whole[:7],
        "the beginning": whole[:100],
        "half": whole[: len(whole) // 2],
        "without the files": whole[: whole.rindex(b"PK\x03\x04")],
        "without the end": whole[:-30],
        "garbage": np.random.default_rng(0).bytes(5000),
        "garbage behind the mark": b"\x1c\0\0\0TFL3" + np.random.default_rng(1).bytes(5000),
        "an archive": archive.read_bytes(),
        "a web page": b"<!DOCTYPE html><html>404</html>",
        "a changed label": whole.replace(b"negative\npositive\n", b"negative\npositivE\n"),
    }


def test_a_damaged_tflite_file_is_said_to_be(damaged_files, tmp_path):
    for name, content in damaged_files.items():
        file = tmp_path / f"{name}.tflite"
        file.write_bytes(content)
        assert f"{file} is damaged: it" in refused(file).replace(": the archive", ": it"), name


def test_a_damaged_saved_model_is_said_to_be(exports, tmp_path):
    def changed(name, content):
        model = shutil.copytree(exports / "saved_model" / "model", tmp_path / "model")
        file = next(model.rglob(name))
        file.write_bytes(content(file.read_bytes()))
        error = refused(model)
        shutil.rmtree(model)
        return error

    assert "cannot be decoded" in changed("saved_model.pb", lambda old: old[: len(old) // 2])
    assert "holds no graph" in changed("saved_model.pb", lambda _: b"")
    assert "cannot be read" in changed("variables.index", lambda old: old[:40])
    assert "bytes and have" in changed("variables.data-*", lambda old: old[: len(old) // 2])


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 100_000_000)
        archive.writestr("model.weights.h5", b"")
    assert "config.json unpacks to 100 MB" in refused(path)

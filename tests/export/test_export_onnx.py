"""ONNX files: valid, equal to the model, any batch and length; run where the extra is installed.

`make test-onnx` runs these in an environment that has it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest
import tensorflow as tf
import trained
from byte_pairs import trained_contract
from command import cli, succeed
from exported import TAGS, export_and_check, mask_model, tag_model
from test_programs import wordpiece

from tltool.evaluation.inference import model_outputs
from tltool.export.artifact import load_artifact
from tltool.export.formats.onnx.export import export_onnx
from tltool.export.gate.check import check_artifact, reference_of
from tltool.recipe.export_section import ExportSection, GateSection
from tltool.support.errors import ExportError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

needs_onnx = pytest.mark.skipif(
    find_spec("tf2onnx") is None or find_spec("onnxruntime") is None,
    reason="`make test-onnx` installs what this needs",
)
ONNX = ExportSection(formats=("onnx",))
TWO = Task(TASKS["image-classification"], ClassTarget(("a", "b")))


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory, image_classifier):
    """Export folders of tiny models, which passed the check in a process of its own."""
    made = {
        "text": trained.text_classifier(),
        "image": image_classifier,
        "labels": trained.text_tagger(),
        "numbers": trained.image_rater(tmp_path_factory.mktemp("rated")),
        "moment": trained.text_clock(),
        "vectors": trained.text_embedder(),
        "entities": tag_model(wordpiece(), TAGS["entities"]),
        "byte pairs": tag_model(trained_contract(), TAGS["entities"]),
        "masks": mask_model(tmp_path_factory.mktemp("scenes") / "pictures"),
    }
    folders = {name: tmp_path_factory.mktemp(name) for name in made}
    for name, folder in folders.items():
        parts = (*made[name].parts(), made[name].held_out, folder)
        (report,) = export_and_check(*parts, section=ONNX)
        assert report.passed
        assert report.conclusive
    return {name: (made[name], folders[name] / "onnx") for name in made}


@needs_onnx
@pytest.mark.parametrize("name", ["text", "image"])
def test_batches_and_lengths_are_free(exported, name):
    made, folder = exported[name]
    (serve,) = json.loads((folder / "contract.json").read_text())["signatures"]
    shapes = {t["name"]: t["shape"] for t in serve["inputs"]}
    if name == "image":
        assert shapes == {"image": [None, 32, 32, 3]}
    else:
        assert set(map(tuple, shapes.values())) == {(None, None)}
    artifact = load_artifact(folder)
    whole = artifact.predict(made.held_out.inputs[:5])
    alone = [artifact.predict([one])[0] for one in made.held_out.inputs[:5]]
    np.testing.assert_allclose(whole, alone, atol=1e-6)


def program_says(folder) -> str:
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    guard = "import sys\nfor name in ['keras', 'tensorflow', 'tltool']: sys.modules[name] = None\n"
    command = [sys.executable, "-c", guard + program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_onnx
@pytest.mark.parametrize("name", ["text", "image"])
def test_the_readmes_program_gives_the_golden_output(exported, name):
    _, folder = exported[name]
    label, number = program_says(folder).split()
    golden = json.loads((folder / "golden.json").read_text())["examples"][0]
    assert label == golden["label"]
    assert float(number) == pytest.approx(max(golden["probabilities"]), abs=1e-5)


@needs_onnx
@pytest.mark.parametrize("name", ["labels", "numbers", "moment", "vectors"])
def test_other_targets_are_the_models(exported, name):
    made, folder = exported[name]
    target = made.task.target
    expected = model_outputs(made.model, made.held_out, made.task, made.preprocessing)
    found, names = load_artifact(folder).predict_with_labels(made.held_out.inputs)
    assert target.differences(expected, found).max() < 1e-4
    assert names == target.answers(expected, target.labels)
    (serve,) = json.loads((folder / "contract.json").read_text())["signatures"]
    assert [t["name"] for t in serve["outputs"]] == [target.result_name]
    # A moment to the second, though the file's float32 tells apart every 128 seconds only.
    assert found.dtype == (np.float64 if name == "moment" else np.float32)


@needs_onnx
@pytest.mark.parametrize("name", ["labels", "numbers", "moment"])
def test_the_readmes_program_says_what_the_golden_file_says(exported, name):
    made, folder = exported[name]
    said = [line.rpartition(" ") for line in program_says(folder).strip().split("\n")]
    golden = json.loads((folder / "golden.json").read_text())["examples"][0]
    target, values = made.task.target, np.ravel(golden[made.task.target.golden_name])
    names = target.labels or (target.names if name == "numbers" else ("",))
    expected = dict(zip(names, values, strict=True))
    if target.labels:
        expected = {label: expected[label] for label in golden["labels"]}
    assert [label for label, _, _ in said] == list(expected)
    off = np.array([float(value) for *_, value in said]) - np.array([*expected.values()])
    assert np.abs(off / target.units).max() < 1e-5


@needs_onnx
@pytest.mark.parametrize("name", ["entities", "byte pairs"])
def test_words_and_entities_are_the_models(exported, name):
    made, folder = exported[name]
    target, texts = made.task.target, made.held_out.inputs
    expected = model_outputs(made.model, made.held_out, made.task, made.preprocessing)
    found, entities = load_artifact(folder).predict_with_labels(texts)
    assert target.differences(expected, found).max() < 1e-4
    assert entities == target.answers(expected, target.labels)
    assert len({kind for row in entities for *_, kind in row}) == 2
    (serve,) = json.loads((folder / "contract.json").read_text())["signatures"]
    assert [t["shape"] for t in serve["outputs"]] == [[None, None, len(target.labels)]]
    golden = json.loads((folder / "golden.json").read_text())["examples"][0]
    said = [line.rsplit(" ", 4) for line in program_says(folder).splitlines()]
    places = [[int(start), int(end), kind] for _, start, end, kind, _ in said]
    assert places == golden["entities"]
    assert [text for text, *_ in said] == [golden["input"][start:end] for start, end, _ in places]


@needs_onnx
def test_masks_are_the_models(exported):
    made, folder = exported["masks"]
    target, pictures = made.task.target, made.held_out.inputs
    expected = model_outputs(made.model, made.held_out, made.task, made.preprocessing)
    outputs = load_artifact(folder).predict(pictures)
    assert target.differences(expected, outputs).max() < 1e-4
    whole = target.predictions(outputs, pictures)
    for row, other in zip(whole, target.predictions(expected, pictures), strict=True):
        assert (row.value == other.value).mean() > 0.999
    (serve,) = json.loads((folder / "contract.json").read_text())["signatures"]
    assert [t["shape"] for t in serve["outputs"]] == [[None, 20, 28, len(target.labels)]]
    shares = [line.rsplit(" ", 1) for line in program_says(folder).splitlines()]
    found = {label: float(share) for label, share in shares}
    assert found == pytest.approx({n: s for n, s in whole[0].probabilities.items() if s})


@needs_onnx
@pytest.mark.parametrize("name", ["labels", "numbers", "moment"])
def test_other_answers_are_refused(exported, name):
    made, folder = exported[name]
    reference = reference_of(
        made.model, made.held_out, made.task, made.preprocessing, GateSection()
    )

    def passes(change):
        def run(path, inputs):
            values, names = load_artifact(path).predict_with_labels(inputs)
            return change(values, names)

        options = {"precision": "float32", "gate": GateSection(), "run": run}
        return check_artifact(folder / "model.onnx", reference, **options).passed

    assert passes(lambda values, names: (values, names))
    wrong = {
        "labels": lambda values, names: (values, names[::-1]),
        "numbers": lambda values, names: (values[:, ::-1], names),
        "moment": lambda values, names: (values.astype(np.float32), names),
    }
    assert not passes(wrong[name])


@needs_onnx
def test_predict_and_inspect_take_the_file(exported):
    made, folder = exported["text"]
    text = made.held_out.inputs[0]
    (row,) = succeed("predict", folder / "model.onnx", text).rows()
    assert row["prediction"] == made.held_out.targets[0]
    found = succeed("inspect", folder, "--json").json()
    (signature,) = found["signatures"]
    assert {t["dtype"] for t in signature["inputs"]} == {"int32"}
    assert signature["outputs"][0]["shape"] == [None, 2]
    assert found["not_built_in"] == []
    assert found["operators"]["Softmax"] >= 1
    weights = 4 * made.model.count_params()
    assert weights <= found["weights"]["float32"] < 1.5 * weights
    assert "ONNX" in succeed("inspect", folder).out


@needs_onnx
def test_a_damaged_file_is_said_to_be(exported, tmp_path):
    _, folder = exported["image"]
    content = (folder / "model.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])
    done = cli("inspect", tmp_path / "half.onnx")
    assert (done.code, "damaged" in done.err) == (2, True)


@needs_onnx
def test_exact_gelu_is_said_with_erf(tmp_path):
    """Without the handler the file has Erfc, which is no ONNX."""
    import onnxruntime

    image = keras.Input((4, 4, 3), name="image")
    x = keras.layers.Flatten()(image)
    x = keras.layers.Dense(8)(x)
    x = keras.layers.Activation(lambda x: keras.activations.gelu(x, approximate=False))(x)
    model = keras.Model(image, keras.layers.Dense(2)(x))
    export_onnx(model, TWO, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    pixels = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype("float32")
    (found,) = session.run(None, {"image": pixels})
    np.testing.assert_allclose(found, TWO.outputs(model(pixels)), atol=1e-6)


@needs_onnx
def test_an_operation_onnx_lacks_is_named(tmp_path):
    class Cholesky(keras.layers.Layer):
        def call(self, x):
            return tf.linalg.cholesky(tf.eye(2) * tf.reduce_sum(x))[:1] + x[:, :2]

    image = keras.Input((4, 4, 3), name="image")
    model = keras.Model(image, Cholesky()(keras.layers.Flatten()(image)))
    with pytest.raises(ExportError, match="Cholesky"):
        export_onnx(model, TWO, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_error_names_it(image_classifier, tmp_path, monkeypatch):
    for name in ("onnx", "tf2onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match="needs the package onnx") as caught:
        export_onnx(image_classifier.model, image_classifier.task, tmp_path / "m.onnx")
    assert "pip install 'tltool[onnx]'" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "m.onnx").write_bytes(b"")
    done = cli("inspect", tmp_path / "m.onnx")
    assert (done.code, "tltool[onnx]" in done.err) == (2, True)

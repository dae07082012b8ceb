"""Keras files: float32, no random layers, probabilities out; loadable where the layers are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny
import trained
from command import cli, succeed
from exported import export_and_check

from tltool.export.artifact import load_artifact
from tltool.export.formats.keras.export import export_keras, inference_model
from tltool.recipe.export_section import ExportSection
from tltool.support.errors import ExportError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

KERAS = ExportSection(formats=("keras",))


@keras.saving.register_keras_serializable(package="test_export_keras")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


def export(made, folder):
    (report,) = export_and_check(*made.parts(), made.held_out, folder, section=KERAS)
    return report


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text", "number"])
def test_texts_pass_the_check_and_run_by_themselves(name, tmp_path):
    made = trained.text_classifier() if name == "text" else trained.text_regressor()
    assert export(made, tmp_path).passed
    folder = tmp_path / "keras"
    contract = json.loads((folder / "contract.json").read_text())
    assert contract["modules"] == ["keras_hub", "tltool.backbones.networks.registered"]
    (serve,) = contract["signatures"]
    assert {t["name"]: t["shape"] for t in serve["inputs"]} == {
        name: [None, None] for name in ("token_ids", "padding_mask", "segment_ids")
    }
    output = "probabilities" if name == "text" else "prediction"
    assert [t["name"] for t in serve["outputs"]] == [output]
    # As the README says: a process of its own, the modules it names and Keras.
    readme = (folder / "README.md").read_text()
    for program in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        shown = done.stdout or shown  # noqa: F821
    golden = json.loads((folder / "golden.json").read_text())["examples"][0]
    expected = max(golden[output]) if name == "text" else golden[output]
    assert float(shown.split()[-1]) == pytest.approx(expected, abs=1e-4)


def test_images_pass_and_predict_takes_the_file(image_classifier, tmp_path):
    assert export(image_classifier, tmp_path).passed
    file = tmp_path / "keras" / "model.keras"
    picture = image_classifier.held_out.inputs[-1]
    (row,) = succeed("predict", file, picture).rows()
    assert row["prediction"] == "red"
    assert load_artifact(tmp_path / "keras").contract.modules == ()


def test_inspect_reads_layers_weights_and_inputs(image_classifier, tmp_path):
    export_keras(image_classifier.model, image_classifier.task, tmp_path / "model.keras")
    found = succeed("inspect", tmp_path / "model.keras", "--json").json()
    (signature,) = found["signatures"]
    (given,) = signature["inputs"]
    assert (given["name"], given["dtype"], given["shape"]) == (
        "image",
        "float32",
        [None, 32, 32, 3],
    )
    assert [tensor["name"] for tensor in signature["outputs"]] == ["probabilities"]
    assert found["operators"]["Conv2D"] == 4
    assert found["weights"] == {"float32": 4 * image_classifier.model.count_params()}
    assert found["not_built_in"] == []
    (tmp_path / "half.keras").write_bytes((tmp_path / "model.keras").read_bytes()[:3000])
    done = cli("inspect", tmp_path / "half.keras")
    assert done.code == 2
    assert "damaged" in done.err


def test_layers_that_are_not_keras_own_are_named(tmp_path):
    made = trained.text_classifier()
    export_keras(made.model, made.task, tmp_path / "model.keras")
    found = succeed("inspect", tmp_path / "model.keras", "--json").json()
    assert "MaskedMean" in found["not_built_in"]
    assert "Dense" not in found["not_built_in"]


def test_random_layers_are_left_out_and_the_rest_is_kept():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.RandomFlip(seed=1)(image)
    x = keras.layers.RandomContrast(0.5, seed=1)(x)
    x = keras.layers.Resizing(4, 4)(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    task = Task(TASKS["image-classification"], ClassTarget(("a", "b")))
    found = inference_model(model, task)
    names = [type(layer).__name__ for layer in found.layers]
    assert names == ["InputLayer", "Resizing", "Flatten", "Dense", "Activation"]
    pixels = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    expected = task.outputs(model(pixels, training=False))
    np.testing.assert_allclose(found(pixels, training=True), expected, atol=1e-6)


def test_a_model_trained_in_16_bits_is_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = tiny.tiny_image_backbone()
        outputs = keras.layers.Dense(2)(backbone.features.pooled)
    finally:
        keras.config.set_dtype_policy("float32")
    task = Task(TASKS["image-classification"], ClassTarget(("a", "b")))
    export_keras(keras.Model(backbone.model.input, outputs), task, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"bfloat16" not in archive.read("config.json")


def test_a_layer_that_no_other_program_finds_is_refused(image_classifier, tmp_path):
    """In the gate's own process the module of this test cannot be imported."""
    doubled = Doubled()(image_classifier.model.output)
    made = replace(image_classifier, model=keras.Model(image_classifier.model.input, doubled))
    with pytest.raises(ExportError, match="module test_export_keras, which cannot be imported"):
        export(made, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["__main__", "Lambda"])
def test_what_cannot_be_loaded_again_is_refused(image_classifier, tmp_path, monkeypatch, module):
    layer = Doubled() if module == "__main__" else keras.layers.Lambda(lambda x: 2 * x)
    monkeypatch.setattr(Doubled, "__module__", "__main__")
    model = keras.Model(image_classifier.model.input, layer(image_classifier.model.output))
    with pytest.raises(ExportError, match=r"defined in the program|Lambda"):
        export_keras(model, image_classifier.task, tmp_path / "model.keras")
    assert list(tmp_path.iterdir()) == []

"""Special trainings export like any other: in float32, merged, stripped, from one device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import presets
import pytest
import tiny

import tltool
from tltool.backbones.load import load_backbone
from tltool.export.audit.audit import audit_export
from tltool.export.inspection.inspection import inspect_artifact
from tltool.model.joining import join
from tltool.recipe.export_section import ExportSection
from tltool.recipe.schema import HeadSection

PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")
EXPORTS = ("saved_model", *(f"litert_{precision}" for precision in PRECISIONS))
EXACT = ("saved_model", "litert_float32")
CHANGES = [
    {"layer": "RandomRotation", "factor": [-0.1, 0.1]},
    {"layer": "RandomContrast", "factor": [0.1, 0.3]},
    {"layer": "MixUp"},
]
LORA = {"train": "lora", "rank": 4, "epochs": 8, "learning_rate": 0.05, "curve": "constant"}
# Full int8 moves the answers of a small transformer, however it was trained.
ANY_INT8 = {
    "max_difference": {"int8": 1.0},
    "min_agreement": {"int8": 0.0},
    "max_metric_drop": {"int8": 1.0},
    "max_class_drop": {"int8": 1.0},
}
TRAININGS = {
    "mixed_float16 and augmentation layers": (
        "image",
        {
            "training": {"precision": "mixed_float16", "batch_size": 8},
            "augment": {"layers": CHANGES},
            "schedule": [{"train": "all", "epochs": 3, "learning_rate": 0.003}],
        },
    ),
    "mixed_bfloat16 and LoRA": (
        "text",
        {
            "training": {"precision": "mixed_bfloat16", "batch_size": 8},
            "schedule": [LORA],
        },
    ),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("trainings")
    presets.write_text_preset(root / "text")
    presets.write_image_preset(root / "image")
    presets.write_texts(root / "text.csv", 120)
    tiny.write_images(root / "photos", per_class=20)
    return root


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in TRAININGS]
)
def made(request, places):
    """A finished run, the kind of its inputs, and inputs that it was not exported with."""
    kind, sections = TRAININGS[request.param]
    data = places / ("text.csv" if kind == "text" else "photos")
    recipe = tltool.Recipe.of(
        task=f"{kind}-classification",
        backbone=str(places / kind),
        data={"train": str(data), "validation_fraction": 0.2, "test_fraction": 0.2},
        evaluation={"baseline": False},
        export={"precisions": list(PRECISIONS), "gate": ANY_INT8 if kind == "text" else {}},
        output_dir=str(places / "runs"),
        **sections,
    )
    run = tltool.finetune(recipe)
    fresh = places / "fresh"
    if kind == "image":
        tiny.write_images(fresh, per_class=4, seed=5)
    inputs = tiny.texts(24, seed=5)[0] if kind == "text" else sorted(map(str, fresh.rglob("*.jpg")))
    return run, kind, inputs


@pytest.fixture
def plain(made):
    """The same network without anything special, untrained."""
    run, kind, _ = made
    backbone = load_backbone(run.recipe.backbone.name, modality=kind)
    return join(backbone, HeadSection(), run.task).model


def test_every_export_says_what_the_trained_model_says(made):
    run, kind, inputs = made
    trained = np.array([list(p.probabilities.values()) for p in run.predict(inputs)])
    # A model that says the same of everything would agree with anything.
    assert np.ptp(trained[:, 0]) > 0.05
    assert sorted(folder.name for folder in run.folder.exports.iterdir()) == sorted(EXPORTS)
    for name in EXPORTS:
        gate = json.loads((run.folder.exports / name / "gate.json").read_text())
        assert gate["passed"]
        outputs = tltool.load_artifact(run.folder.exports / name).predict(inputs)
        if name in EXACT:
            assert gate["max_difference"] < 1e-4
            np.testing.assert_allclose(outputs, trained, atol=1e-4)
        elif (kind, name) != ("text", "litert_int8"):
            assert np.abs(outputs - trained).max() < 0.3


def test_the_kept_model_is_the_plain_network_in_float32(made, plain):
    run, _, _ = made
    kept = keras.saving.load_model(run.folder.model, compile=False)
    layers = kept._flatten_layers(include_self=False, recursive=True)
    assert {layer.compute_dtype for layer in layers} == {"float32"}
    assert [type(layer) for layer in kept.layers] == [type(layer) for layer in plain.layers]
    assert kept.count_params() == plain.count_params()


def test_exports_hold_the_weights_of_the_plain_network_and_no_more(made, plain):
    run, _, _ = made
    found = {name: inspect_artifact(run.folder.exports / name) for name in EXPORTS}
    weights = sum(4 * int(np.prod(v.shape)) for v in plain.variables if v.dtype == "float32")
    # Random seeds, which dropout layers have, are the only other variables.
    assert found["saved_model"].weights["float32"] == weights
    assert set(found["saved_model"].weights) <= {"float32", "int64"}
    assert set(found["litert_float32"].weights) <= {"float32", "int32", "bool"}
    for name in EXPORTS:
        dtypes = {t.dtype for s in found[name].signatures for t in (*s.inputs, *s.outputs)}
        assert dtypes <= {"float32", "int32", "string"}


def test_exports_have_the_operators_of_the_plain_network_and_no_more(made, plain):
    run, _, _ = made
    section = ExportSection(formats=("litert",))
    expected = audit_export(plain, run.task, run.preprocessing, section).litert_operators
    litert = inspect_artifact(run.folder.exports / "litert_float32")
    assert litert.operators.keys() == expected.keys()
    # The converter leaves out the addition of a bias that is zero, as frozen ones here are.
    assert {name: n for name, n in litert.operators.items() if n > expected[name]} == {}
    assert {name for name, n in litert.operators.items() if n != expected[name]} <= {"ADD"}
    saved = inspect_artifact(run.folder.exports / "saved_model").operators
    foreign = ("Random", "StatelessRandom", "ImageProjective", "AdjustContrast")
    assert [name for name in saved if name.startswith(foreign)] == []


@pytest.mark.slow
def test_two_devices_export_what_was_evaluated(places, tmp_path):
    """Each device has its own moving averages; what is kept and exported is one set of them."""
    here = Path(__file__).parents[1] / "helpers"
    done = subprocess.run(
        [
            sys.executable,
            here / "mirrored_export.py",
            places / "image",
            places / "photos",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    during, after = found["apart"]
    assert during > 1e-4, "the devices saw the same, so this proves nothing"
    assert after == 0
    assert found["sure"] < 0.99, "the model is so sure that every copy would agree"
    assert found["differences"].keys() == {"model.keras", *EXPORTS}
    for name in ("model.keras", *EXACT):
        assert found["differences"][name] < 1e-4, name
    for name in EXPORTS:
        gate = json.loads((Path(found["run"]) / "exports" / name / "gate.json").read_text())
        assert gate["passed"]
        assert name not in EXACT or gate["max_difference"] < 1e-4

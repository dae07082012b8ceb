"""A kind of target of one's own, in one file: trained, measured, predicted, exported, served."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from command import cli, succeed
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw
from presets import write_image_preset

import tltool
from tltool.export.contract import Contract
from tltool.serving.app import make_app
from tltool.serving.exports import find_export
from tltool.serving.limits import Limits
from tltool.serving.observe import Log
from tltool.serving.service import Service
from tltool.support.imports import TRUST

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "ordered_classes.py"
SIZES = {"large": 26, "medium": 14, "small": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the example's file, pictures of squares of three sizes, and a run on them."""
    folder = tmp_path_factory.mktemp("ordered")
    shutil.copy(EXAMPLE, folder)
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(24):
            picture = Image.new("RGB", (32, 32), "white")
            x, y = rng.integers(0, 32 - size, 2)
            colour = tuple(map(int, rng.integers(0, 120, 3)))
            ImageDraw.Draw(picture).rectangle((x, y, x + size, y + size), fill=colour)
            picture.save(folder / "photos" / name / f"{number}.png")
    recipe = {
        "task": "image-classification",
        "target": "ordered_classes:OrderedClasses",
        "name": "sizes",
        "data": {"train": str(folder / "photos"), "validation_fraction": 0.2, "test_fraction": 0.2},
        "backbone": str(write_image_preset(folder / "preset")),
        "schedule": [
            {"train": "head", "solver": "exact"},
            {"train": "all", "epochs": 6, "learning_rate": 0.005},
        ],
        "training": {"batch_size": 8, "class_weights": "balanced"},
        "export": {"formats": ["saved_model", "litert", "keras"]},
        "output_dir": str(folder / "runs"),
    }
    (folder / "sizes.yaml").write_text(json.dumps(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(TRUST, "1")
        yield folder
    sys.modules.pop("ordered_classes", None)


@pytest.fixture(scope="module")
def run(place):
    succeed("finetune", place / "sizes.yaml")
    return tltool.load_run(place / "runs" / "sizes")


def test_it_trains_and_is_measured_as_classes_are(run):
    target = run.task.target
    assert type(target).__name__ == "OrderedClasses"
    assert target.labels == ("small", "medium", "large")
    assert run.model.output_shape == (None, 2)
    assert run.metrics["test"]["accuracy"] > 0.6
    outputs = run.outputs(run.examples("test"))
    assert outputs.shape == (15, 3)
    assert (outputs >= 0).all()
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)


def test_it_is_evaluated_and_predicts_by_command(run, place):
    assert "accuracy" in succeed("evaluate", run.path).out
    done = succeed("predict", run.path, place / "photos" / "large")
    said = [row["prediction"] for row in done.rows()]
    assert len(said) == 24
    assert said.count("large") > said.count("small")


@pytest.mark.parametrize("export", ["saved_model/model", "litert_float32", "keras/model.keras"])
def test_its_exports_pass_the_gate_and_say_the_same(run, export):
    path = run.folder.exports / export
    folder = path if path.is_dir() and (path / "gate.json").is_file() else path.parent
    gate = json.loads((folder / "gate.json").read_text())
    assert gate["passed"]
    assert gate["conclusive"]
    artifact = tltool.load_artifact(path)
    rows = run.examples("test")
    np.testing.assert_allclose(artifact.predict(rows.inputs), run.outputs(rows), atol=1e-5)


def test_a_program_finds_it_by_its_place(run):
    values = json.loads((run.folder.exports / "saved_model" / "contract.json").read_text())
    assert values["task"]["target"] == "ordered_classes:OrderedClasses"
    contract = Contract.read(run.folder.exports / "saved_model")
    assert contract.task.target.labels == ("small", "medium", "large")


@pytest.mark.slow
def test_it_is_served(run):
    export = find_export(run.path)
    picture = run.examples("test").inputs[0]
    with closing(Log(2)) as events:
        service = Service(export, Limits(), events)
        with TestClient(make_app(service)) as client:
            while client.get("/readyz").status_code == 503:
                assert service.fault is None
            encoded = base64.b64encode(Path(picture).read_bytes()).decode()
            body = {"instances": [{"b64": encoded}]}
            response = client.post(f"/v1/models/{export.name}:predict", json=body)
    (answer,) = response.json()["predictions"]
    expected = run.predict([picture])[0]
    assert answer["label"] == expected.value
    np.testing.assert_allclose(
        answer["probabilities"], list(expected.probabilities.values()), atol=1e-5
    )


def test_what_it_refuses_is_named(place):
    done = cli("validate", place / "sizes.yaml", "training.label_smoothing=0.1")
    assert done.code == 2
    assert "training.label_smoothing" in done.err
    assert "not for ordered classes" in done.err


def test_labels_outside_the_order_are_named(place):
    kind = tltool.Recipe.load(place / "sizes.yaml").spec.target
    with pytest.raises(tltool.DataError, match="huge"):
        kind.fit(["small", "huge"])

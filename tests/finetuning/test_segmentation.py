"""Pictures with masks, from a folder to exported models: trained, measured, predicted, served."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import mask_data
import numpy as np
import pytest
from command import succeed
from exported import program_of
from fastapi.testclient import TestClient
from PIL import Image
from presets import write_image_preset

import tltool
from tltool.serving.app import make_app
from tltool.serving.exports import find_export
from tltool.serving.limits import Limits
from tltool.serving.observe import Log
from tltool.serving.service import Service

pytestmark = pytest.mark.slow
HELPERS = Path(__file__).parents[1] / "helpers"
CLASSES = dict(zip(mask_data.CLASSES, range(3), strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    recipe = tltool.Recipe.of(
        name="scenes",
        task="image-segmentation",
        data={"train": str(mask_data.write_folders(folder / "data")), "mask_classes": CLASSES},
        backbone={"name": str(write_image_preset(folder / "preset")), "image_size_px": 64},
        schedule=[
            {"train": "head", "epochs": 15, "learning_rate": 0.01},
            {"train": "all", "epochs": 1, "learning_rate": 1e-4},
        ],
        training={"batch_size": 6, "dice": 0.3, "class_weights": "balanced"},
        output_dir=str(folder / "runs"),
        export={"formats": ["saved_model", "litert", "keras"], "precisions": ["float32", "int8"]},
    )
    return tltool.finetune(recipe)


def test_it_learns_and_says_how_well(run):
    metrics = run.metrics["test"]
    assert metrics["mean_iou"] > 0.9
    assert run.metrics["baseline"]["mean_iou"] > 0.9  # Here the colours alone tell the classes.
    assert [row["label"] for row in metrics["per_class"]] == list(CLASSES)
    assert (run.path / "report" / "worst" / "1.png").is_file()
    assert all(name in (run.path / "README.md").read_text() for name in CLASSES)


def test_other_masks_are_read_by_the_classes_of_the_run(run, tmp_path):
    """Two of the three classes are in these, whose values alone would make other classes."""
    mask_data.write_folders(tmp_path / "new", 1, first=102)
    metrics = tltool.load_run(run.path).evaluate(tmp_path / "new").metrics
    assert metrics["n"] == 1
    assert metrics["mean_iou"] > 0.8


@pytest.mark.parametrize("made", ["", "exports/litert_float32"])
def test_predict_writes_masks_at_the_size_of_the_pictures(run, tmp_path, made):
    picture, mask = mask_data.scene(101)
    large = Image.fromarray(picture).resize((96, 80))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        large.save(tmp_path / name / ("new.png" if name == "a" else "new.tif"))
    table = tmp_path / "found.csv"
    succeed("predict", run.path / made, tmp_path / "a", tmp_path / "b", "--output", table)
    written = sorted((tmp_path / "found").iterdir())
    assert [path.name for path in written] == ["new-2.png", "new.png"]
    assert str(written[0]) in table.read_text()
    values = np.asarray(Image.open(written[0]))
    assert values.shape == (80, 96)
    wanted = np.asarray(Image.fromarray(mask).resize((96, 80), Image.Resampling.NEAREST))
    assert (values == wanted).mean() > 0.95
    found = run.predict([str(tmp_path / "a" / "new.png")])[0]
    assert (found.value == values).mean() > 0.999


@pytest.mark.parametrize("folder", ["saved_model", "litert_float32", "litert_int8", "keras"])
def test_the_programs_beside_exports_name_the_classes(run, folder):
    place = run.path / "exports" / folder
    done = subprocess.run([sys.executable, "-c", program_of(place)], cwd=place, check=True,
                          capture_output=True, text=True)  # fmt: skip
    shares = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert set(shares) <= set(CLASSES)
    assert sum(map(float, shares.values())) == pytest.approx(1)


def test_slices_say_on_which_pictures_it_is_worse(run):
    own = succeed("evaluate", run.path, "--slices", "--json").json()["slices"]
    measure = "1 less the mean IoU of a picture"
    assert own["measure"] == measure
    export = run.path / "exports" / "litert_int8"
    found = succeed("evaluate", export, "--slices", "--json").json()
    assert found["slices"]["measure"] == measure
    assert found["slices_against_float"]["measure"] == measure


def test_a_server_gives_masks(run):
    content = (run.path / "exports" / "saved_model" / "golden" / "0.png").read_bytes()
    body = {"instances": [{"b64": base64.b64encode(content).decode()}]}
    with closing(Log(2)) as events:
        service = Service(find_export(run.path), Limits(), events)
        with TestClient(make_app(service)) as client:
            while client.get("/readyz").status_code == 503:
                assert service.fault is None
            answer = client.post(f"/v1/models/{service.export.name}:predict", json=body)
    (found,) = answer.json()["predictions"]
    mask = np.array(found["mask"])
    assert mask.shape == (64, 64)
    assert (np.array(found["probabilities"]).argmax(-1) == mask).all()


@pytest.mark.skipif(find_spec("mediapipe") is None, reason="`make mediapipe` installs it")
@pytest.mark.parametrize("folder", ["litert_float32", "litert_int8"])
def test_mediapipe_segments_as_the_model_does(run, tmp_path, folder):
    place = run.path / "exports" / folder
    golden = json.loads((place / "golden.json").read_text())["examples"]
    np.savez(tmp_path / "inputs.npz", inputs=[np.load(place / row["resized"]) for row in golden])
    done = subprocess.run(
        [sys.executable, HELPERS / "mediapipe_tasks.py", "masks", place / "model.tflite",
         tmp_path / "inputs.npz"], check=True, capture_output=True, text=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert said["names"] == list(CLASSES)
    scores = np.array(said["scores"])
    expected = np.array([row["probabilities"] for row in golden])
    np.testing.assert_allclose(scores[:, ::4, ::4], expected, atol=1e-4)
    np.testing.assert_array_equal(scores.argmax(-1), said["masks"])

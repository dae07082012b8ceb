"""`tltool diagnose` finds every fault that apps make with images; see `faulty_apps`."""

from __future__ import annotations

from dataclasses import replace

import examined
import exported
import faulty_apps as apps
import numpy as np
import pytest

from tltool.export.diagnosis.diagnosis import Examiner
from tltool.export.diagnosis.text import diagnosis_json
from tltool.export.formats.base import ExportTarget, LiteRTOptions
from tltool.export.formats.table import FORMATS

SCALE = {"mean": (110.0, 117.0, 124.0), "std": (58.0, 57.0, 56.0)}
LITERT = {
    "float32": ExportTarget(FORMATS["litert"]),
    "int8": ExportTarget(FORMATS["litert"], "int8"),
    "int8 of bytes": ExportTarget(FORMATS["litert"], "int8", LiteRTOptions(input="uint8")),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder of each kind, what runs the model in it, and what diagnoses its apps."""
    folder = tmp_path_factory.mktemp("exports")
    made = exported.image_model(folder / "unused", **SCALE)
    pictures = apps.pictures(folder / "pictures")
    made = replace(made, held_out=exported.examples("image", pictures))
    found = {name: exported.export_folder(made, folder / name, LITERT[name]) for name in LITERT}
    return {name: (export, apps.litert(export), Examiner(export)) for name, export in found.items()}


def found(exports, kind, tmp_path, **faults):
    """What is found of an app with faults."""
    return examined.found(apps.ImageApp, *exports[kind], tmp_path, **faults)


@pytest.mark.parametrize("name", apps.IMAGE_FAULTS)
@pytest.mark.parametrize("kind", LITERT)
def test_a_planted_fault_is_found(kind, name, exports, tmp_path):
    key, faults = apps.IMAGE_FAULTS[name]
    said = found(exports, kind, tmp_path, **faults)
    if (kind, name) == ("int8 of bytes", "0..255"):
        assert said["verdict"] == "sound"  # what that model takes
        return
    assert (said["verdict"], examined.first(said)) == ("fault", [key])


@pytest.mark.parametrize("name", ["bgr", "no EXIF", "-1..1", "bicubic", "letterbox"])
@pytest.mark.parametrize("kind", ["float32", "int8 of bytes"])
def test_a_fault_is_found_in_the_tensors_alone(kind, name, exports, tmp_path):
    key, faults = apps.IMAGE_FAULTS[name]
    said = found(exports, kind, tmp_path, tensors=True, **faults)
    assert (said["verdict"], examined.first(said)) == ("fault", [key])
    assert said["outputs"] == "sound"


@pytest.mark.parametrize("faults", [{}, {"filter": "pillow"}])
@pytest.mark.parametrize("tensors", [True, False])
@pytest.mark.parametrize("kind", LITERT)
def test_sound_answers_are_sound(kind, tensors, faults, exports, tmp_path):
    said = found(exports, kind, tmp_path, tensors=tensors, **faults)
    assert (said["verdict"], said["explanations"]) == ("sound", [])


@pytest.mark.parametrize("kind", LITERT)
def test_the_program_beside_an_export_writes_sound_answers(kind, exports, tmp_path, monkeypatch):
    folder, _, examiner = exports[kind]
    apps.program_answers(folder, tmp_path / "answers.json", monkeypatch)
    said = diagnosis_json(examiner(tmp_path / "answers.json"))
    assert (said["verdict"], said["difference"] < 1e-6) == ("sound", True)


PAIRS = [("bgr", "0..1"), ("no EXIF", "stretched"), ("bgr", "no antialiasing")]


@pytest.mark.parametrize("names", PAIRS)
def test_two_faults_are_found_together(names, exports, tmp_path):
    (one, first_fault), (two, second_fault) = (apps.IMAGE_FAULTS[name] for name in names)
    said = found(exports, "float32", tmp_path, **first_fault, **second_fault)
    assert said["verdict"] == "fault"
    assert sorted(examined.first(said)) == sorted([one, two])


@pytest.mark.parametrize("tensors", [True, False])
def test_a_fault_of_each_side_is_found(tensors, exports, tmp_path):
    _, faults = apps.IMAGE_FAULTS["bgr"]
    said = found(exports, "float32", tmp_path, tensors=tensors, read=apps.softmax, **faults)
    assert (said["verdict"], examined.first(said)) == ("fault", ["bgr", "softmax_twice"])


def test_an_unknown_fault_is_none_of_these(exports, tmp_path):
    rng = np.random.default_rng(0)
    unknown = {"changed": lambda x: x * rng.uniform(0.5, 1.5, x.shape)}
    said = found(exports, "float32", tmp_path, **unknown)
    assert (said["verdict"], said["explanations"]) == ("none", [])
    assert len(said["closest"]) == 3
    said = found(exports, "float32", tmp_path, tensors=True, **unknown)
    assert (said["verdict"], said["tensors"], said["outputs"]) == ("none", "none", "sound")


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_none_of_these(seed, exports, tmp_path):
    rng = np.random.default_rng(seed)
    said = found(
        exports, "float32", tmp_path, read=lambda p: rng.dirichlet(np.ones(p.shape[1]), len(p))
    )
    assert (said["verdict"], said["explanations"]) == ("none", [])


def test_right_tensors_put_the_fault_after_them(exports, tmp_path):
    said = found(exports, "float32", tmp_path, tensors=True, read=lambda p: p**2)
    assert (said["verdict"], said["tensors"], said["outputs"]) == ("none", "sound", "none")

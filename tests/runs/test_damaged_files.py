"""Damaged runs and exports whose sums agree: an error with a hint, whatever is in their files."""

from __future__ import annotations

import json
import random
import shutil

import exported
import pytest
import stored
from mutations import DEEP, damaged_zip, mutated_json, no_json

import tltool
from tltool.export.contract import Contract
from tltool.export.formats.keras.file import read_keras
from tltool.export.inspection.inspection import inspect_artifact
from tltool.support.errors import DamagedError, TltoolError
from tltool.support.files import parse_json
from tltool.support.sums import write_sums


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return stored.write_run(tmp_path_factory.mktemp("runs"), "litert", "keras").path


@pytest.fixture
def run(original, tmp_path):
    return shutil.copytree(original, tmp_path / "1")


def mutations(text, count, seed=0):
    """What is no JSON at all, and JSON objects with something changed."""
    draw = random.Random(seed)
    yield from no_json(text)
    for _ in range(count):
        yield mutated_json(text, draw)


def told(function, *arguments) -> bool:
    """Whether it refuses; anything but an error with a hint fails the test."""
    try:
        function(*arguments)
    except TltoolError as error:
        if not error.hint:
            pytest.fail(f"no hint: {error.message}")
        return True
    return False


@pytest.mark.parametrize("name", ["run.json", "labels.json", "preprocessing.json"])
def test_json_of_a_run(run, name):
    file = run / name
    refused = 0
    for text in mutations(file.read_text(encoding="utf-8"), 60):
        file.write_text(text, "utf-8")
        if name != "run.json" and not told(tltool.load_run, run):
            pytest.fail("the sum differs")
        refused += told(load_unchecked, run, name)
    assert refused > 10


def load_unchecked(run, name):
    """As `load_run`, with the sum of a file renewed."""
    if name == "run.json":
        tltool.load_run(run)
        return
    manifest = run / "run.json"
    before = manifest.read_text()
    values = json.loads(before)
    del values["files"][name]
    manifest.write_text(json.dumps({**values, "status": "running"}))
    try:
        tltool.load_run(run)
    finally:
        manifest.write_text(before)


@pytest.mark.parametrize("name", ["contract.json", "gate.json"])
def test_json_of_an_export(run, name):
    folder = run / "exports" / "litert"
    file = folder / name
    if name == "gate.json":
        file.write_text('{"passed": true, "rows": 3, "breaches": []}')
    for text in mutations(file.read_text(encoding="utf-8"), 60):
        file.write_text(text, "utf-8")
        write_sums(folder)
        told(inspect_artifact, folder)
        if name == "contract.json":
            told(Contract.read, folder)


@pytest.mark.parametrize("name", ["model.keras", "labels.json", "run.json"])
def test_a_folder_in_place_of_a_file(run, name):
    (run / name).unlink()
    (run / name).mkdir()
    assert told(tltool.load_run, run)


def test_a_damaged_keras_file_is_read_or_refused_and_nothing_else(run):
    """In an archive that is whole: HDF5 raises what it likes, and a config can be anything."""
    file = run / "exports" / "keras" / "model.keras"
    content, draw, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(150):
        file.write_bytes(damaged_zip(content, draw))
        try:
            read_keras(file)
        except DamagedError:
            refused += 1
    assert 75 < refused < 150


@pytest.mark.parametrize("form", ["litert", "keras"])
def test_a_model_file(run, form):
    folder = run / "exports" / form
    (file,) = folder.glob("model.*")
    content = file.read_bytes()
    for damaged in (b"", content[:1000], b"\0" * len(content), b"x" * 99):
        file.write_bytes(damaged)
        write_sums(folder)
        assert told(tltool.load_artifact, folder)
        told(inspect_artifact, folder)


def test_a_model_that_gives_other_outputs_than_the_labels(run):
    labels = run / "labels.json"
    values = json.loads(labels.read_text(encoding="utf-8"))
    values["task"]["labels"].append("one more")
    labels.write_text(json.dumps(values))
    loaded = stored.RunFolder.open(run)
    loaded.record("finished")
    with pytest.raises(TltoolError, match=r"labels\.json they are \(None, 4\)"):
        tltool.load_run(run).predict(["good film"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A run on pictures, and a picture."""
    folder = tmp_path_factory.mktemp("pictures")
    made = exported.image_model(folder / "files")
    return stored.write_run(folder, made=made).path, made.held_out.inputs[0]


@pytest.mark.parametrize(
    ("modality", "changes", "reason"),
    [
        ("text", {"inputs": ["token_ids", "padding_mask"]}, "and preprocessing.json gives others"),
        ("text", {"max_length": -1}, "greater than 0"),
        ("image", {"size_px": [12, 12]}, "and preprocessing.json gives others"),
        ("image", {"size_px": [12, -1]}, "greater than 0"),
        ("image", {"resize_px": 3}, "at least the larger side"),
        ("image", {"std": [1, 0, 1]}, "greater than 0"),
    ],
)
def test_a_contract_that_does_not_fit_the_model(modality, changes, reason, original, pictures):
    run, value = (original, "good film") if modality == "text" else pictures
    file = run / "preprocessing.json"
    before = file.read_text(encoding="utf-8")
    assert tltool.load_run(run).predict([value])
    file.write_text(json.dumps({**json.loads(before), **changes}))
    try:
        stored.RunFolder.open(run).record("finished")
        with pytest.raises(TltoolError, match=reason):
            tltool.load_run(run).predict([value])
    finally:
        file.write_text(before, encoding="utf-8")
        stored.RunFolder.open(run).record("finished")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "NaN", "[Infinity]", DEEP, "{", b"\xff"])
def test_what_is_no_json(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)

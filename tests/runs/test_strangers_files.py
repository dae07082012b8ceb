"""Recipes, runs and exports of strangers run no code that came with them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile

import pytest
import stored
from command import cli

from tltool.support.imports import TRUST
from tltool.support.sums import write_sums

TEXT = "good film"
MODULE = "a_strangers_module"
CODE = "open('mark', 'w').close()\ndef thing(*args, **options): ...\n"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return stored.write_run(runs, "litert", "keras").path


@pytest.fixture
def run(original, tmp_path, monkeypatch):
    """A run in the current folder, with a module beside it."""
    monkeypatch.delenv(TRUST, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    yield shutil.copytree(original, tmp_path / "1")
    assert not (tmp_path / "mark").exists(), "the module was imported"


def change(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def refused(*arguments):
    done = cli(*arguments)
    assert done.code == 2, done
    assert MODULE in done.err
    assert "--trust" in done.err


RECIPE = "task: text-classification\nbackbone: minilm\ndata: {train: texts.csv}\n"


@pytest.mark.parametrize("command", ["finetune", "plan", "validate", "tune-head", "lr-find"])
def test_a_recipes_kind_of_target(run, tmp_path, command):
    (tmp_path / "recipe.yaml").write_text(f"{RECIPE}target: {MODULE}:thing\n")
    refused(command, "recipe.yaml")


@pytest.mark.parametrize(
    "command", [("predict", TEXT), ("evaluate",), ("export", "--format", "litert"), ("quantize",)]
)
def test_a_runs_kind_of_target(run, command):
    change(run / "labels.json", '"target": "class"', f'"target": "{MODULE}:thing"')
    assert cli("runs", "accept", run).code == 0
    refused(command[0], run, *command[1:])


def test_a_runs_head(run):
    change(run / "recipe.yaml", "name: default", f"name: {MODULE}:thing")
    assert cli("runs", "accept", run).code == 0
    # The model has Keras' own layers only, so it needs no module.
    assert cli("predict", run, TEXT).code == 0


@pytest.mark.parametrize("form", ["litert", "keras"])
def test_an_exports_kind_of_target(run, form):
    export = run / "exports" / form
    change(export / "contract.json", '"target": "class"', f'"target": "{MODULE}:thing"')
    write_sums(export)
    refused("predict", export, TEXT)


def test_an_exports_modules(run):
    export = run / "exports" / "keras"
    change(export / "contract.json", '"modules": []', f'"modules": ["{MODULE}"]')
    write_sums(export)
    refused("predict", export, TEXT)


@pytest.mark.parametrize("kind", ["Dense", "Lambda"])
def test_what_a_keras_file_names(run, kind, monkeypatch):
    """Neither a class of another module nor code: also where that module could be imported."""
    monkeypatch.syspath_prepend(".")
    file = run / "model.keras"
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    dense = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense")
    if kind == "Lambda":
        code = {"class_name": "__lambda__", "config": {"value": "4wAA", "closure": None}}
        dense |= {"class_name": "Lambda", "config": {"name": "x", "function": code}}
    else:
        dense |= {"module": MODULE, "class_name": "thing", "registered_name": None}
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert cli("runs", "accept", run).code == 0
    done = cli("predict", run, TEXT)
    assert done.code == 2, done
    assert "hint:" in done.err


def test_a_module_in_the_current_folder_that_is_called_like_a_library(run, tmp_path):
    (tmp_path / "yaml.py").write_text(CODE)
    done = subprocess.run(
        [sys.executable, "-m", "tltool", "validate", "quickstart"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

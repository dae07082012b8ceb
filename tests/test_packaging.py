"""The wheel: built, installed into an environment of its own, and used outside the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from tltool import __version__

ROOT = Path(__file__).resolve().parent.parent


def checked(command, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # The build backend is among the tools for development, so that this needs no network.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    checked(list(map(str, command)))
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs a program of a new environment that has the wheel, and this one's dependencies."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "venv", with_pip=False)
    programs = home / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install"]
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    checked(list(map(str, install + options)))
    # A path in a .pth file is searched, but .pth files in it are not read: a tltool that is
    # installed there from its checkout stays out of sight.
    packages = Path(
        checked([python, "-c", "import site; print(site.getsitepackages()[0])"]).strip()
    )
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    outside = home / "elsewhere"
    outside.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(program, *arguments):
        command = [str(programs / program), *map(str, arguments)]
        return checked(command, cwd=outside, env=environment)

    return run


def test_the_wheel_holds_recipes_cards_types_and_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for kind in ("recipes", "models"):
        for file in (ROOT / kind).glob("*.yaml"):
            assert f"tltool/_shipped/{kind}/{file.name}" in names
    assert "tltool/py.typed" in names
    assert "tltool/serving/page.html" in names
    assert "tltool/finetuning/audit/page.html" in names
    for template in (ROOT / "tltool/export/sidecars/templates").iterdir():
        assert f"tltool/export/sidecars/templates/{template.name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [n for n in names if n.startswith(("tests/", "docs/")) or "__pycache__" in n]


def test_the_installed_package_is_the_wheels(installed):
    code = "import tltool; print(tltool.__file__); print(tltool.__version__)"
    file, version = installed("python", "-c", code).splitlines()
    assert not Path(file).is_relative_to(ROOT)
    assert version == __version__


def test_commands_work_outside_the_checkout(installed):
    recipes = json.loads(installed("tltool", "recipes", "list", "--json"))
    assert {recipe["name"] for recipe in recipes} == {p.stem for p in ROOT.glob("recipes/*.yaml")}
    installed("tltool", "recipes", "copy", "quickstart", "mine.yaml")
    assert "valid" in installed("tltool", "validate", "mine.yaml")
    models = json.loads(installed("tltool", "models", "list", "--json"))
    assert {model["name"] for model in models} == {p.stem for p in ROOT.glob("models/*.yaml")}
    assert installed("tltool", "--version") == f"tltool {__version__}\n"
    assert installed("python", "-m", "tltool", "--version") == f"tltool {__version__}\n"


def test_every_shipped_recipe_is_valid_and_opens_with_its_command():
    from tltool.recipe.recipe import Recipe

    for file in sorted(ROOT.glob("recipes/*.yaml")):
        assert Recipe.load(file).description, file
        lines = file.read_text(encoding="utf-8").splitlines()
        comment = "\n".join(line for line in lines if line.startswith("#"))
        assert f"tltool finetune {file.stem}" in comment, file
        for said in ("Data:", "Result:"):
            assert said in comment, f"{file} says nothing of {said}"


def test_the_version_stands_in_one_place():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    files = [*ROOT.glob("tltool/**/*.py"), *ROOT.glob("*.toml"), ROOT / "Makefile"]
    needle = f'"{__version__}"'
    holders = [f for f in files if f"version__ = {needle}" in f.read_text(encoding="utf-8")]
    assert holders == [ROOT / "tltool" / "_version.py"]


def test_the_changelog_knows_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[({re.escape(__version__)}|Unreleased)\]", changelog, re.MULTILINE)


def test_model_cards_name_licence_and_source():
    for file in ROOT.glob("models/*.yaml"):
        card = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert card["licence"], file
        assert card["source"], file

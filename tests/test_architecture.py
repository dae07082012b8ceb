"""The folder listing is the architecture: imports follow the flow and stay light where they must.

recipe → data → backbones and heads → model → trainer → evaluation → export → run → cli.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "tltool"

# From the bottom up. A module may import its own level and those before it;
# a package stands for all its modules. A new module must be given a place.
LEVELS = (
    (
        "_version",
        "errors",
        "files",
        "preprocessing",
        "tasks",
        "quiet",
        "shipped",
        "progress",
        "stopwatch",
    ),
    (
        "section",
        "augment_layers",
        "layer_faults",
        "export_section",
        "export_faults",
        "schema",
        "faults",
        "recipe",
    ),
    ("wheels", "run_folder"),
    ("data",),
    ("cut",),
    ("backbones", "heads"),
    ("freezing", "lora", "model", "folding", "feature_store"),
    ("feature_keys", "feature_rows", "feature_cache", "training_data", "best_weights"),
    (
        "optimizers",
        "distribution",
        "input_wait",
        "callbacks",
        "linear_solver",
        "head_solver",
        "trainer",
    ),
    ("metrics", "inference", "evaluate", "baseline", "arithmetic", "logme", "probe", "report"),
    ("artifact", "export", "predict"),
    ("preparation",),
    ("frozen_features", "ranking", "head_fits", "head_search", "head_tuning"),
    ("run",),
    ("serving",),
    ("conclusion",),
    ("finetuning", "lr_finder", "benchmarking"),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
HEAVY = {"keras", "keras_hub", "tensorflow", "numpy", "pandas", "sklearn", "matplotlib", "PIL"}
LIGHT = (
    "cli",
    "recipe",
    "section",
    "augment_layers",
    "layer_faults",
    "export_section",
    "export_faults",
    "schema",
    "faults",
    "errors",
    "tasks",
    "preprocessing",
    "files",
    "run_folder",
    "shipped",
    "quiet",
    "__init__",
    "__main__",
    "_version",
    "wheels",
    "feature_store",
    "data.samples",
    "data.sample_builders",
    "backbones.catalog",
    "benchmarking.worker",
)


@dataclass(frozen=True)
class Import:
    """One imported module, `tltool.…` or foreign, and whether it runs on import."""

    name: str
    line: int
    at_import: bool


def imports_of(source: str) -> Iterator[Import]:
    tree = ast.parse(source)
    inner = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.unparse(outer.test))
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        at_import = id(node) not in inner
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_import)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            for alias in node.names:
                yield Import(f"{node.module}.{alias.name}", node.lineno, at_import)


def level_of(module: str) -> int:
    for number, names in enumerate(LEVELS):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return number
    raise AssertionError(f"tltool/{module} has no place in LEVELS")


def faults_of(module: str, source: str) -> list[str]:
    """What a module's imports do that they must not; `module` is named below `tltool`."""
    faults = []
    light = any(module == name or module.startswith(f"{name}.") for name in LIGHT)
    for found in imports_of(source):
        root, _, below = found.name.partition(".")
        if root != "tltool":
            if light and found.at_import and root in HEAVY:
                faults.append(f"{module}:{found.line} imports {root} when it is imported")
        elif level_of(below or "__init__") > level_of(module):
            faults.append(f"{module}:{found.line} imports {found.name}, against the flow")
    return faults


def modules() -> dict[str, str]:
    return {
        path.relative_to(PACKAGE)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__"): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
        if "_shipped" not in path.parts
    }


def test_every_import_follows_the_flow():
    found = modules()
    assert "recipe" in found
    assert "cli.app" in found
    assert [fault for name, source in found.items() for fault in faults_of(name, source)] == []


def test_light_modules_exist():
    found = modules()
    for name in LIGHT:
        assert name in found, f"{name} is named in LIGHT and does not exist"


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("data.folders", "from tltool.backbones.load import load_backbone", "against the flow"),
        ("data.folders", "def f():\n    import tltool.trainer", "against the flow"),
        ("data.folders", "from tltool import backbones", "against the flow"),
        ("run", "from tltool.cli.output import print_table", "against the flow"),
        (
            "errors",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tltool.run import Run",
            "against the flow",
        ),
        ("cli.plan", "import numpy as np", "imports numpy"),
        ("cli.plan", "from keras import ops", "imports keras"),
        ("recipe", "class A:\n    import tensorflow.data", "imports tensorflow"),
        ("files", "try:\n    import pandas\nexcept ImportError:\n    pass", "imports pandas"),
    ],
)
def test_the_checker_finds_a_bad_import(module, source, fault):
    (found,) = faults_of(module, source)
    assert fault in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cli.plan", "def plan():\n    import tensorflow"),
        ("cli.plan", "if TYPE_CHECKING:\n    import keras"),
        ("trainer", "import keras\nfrom tltool.data.examples import Examples"),
    ],
)
def test_the_checker_lets_a_good_import_pass(module, source):
    assert faults_of(module, source) == []


def test_the_checker_refuses_a_module_without_a_place():
    with pytest.raises(AssertionError, match="no place"):
        faults_of("data.folders", "import tltool.novelty")

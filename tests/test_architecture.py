"""The folder listing is the architecture: imports point downwards, and stay light where they must.

recipe → data → backbone + head → freezing plan → trainer → evaluation → export → run → cli.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tltool.tasks.registry import KINDS

PACKAGE = Path(__file__).resolve().parent.parent / "tltool"

# From the top down. A package may import those on lower floors, never one above it or beside it.
# A new package must be given a floor.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("__init__",),
    ("benchmarking", "serving", "finetuning"),
    ("runs", "search"),
    ("training",),
    ("export", "features"),
    ("model", "report"),
    ("backbones", "evaluation"),
    ("data",),
    ("recipe",),
    ("tasks",),
    ("graph",),
    ("support",),
    ("_version",),
)
MOST_ENTRIES = 22
HEAVY = {"keras", "keras_hub", "tensorflow", "numpy", "pandas", "sklearn", "matplotlib", "PIL"}
# What `tltool --help`, `tltool validate` and the reading of a recipe import.
LIGHT = (
    "__init__",
    "__main__",
    "_version",
    "cli",
    "recipe",
    "tasks.table",
    "support.errors",
    "support.files",
    "support.quiet",
    "support.shipped",
    "support.wheels",
    "runs.folder",
    "features.store",
    "data.preprocessing",
    "data.reading.samples",
    "data.reading.sample_builders",
    "backbones.catalog",
    "benchmarking.worker",
    "export.formats.base",
    "export.formats.keras.format",
    "export.formats.litert.format",
    "export.formats.onnx.format",
    "export.formats.saved_model.format",
    "export.formats.table",
)

# What tells kinds of target apart: their names, their classes, the keys of their headline scores.
KIND_NAMES = {
    *(kind.kind for kind in KINDS.values()),
    *(kind.headline().key for kind in KINDS.values()),
    "classification",
    "regression",
    "multi-label",
}
KIND_CLASSES = {kind.__name__ for kind in KINDS.values()}

Sources = Mapping[str, str]
"""The text of each module, by its name below `tltool`."""


@dataclass(frozen=True)
class Import:
    """One imported name, `tltool.…` or foreign, and whether it is imported on import."""

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


def package_of(module: str) -> str:
    return module.partition(".")[0]


def floor_of(package: str) -> int:
    for number, packages in enumerate(FLOORS):
        if package in packages:
            return number
    raise AssertionError(f"tltool/{package} has no place in FLOORS")


def below_tltool(name: str) -> str | None:
    """The part of a module's or name's path below `tltool`, or None for a foreign one."""
    root, _, below = name.partition(".")
    return (below or "__init__") if root == "tltool" else None


def faults_of(module: str, source: str) -> list[str]:
    """What a module's imports do that they must not; `module` is named below `tltool`."""
    faults = []
    light = any(module == name or module.startswith(f"{name}.") for name in LIGHT)
    here = package_of(module)
    for found in imports_of(source):
        target = below_tltool(found.name)
        if target is None:
            heavy = found.name.partition(".")[0]
            if light and found.at_import and heavy in HEAVY:
                faults.append(f"{module}:{found.line} imports {heavy} when it is imported")
            continue
        there = package_of(target)
        if there == here:
            continue
        if floor_of(there) < floor_of(here):
            faults.append(f"{module}:{found.line} imports {found.name}, upwards")
        elif floor_of(there) == floor_of(here):
            faults.append(f"{module}:{found.line} imports {found.name}, sideways")
    return faults


def arrows(sources: Sources) -> dict[str, set[str]]:
    """The modules of tltool that each imports, in functions and for type checkers too."""
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        names = (below_tltool(item.name) for item in imports_of(source))
        found[module] = {
            target
            for name in names
            if name is not None and (target := module_in(name, sources)) not in {None, module}
        }
    return found


def module_in(name: str, sources: Sources) -> str | None:
    """The module that an imported name is, or is in."""
    while name and name not in sources:
        name = name.rpartition(".")[0]
    return name or None


def circles(sources: Sources) -> list[str]:
    """Each circle of imports, shortest way round, as `a → b → a`."""
    graph = arrows(sources)
    found: dict[frozenset[str], str] = {}
    for start in graph:
        ways = [[start]]
        seen = {start}
        while ways:
            way = ways.pop(0)
            for target in sorted(graph.get(way[-1], ())):
                if target == start:
                    found.setdefault(frozenset(way), " → ".join([*way, start]))
                elif target not in seen:
                    seen.add(target)
                    ways.append([*way, target])
    return sorted(found.values())


def kind_questions(source: str) -> list[str]:
    """Where a module asks which kind of target there is, in place of asking the kind."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"isinstance", "issubclass"}:
            asked = node.args[1:]
        elif isinstance(node, ast.match_case):
            asked = [node.pattern]
        else:
            continue
        parts = [part for one in asked for part in ast.walk(one)]
        strings = {part.value for part in parts if isinstance(part, ast.Constant)}
        names = {ast.unparse(part).rpartition(".")[2] for part in parts if is_name(part)}
        if strings & KIND_NAMES or names & KIND_CLASSES:
            found.append(f"line {asked[0].lineno} asks for a kind of target")
    return found


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute)


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


def test_every_import_points_downwards():
    found = modules()
    assert "recipe.schema" in found
    assert "cli.app" in found
    assert [fault for name, source in found.items() for fault in faults_of(name, source)] == []


def test_no_two_modules_import_each_other():
    assert circles(modules()) == []


def test_no_module_outside_tasks_asks_which_kind_of_target_there_is():
    found = {
        module: questions
        for module, source in modules().items()
        if package_of(module) != "tasks" and (questions := kind_questions(source))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        'if task.target.kind == "class":\n    pass',
        'x = 1 if spec.kind in ("numbers", "other") else 2',
        'if "regression" != kind:\n    pass',
        "if isinstance(task.target, NumbersTarget):\n    pass",
        "ok = issubclass(kind, (classes.ClassTarget, int))",
        "ok = type(target) is ClassSetTarget",
        'match kind:\n    case "class_set":\n        pass',
        'percent = metric == "accuracy"',
    ],
)
def test_the_checker_finds_a_question_for_a_kind(source):
    assert kind_questions(source)


def test_the_checker_lets_a_kind_be_asked():
    source = (
        "if task.target.agrees(a, b) is None:\n    x = task.target.kind\nclass A(ClassTarget): ..."
    )
    assert kind_questions(source) == []


def test_the_house_has_few_doors():
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_light_modules_exist():
    found = modules()
    for name in LIGHT:
        assert name in found, f"{name} is named in LIGHT and does not exist"


def test_every_folder_of_tests_mirrors_a_package():
    tests = Path(__file__).parent
    for folder in tests.iterdir():
        if folder.is_dir() and any(folder.rglob("test_*.py")):
            assert (PACKAGE / folder.name).is_dir(), f"tests/{folder.name} mirrors no package"


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("data.examples", "from tltool.backbones.load import load_backbone", "upwards"),
        ("data.examples", "def f():\n    import tltool.training.trainer", "upwards"),
        ("data.examples", "from tltool import backbones", "upwards"),
        ("runs.run", "from tltool.cli.output import print_table", "upwards"),
        ("runs.run", "from tltool.search.ranking import rank", "sideways"),
        ("export.package", "def f():\n    from tltool.features import store", "sideways"),
        (
            "support.errors",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tltool.runs import run",
            "upwards",
        ),
        ("cli.plan", "import numpy as np", "imports numpy"),
        ("cli.plan", "from keras import ops", "imports keras"),
        ("recipe.schema", "class A:\n    import tensorflow.data", "imports tensorflow"),
        (
            "support.files",
            "try:\n    import pandas\nexcept ImportError:\n    pass",
            "imports pandas",
        ),
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
        ("training.trainer", "import keras\nfrom tltool.data.examples import Examples"),
        ("data.splits", "from tltool.data.examples import Examples"),
    ],
)
def test_the_checker_lets_a_good_import_pass(module, source):
    assert faults_of(module, source) == []


def test_the_checker_refuses_a_package_without_a_floor():
    with pytest.raises(AssertionError, match="no place"):
        faults_of("data.examples", "import tltool.novelty")


@pytest.mark.parametrize(
    "sources",
    [
        {"a": "import tltool.b", "b": "def f():\n    from tltool.a import g"},
        {"a": "from tltool import b", "b": "if TYPE_CHECKING:\n    import tltool.a"},
        {"a": "import tltool.b", "b": "import tltool.c.d", "c.d": "from tltool.a import x"},
    ],
)
def test_the_checker_finds_a_circle(sources):
    (found,) = circles(sources)
    assert found.startswith("a → b")


def test_the_checker_lets_a_tree_of_imports_pass():
    assert circles({"a": "import tltool.b\nimport tltool.c", "b": "import tltool.c", "c": ""}) == []

from __future__ import annotations

import subprocess
import sys

import pytest

import tltool
from tltool.support.errors import TargetError
from tltool.support.imports import TRUST
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.registry import KINDS, find_target, name_of, register_target
from tltool.tasks.table import TASKS, Task

MODULE = """
from tltool.tasks.classes import ClassTarget


class Upper(ClassTarget):
    @classmethod
    def strata(cls, targets):
        return [target.upper() for target in targets]


NOT_A_KIND = 3


def function(*args):
    return None
"""


@pytest.fixture
def registered():
    """Forgets what a test registers."""
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module with a kind of target into the working directory and returns its name."""
    name = f"kinds_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUST, "1")
    yield name
    sys.modules.pop(name, None)


def test_the_kinds_that_are_there():
    kinds = {"class": ClassTarget, "class_set": ClassSetTarget, "numbers": NumbersTarget}
    assert kinds.items() <= KINDS.items()
    for name, kind in kinds.items():
        assert find_target(name) is kind
        assert name_of(kind) == name


def test_a_decorated_class_is_a_kind(registered):
    @tltool.register_target("ranks")
    class Ranks(tltool.ClassTarget):
        pass

    assert find_target("ranks") is Ranks
    assert Ranks.kind == "ranks"
    assert ClassTarget.kind == "class"
    assert TASKS["text-classification"].with_target("ranks").target is Ranks
    # Another process finds it by where it stands: nothing there has registered it.
    assert name_of(Ranks) == f"{__name__}:{Ranks.__qualname__}"


def test_a_name_is_taken_once(registered):
    class Ranks(ClassTarget):
        pass

    class Others(ClassTarget):
        pass

    assert register_target("ranks")(Ranks) is Ranks
    assert register_target("ranks")(Ranks) is Ranks
    for name in ("ranks", "class", "numbers"):
        with pytest.raises(TargetError, match=f"already a kind of target named '{name}'") as caught:
            register_target(name)(Others)
        assert "another name" in caught.value.hint
    assert find_target("class") is ClassTarget


@pytest.mark.parametrize("wrong", [int, lambda: None, 3, "ClassTarget", ClassTarget(("a", "b"))])
def test_only_a_class_of_targets_can_be_registered(registered, wrong):
    with pytest.raises(TargetError, match="is no kind of target") as caught:
        register_target("mine")(wrong)
    assert "tltool.Target" in caught.value.hint
    assert "mine" not in KINDS


def test_a_kind_of_tltools_own_keeps_its_name(registered):
    # Its name stands in manifests, which other processes read.
    with pytest.raises(TargetError, match="ClassTarget is there already, as 'class'"):
        register_target("mine")(ClassTarget)
    assert ClassTarget.kind == "class"


def test_a_module_path_is_a_kind(module):
    before = list(sys.path)
    kind = find_target(f"{module}:Upper")
    assert kind.strata(["a"]) == ["A"]
    assert sys.path == before
    assert name_of(kind) == f"{module}:Upper"
    task = Task(TASKS["text-classification"].with_target(f"{module}:Upper"), kind(("a", "b")))
    assert Task.from_json(task.to_json()) == task


def test_a_missing_module_and_a_missing_class_are_told_apart(module):
    with pytest.raises(TargetError, match=r"target: the module 'no_such_module' can't be imported"):
        find_target("no_such_module:Upper")
    with pytest.raises(TargetError, match="nothing callable named 'Uper'") as caught:
        find_target(f"{module}:Uper")
    assert caught.value.hint == "did you mean `Upper`?"
    with pytest.raises(TargetError, match="NOT_A_KIND"):
        find_target(f"{module}:NOT_A_KIND")
    with pytest.raises(TargetError, match="function' is no kind of target") as caught:
        find_target(f"{module}:function")
    assert caught.value.hint == "Derive it from tltool.Target."


@pytest.fixture
def installed(module, tmp_path, monkeypatch):
    """A package whose metadata offers kinds of targets."""
    site = tmp_path / "site"
    about = site / "their_kinds-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-kinds\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[tltool.targets]\ntheirs = {module}:Upper\nwrong = {module}:function\n"
        "missing = no_such_module:Upper\nabsent = {module}:Absent\n"
    )
    (tmp_path / f"{module}.py").rename(site / f"{module}.py")
    monkeypatch.syspath_prepend(str(site))


def test_an_entry_point_is_a_kind(installed):
    assert find_target("theirs").strata(["a"]) == ["A"]
    with pytest.raises(TargetError, match=r"no kind 'their'; the kinds are .*theirs") as caught:
        find_target("their")
    assert caught.value.hint == "did you mean `theirs`?"
    with pytest.raises(TargetError, match="'wrong' is no kind of target"):
        find_target("wrong")


def test_an_entry_point_that_leads_nowhere_is_named(installed):
    for name in ("missing", "absent"):
        with pytest.raises(TargetError, match=f"'{name}' of their-kinds.*can't be imported"):
            find_target(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("clas", "did you mean `class`?"),
        ("class_sets", "did you mean `class_set`?"),
        ("number", "did you mean `numbers`?"),
        ("xyz", "Register your own with @tltool.register_target, or write package.module:Name."),
    ],
)
def test_an_unknown_name_has_a_hint(name, hint):
    with pytest.raises(TargetError, match=f"target: there is no kind '{name}'") as caught:
        find_target(name)
    assert caught.value.hint == hint


def test_kinds_are_known_without_a_numerical_library():
    code = (
        "import sys; from tltool.tasks.registry import find_target; find_target('class_set'); "
        "print([name for name in ('numpy', 'keras', 'sklearn', 'tensorflow') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Which modules a file may name: installed and imported ones, and others where the user says so."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from tltool.support.errors import HeadError
from tltool.support.imports import (
    TRUST,
    UntrustedError,
    import_module,
    import_named,
    load,
)
from tltool.support.processes import child_environment


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the current folder that leaves a mark where it is imported."""
    name = f"mark_{tmp_path.name.rstrip('0123456789')}"
    (tmp_path / f"{name}.py").write_text("open('mark', 'w').close()\ndef f(): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TRUST, raising=False)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("path", ["", ".", "{here}"])
def test_a_module_in_the_current_folder_is_not_imported(module, tmp_path, monkeypatch, path):
    monkeypatch.setattr(sys, "path", [path.format(here=tmp_path), *sys.path])
    with pytest.raises(HeadError, match="lies in the current folder") as caught:
        import_named(f"{module}:f", "head.name", HeadError)
    assert str(tmp_path) in caught.value.message
    assert "--trust" in (caught.value.hint or "")
    assert not (tmp_path / "mark").exists()


def test_a_package_in_the_current_folder_is_not_imported(module, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("open('mark', 'w').close()\n")
    with pytest.raises(UntrustedError):
        import_module("pack.part")
    assert not (tmp_path / "mark").exists()


def test_it_is_where_the_user_trusts_it(module, tmp_path, monkeypatch):
    monkeypatch.setenv(TRUST, "1")
    before = list(sys.path)
    assert import_named(f"{module}:f", "head.name", HeadError)() is None
    assert (tmp_path / "mark").exists()
    assert sys.path == before


def test_it_is_where_the_program_has_imported_it(module, monkeypatch):
    with monkeypatch.context() as patch:
        patch.syspath_prepend(".")
        __import__(module)
    assert callable(import_named(f"{module}:f", "head.name", HeadError))


@pytest.fixture
def shadowed(module, tmp_path, monkeypatch):
    """The module is installed too, and imports one of Python that the current folder shadows."""
    (tmp_path / "colorsys.py").write_text("open('mark', 'w').close()\n")
    site = tmp_path / "site"
    site.mkdir()
    (site / f"{module}.py").write_text("import colorsys\ndef f(): return 'installed'\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    yield module
    sys.modules.pop("colorsys", None)


def test_what_is_installed_comes_before_the_current_folder(shadowed, tmp_path, monkeypatch):
    monkeypatch.setenv(TRUST, "1")
    assert import_named(f"{shadowed}:f", "head.name", HeadError)() == "installed"
    assert not (tmp_path / "mark").exists()


CHILD = """
import os, sys
from tltool.support.imports import MODULES, import_module, take_from_parent
sys.path += sys.argv[2:]
take_from_parent()
print(import_module(sys.argv[1]).__file__)
assert MODULES not in os.environ
assert "tensorflow" not in sys.modules
"""


def imported_by_a_child(name, environment, *folders):
    command = [sys.executable, "-P", "-c", CHILD, name, *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_child_takes_what_its_parent_took_and_no_file_beside_it(module, tmp_path, monkeypatch):
    untold = imported_by_a_child(module, None)
    assert "lies in the current folder" in untold.stderr
    for name in ("part", "stranger"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "unmade").mkdir()
    (tmp_path / "unmade" / "heads.py").write_text("import part\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        for name in (module, "part", "unmade.heads"):
            __import__(name)
    places = child_environment()
    for name in ("part", "unmade", "unmade.heads"):
        sys.modules.pop(name)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / f"{module}.py").write_text("")
    for name, file in ((module, f"{module}.py"), ("unmade.heads", "unmade/heads.py")):
        done = imported_by_a_child(name, places, tmp_path / "site")
        assert done.stdout.strip() == str(tmp_path / file), done.stderr
    assert "lies in the current folder" in imported_by_a_child("stranger", places).stderr


def test_an_entry_point_of_the_current_folder_can_be_trusted(module):
    point = EntryPoint("mine", f"{module}:f", "tltool.heads")
    with pytest.raises(HeadError, match="lies in the current folder") as caught:
        load(point, "head.name", HeadError)
    assert "--trust" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "unittest.mock:patch"])
def test_pythons_own_library_has_nothing_to_name(name, monkeypatch):
    monkeypatch.setenv(TRUST, "1")
    with pytest.raises(HeadError, match="Python's own library"):
        import_named(name, "head.name", HeadError)


@pytest.mark.parametrize("name", [":f", ".a:f", "a..b:f", "../a:f", "a b:f", "no_such_module:f"])
def test_what_is_no_module_is_an_error(name):
    with pytest.raises(HeadError, match="can't be imported"):
        import_named(name, "head.name", HeadError)


def test_a_module_that_fails_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "fails_at_once.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HeadError, match="ZeroDivisionError"):
        import_named("fails_at_once:f", "head.name", HeadError)

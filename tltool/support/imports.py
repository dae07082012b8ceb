"""What a recipe, a run or an export names by its place in Python: `package.module:Name`.

Importing a module runs it, so a file from a stranger must not choose one that
came with it: see `import_module`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from tltool.support.errors import TltoolError, did_you_mean

TRUST = "TLTOOL_TRUST"
"""Environment variable: where it is neither empty nor 0, the current folder is searched too."""

MODULES = "TLTOOL_MODULES"
"""Environment variable of a child: `imported_here` of its parent, in JSON."""

Place = str | list[str]
"""A module's file; of a package without one, its folders."""


class UntrustedError(ImportError):
    """A module that is not imported because a file named it, not the user."""


def import_module(name: str) -> ModuleType:
    """Imports a module that a file names.

    One that this program has imported already is taken; else it is looked for
    among the installed packages and on PYTHONPATH, and last in the current
    folder, only where `TRUST` is set, be it on the path or not. The standard
    library has nothing to name.

    Raises:
        UntrustedError: It lies in the current folder, or is of the standard library.
        ImportError: There is none, or it fails while it is imported.
    """
    top = name.partition(".")[0]
    if not all(part.isidentifier() for part in name.split(".")):
        raise ImportError(f"{name!r} is no name of a module")
    if top in sys.stdlib_module_names:
        raise UntrustedError(f"{top!r} is of Python's own library")
    if name in sys.modules:
        return sys.modules[name]
    here = str(Path.cwd())
    trusted = os.environ.get(TRUST, "") not in {"", "0"}
    with _searched_last(here, trusted):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            lies_here = importlib.machinery.PathFinder.find_spec(top, [here]) is not None
            if error.name != top or trusted or not lies_here:
                raise
            raise UntrustedError(f"it lies in the current folder, {here}") from error
        except ImportError:
            raise
        except Exception as error:
            raise ImportError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _searched_last(here: str, trusted: bool) -> Iterator[None]:
    """Has the current folder searched for modules after all others, or not at all."""
    before = list(sys.path)
    others = [path for path in before if path and Path(path).absolute() != Path(here)]
    sys.path[:] = [*others, here] if trusted else others
    try:
        yield
    finally:
        sys.path[:] = before


def imported_here() -> dict[str, Place]:
    """Where the modules of the current folder lie that this program has imported.

    A child that is given them takes the same ones (`take_from_parent`), and no others beside them,
    as another command finds them here with `TRUST`.

    Returns:
        By the names of modules and whole packages.
    """
    here = Path.cwd()
    specs = {
        name: spec
        for name, module in list(sys.modules.items())
        if "." not in name and name not in sys.stdlib_module_names
        if (spec := getattr(module, "__spec__", None)) is not None and spec.name == name
    }
    return {
        name: spec.origin if spec.has_location else list(spec.submodule_search_locations)
        for name, spec in specs.items()
        if (places := spec.submodule_search_locations or [spec.origin] * spec.has_location)
        if all(Path(place).absolute().parent == here for place in places)
    }


def take_from_parent() -> None:
    """Has modules imported from where the parent has them, as `child_environment` tells."""
    if places := os.environ.pop(MODULES, None):
        sys.meta_path.insert(0, _Placed(json.loads(places)))


class _Placed(importlib.abc.MetaPathFinder):
    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        place = self._places.get(name)
        if isinstance(place, str):
            return importlib.util.spec_from_file_location(name, place)
        if not place:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = place
        return spec


def import_hint(fault: ImportError) -> str:
    """What to do about a module that `import_module` did not import."""
    if isinstance(fault, UntrustedError):
        return (
            "a module runs as it is imported: read it, then add --trust to the command, or, in a "
            "program, import it first"
        )
    return (
        f"it is looked for among the installed packages and on PYTHONPATH, and with --trust in "
        f"{Path.cwd()}"
    )


def import_named(name: str, field: str, error: type[TltoolError]) -> Any:
    """What `package.module:Name` names, its module found by `import_module`.

    Args:
        name: As the user writes it.
        field: Of the recipe, for messages.
        error: What to raise.

    Raises:
        TltoolError: The module can't be imported, or has nothing callable of that name.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except ImportError as fault:
        raise error(
            f"{field}: the module {module_name!r} can't be imported: {fault}.",
            hint=import_hint(fault),
        ) from fault
    found = getattr(module, attribute, None)
    if not callable(found):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise error(
            f"{field}: {module_name!r} has nothing callable named {attribute!r}.",
            hint=did_you_mean(attribute, names),
        )
    return found


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group in installed packages, by name; `load` imports one."""
    return {point.name: point for point in entry_points(group=group)}


def load(point: EntryPoint, field: str, error: type[TltoolError]) -> Any:
    """What an entry point names.

    Args:
        point: From `installed`.
        field: Of the recipe, for messages.
        error: What to raise.

    Raises:
        TltoolError: It can't be imported.
    """
    try:
        import_module(point.module)
        return point.load()
    except (ImportError, AttributeError) as fault:
        package = point.dist.name if point.dist else "a package"
        anew = f"install {package} anew, or ask who made it"
        raise error(
            f"{field}: {point.name!r} of {package}, {point.value}, can't be imported: {fault}.",
            hint=import_hint(fault) if isinstance(fault, UntrustedError) else anew,
        ) from fault

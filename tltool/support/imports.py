"""What a recipe, a run or an export names by its place in Python: `package.module:Name`.

Importing a module runs it, so a file from a stranger must not choose one that
came with it: see `import_module`.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from tltool.support.errors import TltoolError, did_you_mean

TRUST = "TLTOOL_TRUST"
"""Environment variable: where it is neither empty nor 0, the current folder is searched too."""


class UntrustedError(ImportError):
    """A module that is not imported because a file named it, not the user."""


def import_module(name: str) -> ModuleType:
    """Imports a module that a file names.

    One that this program has imported already is taken; else it is looked for
    among the installed packages and on PYTHONPATH, and in the current folder
    only where `TRUST` is set. The standard library has nothing to name.

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
    with _searched([here] if trusted else [], without=here):
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
def _searched(first: list[str], *, without: str) -> Iterator[None]:
    """Changes where modules are looked for: `first` before all others, a folder not at all."""
    before = list(sys.path)
    sys.path[:] = [*first, *(p for p in before if p and Path(p).absolute() != Path(without))]
    try:
        yield
    finally:
        sys.path[:] = before


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
        raise error(
            f"{field}: {point.name!r} of {package}, {point.value}, can't be imported: {fault}.",
            hint=f"Install {package} anew, or ask who made it.",
        ) from fault

"""What a user names in a recipe by its place in Python: `package.module:Name`."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from tltool.support.errors import TltoolError, did_you_mean


def import_named(name: str, field: str, error: type[TltoolError]) -> Any:
    """What `package.module:Name` names, looked for in the working folder too.

    Args:
        name: As the user writes it.
        field: Of the recipe, for messages.
        error: What to raise.

    Raises:
        TltoolError: The module can't be imported, or has nothing callable of that name.
    """
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    # What stands in a file beside the recipe should just work, as with `python -m`.
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as fault:
        raise error(
            f"{field}: the module {module_name!r} can't be imported: {fault}.",
            hint=f"It is looked for in {here} and among the installed packages.",
        ) from fault
    finally:
        if added:
            sys.path.remove(here)
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
        return point.load()
    except (ImportError, AttributeError) as fault:
        package = point.dist.name if point.dist else "a package"
        raise error(
            f"{field}: {point.name!r} of {package}, {point.value}, can't be imported: {fault}.",
            hint=f"Install {package} anew, or ask who made it.",
        ) from fault

"""Finds the recipes and model cards that come with tltool.

In a source checkout they are the folders `recipes/` and `models/` beside the
package; an installed wheel carries copies (see `force-include` in
pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

ShippedKind = Literal["recipes", "models"]


def shipped_dir(kind: ShippedKind) -> Path:
    """The folder of the shipped YAML files of one kind."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_shipped" / kind
    return installed if installed.is_dir() else package.parent / kind


def list_shipped(kind: ShippedKind) -> list[Path]:
    """The shipped files of one kind, by name."""
    return sorted(shipped_dir(kind).glob("*.yaml"))


def find_shipped(kind: ShippedKind, name: str) -> Path | None:
    """The shipped file called `name` (with or without `.yaml`), or None."""
    by_name = {file.stem: file for file in list_shipped(kind)}
    return by_name.get(name.removesuffix(".yaml"))

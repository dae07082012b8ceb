"""Packages that come with tltool's optional extras."""

from __future__ import annotations

import importlib
from typing import Any

from tltool.support.errors import ExportError


def import_onnx(name: str) -> Any:
    """A package of the extra `[onnx]`.

    Raises:
        ExportError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"The format onnx needs the package {name}, which is not installed.",
            hint="Install it with: pip install 'tltool[onnx]'",
        ) from error

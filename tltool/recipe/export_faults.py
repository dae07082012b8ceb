"""What is wrong with the options of an export for a task, and extras that are not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tltool.support.errors import Fault, RecipeError
from tltool.tasks.table import TaskSpec

ONNX_PACKAGES = ("onnx", "tf2onnx", "onnxruntime")


def export_faults(export: Mapping[str, Any], spec: TaskSpec) -> Iterator[Fault]:
    """Options that are not for the task, or not for each other.

    Args:
        export: The section as read; any shape.
        spec: The task.
    """
    given, length = export.get("litert_input"), export.get("litert_length")
    if spec.modality == "text" and given not in {None, "float32"}:
        yield Fault("export.litert_input", "is not for texts", repr(given))
    if spec.modality == "image" and length not in {None, "static"}:
        yield Fault("export.litert_length", "is not for images", repr(length))
    precisions = export.get("precisions")
    if given == "uint8_any_size" and isinstance(precisions, list | tuple) and "int8" in precisions:
        yield Fault(
            "export.litert_input",
            "would resize in 8 bits where the precision is int8",
            repr(given),
            hint="take `uint8`, or another precision",
        )


def check_export_installed(formats: Iterable[str]) -> None:
    """Raises RecipeError where ONNX is asked for and its extra is not installed."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if "onnx" in formats and missing:
        raise RecipeError(
            "The extra [onnx] is not installed:",
            faults=[Fault("export.formats", f"onnx needs {', '.join(missing)}")],
            hint="Install it with: pip install 'tltool[onnx]'",
        )

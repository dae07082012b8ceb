"""What is wrong with the options of an export for a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tltool.support.errors import Fault
from tltool.tasks.table import TaskSpec


def export_faults(export: Mapping[str, Any], spec: TaskSpec) -> Iterator[Fault]:
    """Options that are not for the task, or not for each other.

    Args:
        export: The section as read; any shape.
        spec: The task.
    """
    given, length = export.get("litert_input"), export.get("litert_length")
    if spec.modality != "image" and given not in (None, "float32"):
        yield Fault("export.litert_input", "is not for texts", repr(given))
    if spec.modality == "image" and length not in (None, "static"):
        yield Fault("export.litert_length", "is not for images", repr(length))
    precisions = export.get("precisions")
    if given == "uint8_any_size" and isinstance(precisions, list | tuple) and "int8" in precisions:
        yield Fault(
            "export.litert_input",
            "would resize in 8 bits where the precision is int8",
            repr(given),
            hint="take `uint8`, or another precision",
        )

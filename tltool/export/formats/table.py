"""The formats of exported models, as one table, and what is looked up in it."""

from __future__ import annotations

from pathlib import Path

from tltool.export.formats.base import ExportTarget, Format
from tltool.export.formats.keras.format import KerasFormat
from tltool.export.formats.litert.format import LiteRTFormat
from tltool.export.formats.onnx.format import OnnxFormat
from tltool.export.formats.saved_model.format import SavedModelFormat
from tltool.recipe.export_section import ExportFormat, ExportSection

FORMATS: dict[ExportFormat, Format] = {
    "saved_model": SavedModelFormat(),
    "litert": LiteRTFormat(),
    "onnx": OnnxFormat(),
    "keras": KerasFormat(),
}
"""By the name in a recipe; a new format is one more row."""


def format_of(path: Path) -> ExportFormat | None:
    """The format of a model's own file or folder, by its name or what is in it."""
    return next((name for name, form in FORMATS.items() if form.is_at(path)), None)


def export_targets(section: ExportSection) -> tuple[ExportTarget, ...]:
    """The artifacts an export section asks for, each once."""
    wanted = [target for name in section.formats for target in FORMATS[name].targets(section)]
    return tuple(dict.fromkeys(wanted))

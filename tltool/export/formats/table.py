"""The formats of exported models, as one table, and what is looked up in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tltool.export.formats.base import ExportTarget, Format
from tltool.export.formats.keras.format import KerasFormat
from tltool.export.formats.litert.format import LiteRTFormat
from tltool.export.formats.onnx.format import OnnxFormat
from tltool.export.formats.saved_model.format import SavedModelFormat
from tltool.recipe.export_section import ExportFormat, ExportSection
from tltool.support.errors import Fault, RecipeError

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


def check_export_installed(formats: Iterable[ExportFormat]) -> None:
    """Raises RecipeError where an extra is not installed that a format needs."""
    for form in map(FORMATS.__getitem__, formats):
        if missing := form.missing_packages():
            raise RecipeError(
                f"The extra [{form.extra}] is not installed:",
                faults=[Fault("export.formats", f"{form.name} needs {', '.join(missing)}")],
                hint=f"Install it with: pip install 'tltool[{form.extra}]'",
            )

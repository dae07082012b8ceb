"""Which artifacts an export section asks for, and what is exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tltool.data.examples import Examples
from tltool.export.about import About
from tltool.export.formats import FORMATS
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.schema import ExportFormat, ExportSection, LiteRTPrecision
from tltool.tasks import Task

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class ExportTarget:
    """One artifact to make.

    Attributes:
        form: A key of `FORMATS`.
        precision: Of its weights.
    """

    form: ExportFormat
    precision: LiteRTPrecision = "float32"

    @property
    def folder(self) -> str:
        """Name of its export folder: `saved_model`, `litert_float16` …"""
        if len(FORMATS[self.form].precisions) == 1:
            return self.form
        return f"{self.form}_{self.precision}"

    @property
    def file(self) -> str:
        """Name of the model in that folder."""
        return FORMATS[self.form].file

    @property
    def title(self) -> str:
        """`SavedModel`, `LiteRT float16` …"""
        title = FORMATS[self.form].title
        return title if self.folder == self.form else f"{title} {self.precision}"


def export_targets(section: ExportSection) -> tuple[ExportTarget, ...]:
    """The artifacts an export section asks for, each once."""
    wanted = [
        ExportTarget(form, precision)
        for form in section.formats
        for precision in _precisions(form, section)
    ]
    return tuple(dict.fromkeys(wanted))


def _precisions(form: ExportFormat, section: ExportSection) -> tuple[LiteRTPrecision, ...]:
    """The only one of a format that has one, whatever is asked of the others."""
    possible = FORMATS[form].precisions
    return possible if len(possible) == 1 else section.precisions


@dataclass(frozen=True)
class Exported:
    """What is exported.

    Attributes:
        model: Trained, functional, from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        preprocessing: Contract from raw input to the model's input.
        length: Tokens a text is padded to where the length is fixed.
        calibration: Rows on which ranges are measured for the precision "int8".
        about: Name, origin and licence.
    """

    model: keras.Model
    task: Task
    preprocessing: ImagePreprocessing | TextPreprocessing
    length: int | None = None
    calibration: Examples | None = None
    about: About | None = None

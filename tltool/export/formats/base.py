"""Which artifacts an export section asks for, and what is exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.about import About
from tltool.export.formats.table import FORMATS
from tltool.recipe.export_section import (
    ExportFormat,
    ExportSection,
    Int8Section,
    LiteRTInput,
    LiteRTLength,
    LiteRTPrecision,
)
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import keras


IMAGE_CONTENTS: dict[LiteRTInput, str] = {
    "float32": "normalized_image",
    "uint8": "resized_image",
    "uint8_any_size": "image",
}
"""What the image means that a LiteRT model takes, a key of `tltool.export.contract.CONTENTS`."""


@dataclass(frozen=True)
class LiteRTOptions:
    """What a LiteRT model takes; see `ExportSection` for the values."""

    input: LiteRTInput = "float32"
    length: LiteRTLength = "static"

    @property
    def words(self) -> tuple[str, ...]:
        """What tells files with these options from the usual ones."""
        inputs = () if self.input == "float32" else (self.input,)
        return (*inputs, *(("free_length",) if self.length == "free" else ()))


@dataclass(frozen=True)
class ExportTarget:
    """One artifact to make.

    Attributes:
        form: A key of `FORMATS`.
        precision: Of its weights.
        options: Of a LiteRT file.
    """

    form: ExportFormat
    precision: LiteRTPrecision = "float32"
    options: LiteRTOptions = LiteRTOptions()

    @property
    def folder(self) -> str:
        """Name of its export folder: `saved_model`, `litert_float16` …"""
        return "_".join((self.form, *self._words))

    @property
    def title(self) -> str:
        """For people: `SavedModel`, `LiteRT float16` …"""
        words = [word.replace("_", " ") for word in self._words[1:]]
        return " ".join((FORMATS[self.form].title, *self._words[:1], *words))

    @property
    def _words(self) -> tuple[str, ...]:
        several = len(FORMATS[self.form].precisions) > 1
        return (*((self.precision,) if several else ()), *self.options.words)

    @property
    def file(self) -> str:
        """Name of the model in that folder."""
        return FORMATS[self.form].file


def export_targets(section: ExportSection) -> tuple[ExportTarget, ...]:
    """The artifacts an export section asks for, each once."""
    options = LiteRTOptions(section.litert_input, section.litert_length)
    wanted = [
        ExportTarget(form, precision, options if form == "litert" else LiteRTOptions())
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
        int8: What the precision "int8" keeps in float.
        about: Name, origin and licence.
    """

    model: keras.Model
    task: Task
    preprocessing: ImagePreprocessing | TextPreprocessing
    length: int | None = None
    calibration: Examples | None = None
    int8: Int8Section = field(default_factory=Int8Section)
    about: About | None = None

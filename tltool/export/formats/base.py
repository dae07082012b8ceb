"""What the house asks of a format of exported models, and what it asks the format to make."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.recipe.export_section import (
    ExportFormat,
    ExportSection,
    Int8Section,
    LiteRTInput,
    LiteRTLength,
    LiteRTPrecision,
)

if TYPE_CHECKING:
    import keras

    from tltool.data.examples import Examples
    from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
    from tltool.export.about import About
    from tltool.export.contract import Contract, Example
    from tltool.export.formats.inspection import Inspection
    from tltool.export.formats.kept_float import KeptFloat
    from tltool.export.formats.problems import Audit
    from tltool.export.outputs import Call, Run
    from tltool.tasks.table import Task


LITERT_RUNTIME = ExportSection().litert_runtime
"""The oldest TensorFlow Lite that LiteRT files run in where nothing else is asked for."""
_IMAGE_CONTENTS: dict[LiteRTInput, str] = {
    "float32": "normalized_image",
    "uint8": "resized_image",
    "uint8_any_size": "image",
}


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

    @property
    def image(self) -> str:
        """What the image means that the model takes, a key of `tltool.export.contract.CONTENTS`."""
        return _IMAGE_CONTENTS[self.input]


@dataclass(frozen=True)
class ExportTarget:
    """One artifact to make.

    Attributes:
        form: Its format.
        precision: Of its weights.
        options: Of a LiteRT file.
    """

    form: Format
    precision: LiteRTPrecision = "float32"
    options: LiteRTOptions = LiteRTOptions()

    @property
    def folder(self) -> str:
        """Name of its export folder: `saved_model`, `litert_float16` …"""
        return "_".join((self.form.name, *self._words))

    @property
    def title(self) -> str:
        """For people: `SavedModel`, `LiteRT float16` …"""
        words = [word.replace("_", " ") for word in self._words[1:]]
        return " ".join((self.form.title, *self._words[:1], *words))

    @property
    def _words(self) -> tuple[str, ...]:
        several = len(self.form.precisions) > 1
        return (*((self.precision,) if several else ()), *self.options.words)

    @property
    def file(self) -> str:
        """Name of the model in that folder."""
        return self.form.file


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
        litert_runtime: The oldest TensorFlow Lite that LiteRT files must run in.
        about: Name, origin and licence.
        once: What formats made for one target and can use for others.
    """

    model: keras.Model
    task: Task
    preprocessing: ImagePreprocessing | TextPreprocessing
    length: int | None = None
    calibration: Examples | None = None
    int8: Int8Section = field(default_factory=Int8Section)
    litert_runtime: str = LITERT_RUNTIME
    about: About | None = None
    once: dict[Any, Any] = field(default_factory=dict, compare=False)


class Format(ABC):
    """A format; cheap to make, since its methods import what they need when they are called.

    Attributes:
        name: In a recipe.
        title: For people.
        file: Name of the model in its export folder; one without a suffix is a folder.
        about: What the file is, in a few words.
        precisions: Those its weights can have.
        extra: The extra of tltool that brings the packages it needs; empty where there is none.
        packages: Those that the extra brings.
    """

    name: ExportFormat
    title: str
    file: str
    about: str
    precisions: tuple[LiteRTPrecision, ...] = ("float32",)
    extra: str = ""
    packages: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """Of the file; empty for a folder."""
        return Path(self.file).suffix

    def is_at(self, path: Path) -> bool:
        """Whether a path is that of such a model, by its name or what is in it."""
        return path.suffix == self.suffix and not path.is_dir()

    def missing_packages(self) -> list[str]:
        """Those of its packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    def targets(self, section: ExportSection) -> tuple[ExportTarget, ...]:
        """The artifacts of this format that an export section asks for."""
        return (ExportTarget(self),)

    def audit(
        self, model: keras.Model, task: Task, length: int | None, section: ExportSection
    ) -> Audit:
        """Looks for what would keep an untrained model from being written; see `audit_export`.

        Args:
            model: Functional, from preprocessed inputs to raw outputs, in float32.
            task: Labels or target scale.
            length: Most tokens of a text; None for images.
            section: What the recipe asks for.
        """
        from tltool.export.formats.problems import Audit

        return Audit(())

    @abstractmethod
    def write(self, made: Exported, target: ExportTarget, path: Path) -> KeptFloat | None:
        """Makes the model at a path that does not exist yet.

        Returns:
            What it keeps in float, where that was decided.
        """

    def fixed_length(self, made: Exported, target: ExportTarget) -> int | None:
        """Tokens that every text is padded or cut to; None where any length will do."""
        return None

    def modules(self, path: Path) -> tuple[str, ...]:
        """Python modules to import before the model at a path is loaded."""
        return ()

    @abstractmethod
    def load(self, path: Path, contract: Contract) -> Run:
        """A function that runs the model on raw inputs."""

    @abstractmethod
    def load_call(self, path: Path, contract: Contract) -> Call:
        """A function that runs the model on preprocessed inputs, one example at a time."""

    @abstractmethod
    def inspect(self, path: Path) -> Inspection:
        """What is in the model, read without running it."""

    @abstractmethod
    def usage(self, contract: Contract, example: Example) -> list[str]:
        """How to use the model, in paragraphs of Markdown for the README beside it.

        Args:
            contract: Of the model.
            example: A text, or the path of an image in the export folder.
        """

    def snippets(self, contract: Contract) -> dict[str, str]:
        """Code for apps that run the model: name of each file, and content."""
        return {}

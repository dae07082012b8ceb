"""What TensorFlow Lite metadata can say of a model; the words are those of its schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

# The enumerations of the schema; the place is the number.
FileKind = Literal[
    "unknown",
    "descriptions",
    "tensor_axis_labels",
    "tensor_value_labels",
    "tensor_axis_score_calibration",
    "vocabulary",
    "scann_index_file",
]
ColourSpace = Literal["unknown", "rgb", "grayscale"]
ScoreTransformation = Literal["identity", "log", "inverse_logistic"]


@dataclass(frozen=True)
class AssociatedFile:
    """A file that lies in the zip archive behind the model.

    Attributes:
        name: In the archive.
        kind: What it is for.
        description: For people.
        content: Its bytes.
    """

    name: str
    kind: FileKind
    description: str = ""
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Normalization:
    """The tensor takes `(x - mean) / std`, one number for all channels or one for each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class ScoreCalibration:
    """Each score goes through a sigmoid of its own before it is shown.

    `scale / (1 + exp(-(slope · g(score) + offset)))`, with a line `scale,slope,offset`
    for each class in the tensor's file of kind `tensor_axis_score_calibration`
    (no line break after the last one: MediaPipe would take it for one class more).

    Attributes:
        transformation: The function g.
        default_score: For a class whose line is empty.
    """

    transformation: ScoreTransformation
    default_score: float


@dataclass(frozen=True)
class BertTokenizer:
    """Texts are cut into the pieces of a vocabulary as BERT does."""

    vocabulary: AssociatedFile


@dataclass(frozen=True)
class OtherUnit:
    """A step that is read but not understood here; `kind` is its name in the schema."""

    kind: str


ProcessUnit = Normalization | ScoreCalibration | BertTokenizer | OtherUnit


@dataclass(frozen=True)
class TensorMetadata:
    """What an input or output is.

    Attributes:
        name: MediaPipe finds the inputs of a BERT by it: `ids`, `mask`, `segment_ids`.
        description: For people.
        content: "image", "feature", the schema's name of another kind, or None.
        colour_space: Of an image.
        process_units: What an app must do before (input) or after (output).
        minimum, maximum: Of its numbers, one for all channels or one for each.
        files: Such as the labels of an output.
    """

    name: str
    description: str = ""
    content: str | None = None
    colour_space: ColourSpace = "unknown"
    process_units: tuple[ProcessUnit, ...] = ()
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    files: tuple[AssociatedFile, ...] = ()


@dataclass(frozen=True)
class ModelMetadata:
    """What a model is.

    Attributes:
        name, description, version, author, licence: For people; empty where unknown.
        inputs, outputs: In the order of the model's tensors.
        input_process_units: Steps before all inputs together, such as a tokenizer.
        files: Those of no tensor.
    """

    name: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    description: str = ""
    version: str = ""
    author: str = ""
    licence: str = ""
    input_process_units: tuple[ProcessUnit, ...] = ()
    files: tuple[AssociatedFile, ...] = ()

    def all_files(self) -> Iterator[AssociatedFile]:
        """Every associated file, wherever it is named."""
        yield from self.files
        units = list(self.input_process_units)
        for tensor in (*self.inputs, *self.outputs):
            yield from tensor.files
            units += tensor.process_units
        yield from (unit.vocabulary for unit in units if isinstance(unit, BertTokenizer))

    @property
    def min_parser_version(self) -> str:
        """The oldest version of the schema that has all that is said (its "History")."""
        if self.input_process_units:
            return "1.1.0"
        return "1.0.1" if any(f.kind == "vocabulary" for f in self.all_files()) else "1.0.0"

"""What `contract.json` says of an exported model: task, preprocessing, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, PositiveInt, ValidationError

from tltool._version import __version__
from tltool.data.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from tltool.export.formats.runtime import Runtime
from tltool.export.signatures import Signature, TensorInfo
from tltool.recipe.export_section import ExportFormat, LiteRTPrecision
from tltool.support.errors import ExportError
from tltool.support.files import read_json, write_json
from tltool.support.items import shape_fits
from tltool.support.sums import SUMS_FILE, changes_in
from tltool.tasks.table import INPUT_COLUMNS, Modality, Task

CONTRACT_FILE = "contract.json"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden.json"
MAIN_SIGNATURE = "serving_default"
"""Of a SavedModel and of a .tflite file: what a user calls."""
RAW_SIGNATURE = "model"
"""Of a SavedModel: from preprocessed inputs to raw outputs."""
RAW_INPUTS: dict[Modality, tuple[str, ...]] = {
    "image": ("images",),
    "text": ("texts",),
    "text_pair": INPUT_COLUMNS["text_pair"],
}
"""Names of the raw inputs of a SavedModel's main signature."""
Example = str | Sequence[str]
"""A raw input for a program: a text, both of a pair, or the path of an image."""
IMAGE_INPUT = "image"
"""Name of the one input of an image model that takes no raw images."""

CONTENTS = {
    "text": "texts in UTF-8",
    "first_text": "the first text of each pair, in UTF-8",
    "second_text": "the second text of each pair, in UTF-8",
    "image_file": "the content of image files: JPEG, PNG, GIF, BMP or, from "
    "TensorFlow 2.20 on, WebP",
    "image": "an upright RGB image, levels 0..255, of any height and width; the model does all in "
    "`preprocessing`",
    "resized_image": "upright RGB images, levels 0..255, resized and cropped as `preprocessing` "
    "says; the model does the rest",
    "normalized_image": "images with everything in `preprocessing` done",
    "token_ids": "token ids, padded to `length` unless that is null",
    "padding_mask": "1 for a token of the text, 0 for padding",
    "segment_ids": "0 for every token",
    "word_shapes": "how the word of each token is written: 0 for special tokens and padding, 1 "
    "without upper and lower case, 2 in lower case, 3 with one upper-case letter that comes "
    "first, 4 in upper case, 5 one upper-case letter alone, 6 other letters of both cases, 7 "
    "digits, 8 digits and letters, 9 a character that is no letter or digit",
    "segments_of_pair": "1 for tokens after the first text's end token, 0 for all others",
    "token_ids_apart": "token ids of both texts of each pair, the second in the row after the "
    "first, padded to `length` unless that is null",
}
"""What the value of an input can mean."""
_OF_INPUT_NAMES = {
    "texts": "text",
    "images": "image_file",
    "text_a": "first_text",
    "text_b": "second_text",
    IMAGE_INPUT: "normalized_image",
}
AnyFields = TypeVar("AnyFields", bound=BaseModel)


@dataclass(frozen=True)
class ModelTensor:
    """One input or output of an exported model.

    Attributes:
        name: As the model's signature has it.
        dtype: Such as "float32".
        shape: None in place of a size where any will do.
        content: What its value means: a key of `CONTENTS`, or of the target's `contents`.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    content: str


@dataclass(frozen=True)
class ModelSignature:
    """A way to call an exported model."""

    name: str
    inputs: tuple[ModelTensor, ...]
    outputs: tuple[ModelTensor, ...]


@dataclass(frozen=True)
class Contract:
    """All that a program needs to know to run an exported model.

    Attributes:
        form: Of the model.
        precision: Of the weights.
        file: Name of the model in the export folder.
        task: With its labels, thresholds or scale.
        preprocessing: From raw input to what the network takes; the input's
            `content` says how much of it the app must do.
        length: Tokens a text is padded to; None for images and for any length.
        signatures: As the file has them, the one that a user calls first.
        modules: Python modules that are imported before the model is loaded (Keras).
        runtime: The oldest that runs the model; None where that is not known.
    """

    form: ExportFormat
    precision: LiteRTPrecision
    file: str
    task: Task
    preprocessing: ImagePreprocessing | TextPreprocessing
    length: int | None
    signatures: tuple[ModelSignature, ...]
    modules: tuple[str, ...] = ()
    runtime: Runtime | None = None

    @property
    def inputs(self) -> tuple[ModelTensor, ...]:
        """What a user gives."""
        return self.signatures[0].inputs

    @property
    def takes(self) -> str:
        """What the main input means, a key of `CONTENTS`."""
        return self.inputs[0].content

    @property
    def result_width(self) -> tuple[int | None, ...] | None:
        """Sizes of the result for a row by the signature; None where that does not say it."""
        for tensor in self.signatures[0].outputs:
            if tensor.name == self.task.target.result_name:
                return tensor.shape[1:]
        return None

    def write(self, folder: Path) -> None:
        """Writes `contract.json`."""
        values = {
            "tltool": __version__,
            "format": self.form,
            "precision": self.precision,
            "file": self.file,
            "length": self.length,
            "modules": list(self.modules),
            "runtime": asdict(self.runtime) if self.runtime else None,
            "signatures": [self._described(asdict(way)) for way in self.signatures],
            "task": self.task.to_json(),
            "preprocessing_digest": self.preprocessing.digest(),
            "preprocessing": self.preprocessing.model_dump(mode="json"),
        }
        write_json(folder / CONTRACT_FILE, values)

    def _described(self, signature: dict[str, Any]) -> dict[str, Any]:
        meanings = {**CONTENTS, **self.task.target.contents}
        for tensor in (*signature["inputs"], *signature["outputs"]):
            tensor["description"] = meanings[tensor["content"]]
        return signature

    @classmethod
    def read(cls, folder: Path) -> Contract:
        """Reads `contract.json`.

        Raises:
            ExportError: It is damaged or of an older version.
        """
        file = folder / CONTRACT_FILE
        values = read_fields(file, ContractFields)
        try:
            task = Task.from_json(values.task.model_dump())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ExportError(
                f"{file}: its task is damaged, or of an older tltool: {error}", hint="export again"
            ) from error
        contract = cls(
            form=values.format,
            precision=values.precision,
            file=values.file,
            task=task,
            preprocessing=values.preprocessing,
            length=values.length,
            signatures=values.signatures,
            modules=values.modules,
            runtime=values.runtime,
        )
        found = contract.result_width
        if found is not None and not shape_fits(found, task.target.result_shape[1:]):
            raise ExportError(
                f"{file}: its task has {task.target.result_shape[1:]} results for each row, its "
                f"model gives {found}.",
                hint="export again",
            )
        return contract


def contents_of_pairs(
    preprocessing: ImagePreprocessing | TextPreprocessing,
) -> dict[str, str]:
    """What inputs of a model of pairs mean where it is not what their names say."""
    form = preprocessing.pair if isinstance(preprocessing, TextPreprocessing) else None
    if form is None:
        return {}
    return (
        {"segment_ids": "segments_of_pair"}
        if form == "joined"
        else {"token_ids": "token_ids_apart"}
    )


class TaskFields(BaseModel, extra="allow"):
    """What `contract.json` must hold of the task; the rest is for the kind of target."""

    name: str
    target: str
    labels: tuple[str, ...] = ()


class ContractFields(BaseModel):
    """What `contract.json` must hold."""

    format: ExportFormat
    precision: LiteRTPrecision
    file: Annotated[str, Field(pattern=r"^[\w.-]*\w$")]
    task: TaskFields
    preprocessing: Preprocessing
    length: PositiveInt | None
    signatures: Annotated[tuple[ModelSignature, ...], Field(min_length=1)]
    modules: tuple[str, ...]
    runtime: Runtime | None = None


def check_files(folder: Path) -> None:
    """Sees that the files of an export folder are those that were written there.

    Raises:
        ExportError: Names all that changed, are missing, or were added; or it is no export folder.
    """
    if not (folder / CONTRACT_FILE).is_file():
        raise ExportError(
            f"{folder / CONTRACT_FILE} is missing.",
            hint="keep the whole export folder together: the contract says what goes in and "
            "comes out",
        )
    if changed := changes_in(folder):
        raise ExportError(
            "\n  ".join([f"The export {str(folder)!r} is not as {SUMS_FILE} lists it:", *changed]),
            hint="copy the whole folder again, or export again; after a change on purpose: "
            f"tltool runs accept {folder}",
        )


def described_signatures(
    signatures: tuple[Signature, ...], task: Task, contents: Mapping[str, str]
) -> tuple[ModelSignature, ...]:
    """The signatures read from a file, with what their tensors mean, the main one first.

    Args:
        signatures: As `tltool.export.inspection` reads them.
        task: Gives the shape of an output of which the file does not say it.
        contents: For tensors that mean something else than their name says.
    """

    def shape(name: str) -> tuple[int | None, ...]:
        # Beside the result there is one number for each row.
        return task.target.result_shape if name == task.target.result_name else (None, 1)

    # A model's own file may call its one image as it likes.
    image = {"image": contents.get(IMAGE_INPUT, "normalized_image")}.get(task.spec.modality)

    def described(
        tensors: tuple[TensorInfo, ...], unnamed: str | None = None
    ) -> tuple[ModelTensor, ...]:
        return tuple(
            ModelTensor(
                tensor.name,
                tensor.dtype,
                shape(tensor.name) if tensor.shape is None else tensor.shape,
                contents.get(tensor.name, _OF_INPUT_NAMES.get(tensor.name, unnamed or tensor.name)),
            )
            for tensor in tensors
        )

    ordered = sorted(signatures, key=lambda way: way.name != MAIN_SIGNATURE)
    return tuple(
        ModelSignature(way.name, described(way.inputs, image), described(way.outputs))
        for way in ordered
    )


def read_fields(file: Path, shape: type[AnyFields]) -> AnyFields:
    """The fields of a JSON file in an export folder.

    Args:
        file: Exists.
        shape: What it must hold.

    Raises:
        ExportError: It is damaged, or lacks a field.
    """
    try:
        return shape.model_validate(read_json(file))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, f['loc'])) or 'all'}: {f['msg']}" for f in error.errors()]
        raise ExportError(
            "\n  ".join([f"{file} is damaged, or of an older tltool:", *faults]),
            hint="export again",
        ) from error
    except (OSError, ValueError) as error:
        raise ExportError(f"{file} is damaged: {error}", hint="export again") from error

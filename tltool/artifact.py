"""Running exported models: a SavedModel folder or a .tflite file with its `contract.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.errors import DataError, ExportError
from tltool.preprocessing import (
    ImagePreprocessing,
    TextPreprocessing,
    preprocessing_from_json,
)
from tltool.quiet import quiet
from tltool.tasks import TASKS, Modality, Task

if TYPE_CHECKING:
    import numpy as np

CONTRACT_FILE = "contract.json"
LABELS_FILE = "labels.txt"
RAW_INPUT: dict[Modality, str] = {"image": "images", "text": "texts"}
"""Name of the raw input of a SavedModel's `serving_default` signature."""
IMAGE_INPUT = "image"
"""Name of the one input of an image model that takes preprocessed images."""
BATCH_SIZE = 32

Outputs = tuple["np.ndarray[Any, Any]", list[str]]


@dataclass(frozen=True)
class Artifact:
    """An exported model, ready to run on raw inputs.

    Attributes:
        path: The SavedModel folder or the .tflite file.
        task: Labels or target scale, as exported.
        preprocessing: The contract the artifact was exported with.
        precision: Of the weights, as in `tltool.schema.LiteRTPrecision`.
    """

    path: Path
    task: Task
    preprocessing: ImagePreprocessing | TextPreprocessing
    precision: str
    _run: Callable[[Sequence[Any]], Outputs] = field(repr=False)

    def predict(self, inputs: Sequence[Any]) -> np.ndarray[Any, Any]:
        """Probabilities float32 (n, classes), or numbers float32 (n,) in the target's units.

        Args:
            inputs: Texts; or images as paths, encoded bytes or uint8 arrays.

        Raises:
            DataError: An input that cannot be read.
        """
        return self.predict_with_labels(inputs)[0]

    def predict_with_labels(self, inputs: Sequence[Any]) -> Outputs:
        """As `predict`, and the name of each row's best class as the artifact itself says it.

        The names come from inside a SavedModel and from the `labels.txt` beside
        a .tflite file; the list is empty for regression.
        """
        import numpy as np

        outputs: list[np.ndarray[Any, Any]] = []
        labels: list[str] = []
        for start in range(0, len(inputs), BATCH_SIZE):
            values, names = self._run(inputs[start : start + BATCH_SIZE])
            outputs.append(values)
            labels.extend(names)
        if not outputs:
            width = (self.task.num_outputs,) if self.task.labels else ()
            return np.zeros((0, *width), np.float32), []
        return np.concatenate(outputs), labels


def load_artifact(path: Path) -> Artifact:
    """Loads an export folder, the SavedModel folder in it, or the .tflite file in it.

    Raises:
        ExportError: There is no such artifact, or no readable `contract.json` beside it.
    """
    path = _artifact_path(Path(path))
    contract = _read_contract(path.parent / CONTRACT_FILE)
    task = task_from_dict(contract["task"])
    preprocessing = preprocessing_from_json(json.dumps(contract["preprocessing"]))
    load = _load_litert if path.suffix == ".tflite" else _load_saved_model
    return Artifact(
        path, task, preprocessing, contract["precision"], load(path, task, preprocessing)
    )


def is_artifact(path: Path) -> bool:
    """Whether `load_artifact` would take this path for an exported model."""
    return (
        path.suffix == ".tflite"
        or (path / "saved_model.pb").is_file()
        or (path / CONTRACT_FILE).is_file()
    )


def encoded(value: Any, modality: Modality) -> bytes:
    """One raw input as a SavedModel takes it: UTF-8 text, or an encoded image.

    Args:
        value: A text; or an image as a path, encoded bytes or a uint8 array
            (which becomes a PNG, without loss).
        modality: What `value` is.

    Raises:
        DataError: An image file that cannot be read, or an array that is no image.
    """
    if isinstance(value, bytes):
        return value
    if modality == "text":
        return str(value).encode("utf-8", "surrogatepass")
    if isinstance(value, str | os.PathLike):
        return _file_bytes(Path(value))
    import tensorflow as tf

    from tltool.data.images import array_to_rgb

    return bytes(tf.io.encode_png(array_to_rgb(value)).numpy())


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def task_to_dict(task: Task) -> dict[str, Any]:
    """A task as JSON values."""
    return {
        "name": task.spec.name,
        "labels": list(task.labels),
        "target_mean": task.target_mean,
        "target_std": task.target_std,
    }


def task_from_dict(value: dict[str, Any]) -> Task:
    """The task that `task_to_dict` wrote."""
    return Task(
        TASKS[value["name"]],
        tuple(value["labels"]),
        value["target_mean"],
        value["target_std"],
    )


def _artifact_path(path: Path) -> Path:
    """The model itself, also when its export folder is given."""
    if (path / "saved_model.pb").is_file() or (path.suffix == ".tflite" and path.is_file()):
        return path
    if (path / CONTRACT_FILE).is_file():
        return path / str(_read_contract(path / CONTRACT_FILE)["file"])
    raise ExportError(
        f"{path} is not an exported model.",
        hint="give an export folder, a SavedModel folder or a .tflite file",
    )


def _read_contract(path: Path) -> dict[str, Any]:
    hint = "keep the whole export folder together: the contract says what goes in and comes out"
    if not path.is_file():
        raise ExportError(f"{path} is missing.", hint=hint)
    try:
        contract: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path} is damaged: {error}", hint="export again") from error
    missing = {"file", "task", "preprocessing", "precision"} - contract.keys()
    if missing:
        raise ExportError(f"{path} lacks {', '.join(sorted(missing))}.", hint="export again")
    return contract


def _load_saved_model(
    path: Path, task: Task, preprocessing: ImagePreprocessing | TextPreprocessing
) -> Callable[[Sequence[Any]], Outputs]:
    import tensorflow as tf

    from tltool.data.pipeline import model_inputs

    with quiet():
        loaded = tf.saved_model.load(str(path))
    argument = RAW_INPUT[task.spec.modality]

    def serve(batch: Sequence[Any]) -> dict[str, Any]:
        raw = tf.constant([encoded(value, task.spec.modality) for value in batch])
        try:
            # Asked of `loaded` each time: it owns the weights and must stay alive.
            return loaded.signatures["serving_default"](**{argument: raw})
        except tf.errors.InvalidArgumentError:
            model_inputs(batch, preprocessing)  # names the input that cannot be read
            raise

    def run(batch: Sequence[Any]) -> Outputs:
        outputs = serve(batch)
        if not task.labels:
            return outputs["prediction"].numpy(), []
        names = [name.decode() for name in outputs["label"].numpy()]
        return outputs["probabilities"].numpy(), names

    return run


def _load_litert(
    path: Path, task: Task, preprocessing: ImagePreprocessing | TextPreprocessing
) -> Callable[[Sequence[Any]], Outputs]:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
    infer = interpreter.get_signature_runner("serving_default")
    length = int(next(iter(infer.get_input_details().values()))["shape"][1])
    inputs_of = litert_inputs(preprocessing, length)
    labels = _read_labels(path.parent / LABELS_FILE) if task.labels else []
    output = "probabilities" if task.labels else "prediction"

    def run(batch: Sequence[Any]) -> Outputs:
        inputs = inputs_of(batch)
        rows = [
            infer(**{name: values[i : i + 1] for name, values in inputs.items()})[output][0]
            for i in range(len(batch))
        ]
        values = np.stack(rows)
        return values, [labels[i] for i in values.argmax(-1)] if labels else []

    return run


def litert_inputs(
    preprocessing: ImagePreprocessing | TextPreprocessing, length: int | None
) -> Callable[[Sequence[Any]], dict[str, np.ndarray[Any, Any]]]:
    """What an app must do itself: from raw inputs to the inputs of a LiteRT model, by name.

    Args:
        preprocessing: Of the model.
        length: Tokens the model takes (texts).
    """
    import tensorflow as tf

    from tltool.data.pipeline import model_inputs
    from tltool.data.text import TextPreprocessor

    if isinstance(preprocessing, ImagePreprocessing):
        return lambda batch: {IMAGE_INPUT: model_inputs(batch, preprocessing).numpy()}
    preprocessor = TextPreprocessor(preprocessing)

    def tokenized(batch: Sequence[Any]) -> dict[str, np.ndarray[Any, Any]]:
        texts = tf.constant([encoded(text, "text") for text in batch])
        return {name: t.numpy() for name, t in preprocessor(texts, length=length).items()}

    return tokenized


def _read_labels(path: Path) -> list[str]:
    if not path.is_file():
        raise ExportError(f"{path} is missing.", hint="keep the export folder together")
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")

"""What lies beside an exported model: labels, contract, golden examples, how to use it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tltool._version import __version__
from tltool.artifact import CONTRACT_FILE, LABELS_FILE, Artifact, encoded, task_to_dict
from tltool.data.examples import Examples
from tltool.errors import ExportError
from tltool.export.gate.check import evenly_spaced
from tltool.export.sidecars.tokenizer_file import TOKENIZER_FILE, has_tokenizer_file, tokenizer_json
from tltool.files import write_json, write_text
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.schema import LiteRTPrecision
from tltool.tasks import Task

GOLDEN_FILE = "golden.json"
GOLDEN_FOLDER = "golden"
GOLDEN_EXAMPLES = 3
VOCABULARY_FILE = "vocab.txt"
# Decimals of golden numbers: finer than any tolerance they are compared with.
DECIMALS = 7


def write_contract(
    folder: Path,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    *,
    form: Literal["saved_model", "litert"],
    precision: LiteRTPrecision,
    file: str,
    length: int | None,
) -> None:
    """Writes `contract.json`, `labels.txt` where there are labels, and a text's tokenizer.

    The tokenizer is `vocab.txt`, or `tokenizer.json` where a vocabulary alone does not do.

    Args:
        folder: The export folder.
        task: Labels or target scale.
        preprocessing: What happens to raw input before the model.
        form: Of the artifact.
        precision: Of its weights.
        file: Its name in `folder`.
        length: Tokens a text is padded to; None for images and for any length.

    Raises:
        ExportError: A label holds a line break, which `labels.txt` cannot.
    """
    contract = {
        "tltool": __version__,
        "format": form,
        "precision": precision,
        "file": file,
        "length": length,
        "task": task_to_dict(task),
        "preprocessing_digest": preprocessing.digest(),
        "preprocessing": preprocessing.model_dump(mode="json"),
    }
    write_json(folder / CONTRACT_FILE, contract)
    if task.labels:
        write_text(folder / LABELS_FILE, labels_text(task))
    if isinstance(preprocessing, TextPreprocessing):
        name, text = tokenizer_text(preprocessing, length)
        write_text(folder / name, text)


def labels_text(task: Task) -> str:
    """The labels, one a line.

    Raises:
        ExportError: A label holds a line break.
    """
    if broken := [label for label in task.labels if set("\r\n") & set(label)]:
        raise ExportError(
            f"The label {broken[0]!r} holds a line break; {LABELS_FILE} has one label a line.",
            hint="rename the class in the data",
        )
    return "".join(f"{label}\n" for label in task.labels)


def tokenizer_text(contract: TextPreprocessing, length: int | None) -> tuple[str, str]:
    """Name and content of the file that holds a text's tokenizer.

    Args:
        contract: Of the text.
        length: Tokens a text is padded to; None for any length.
    """
    if has_tokenizer_file(contract):
        values = tokenizer_json(contract, length)
        return TOKENIZER_FILE, json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    return VOCABULARY_FILE, "".join(f"{token}\n" for token in contract.vocabulary)


def write_golden(
    folder: Path, artifact: Artifact, examples: Examples, tolerance: float
) -> list[dict[str, Any]]:
    """Writes `golden.json`: raw inputs, an excerpt of the model's input, and outputs.

    An app's own test feeds the raw input through its own preprocessing and
    compares. Images are copied to `golden/`.

    Args:
        folder: The export folder.
        artifact: Gives the outputs.
        examples: A few, evenly spaced, become golden.
        tolerance: The gate's, for the reader.

    Returns:
        The golden rows as written.
    """
    few = examples.take(evenly_spaced(len(examples), GOLDEN_EXAMPLES))
    outputs, labels = artifact.predict_with_labels(few.inputs)
    excerpts = _input_excerpts(few.inputs, artifact.preprocessing)
    name = "probabilities" if artifact.task.labels else "prediction"
    golden = []
    for i, value in enumerate(few.inputs):
        stored = value if few.modality == "text" else _stored_image(folder, value, i)
        row: dict[str, Any] = {"input": stored}
        row["model_input"] = excerpts[i]
        row[name] = _rounded(outputs[i])
        golden.append(row | ({"label": labels[i]} if labels else {}))
    write_json(folder / GOLDEN_FILE, {"tolerance": tolerance, "examples": golden})
    return golden


def _stored_image(folder: Path, image: Any, number: int) -> str:
    """The name of an image's copy, relative to `folder`."""
    suffix = Path(image).suffix.lower() if isinstance(image, str) else ".png"
    copy = folder / GOLDEN_FOLDER / f"{number}{suffix}"
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(encoded(image, "image"))
    return copy.relative_to(folder).as_posix()


def _input_excerpts(
    raw: Sequence[Any], preprocessing: ImagePreprocessing | TextPreprocessing
) -> list[dict[str, Any]]:
    """The token ids without padding; or an image tensor's shape and a few of its pixels."""
    from tltool.data.pipeline import model_inputs

    inputs = model_inputs(raw, preprocessing)
    if isinstance(preprocessing, ImagePreprocessing):
        return [_pixels(image) for image in inputs.numpy()]
    padding = preprocessing.vocabulary.index(preprocessing.padding_token)
    ids_name = preprocessing.inputs[0]
    return [{ids_name: [int(i) for i in row if i != padding]} for row in inputs[ids_name].numpy()]


def _pixels(image: np.ndarray[Any, Any]) -> dict[str, Any]:
    height, width = image.shape[:2]
    spots = [(height // 4, width // 4), (height // 2, width // 2), (3 * height // 4, width // 4)]
    pixels = [
        {"row": row, "column": column, "values": _rounded(image[row, column])}
        for row, column in spots
    ]
    return {"shape": list(image.shape), "pixels": pixels}


def _rounded(values: Any) -> Any:
    return np.round(np.asarray(values, np.float64), DECIMALS).tolist()

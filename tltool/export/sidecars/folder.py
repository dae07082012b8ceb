"""What lies beside an exported model: labels, contract, golden examples, how to use it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.contract import GOLDEN_FILE, LABELS_FILE, Contract
from tltool.export.feeding import encoded
from tltool.export.outputs import Outputs
from tltool.export.sidecars.tokenizer_file import TOKENIZER_FILE, has_tokenizer_file, tokenizer_json
from tltool.support.errors import ExportError
from tltool.support.files import write_json, write_text
from tltool.tasks.stratify import evenly_spaced
from tltool.tasks.table import Task

GOLDEN_FOLDER = "golden"
GOLDEN_EXAMPLES = 3
VOCABULARY_FILE = "vocab.txt"
# Decimals of golden numbers in units of the target: finer than any tolerance of a comparison.
DECIMALS = 7


def write_contract(folder: Path, contract: Contract) -> None:
    """Writes `contract.json`, `labels.txt` where there are labels, and a text's tokenizer.

    The tokenizer is `vocab.txt`, or `tokenizer.json` where a vocabulary alone does not do.

    Args:
        folder: The export folder.
        contract: What it says of the model.

    Raises:
        ExportError: A label holds a line break, which `labels.txt` cannot.
    """
    contract.write(folder)
    if contract.task.labels:
        write_text(folder / LABELS_FILE, labels_text(contract.task))
    if isinstance(contract.preprocessing, TextPreprocessing):
        name, text = tokenizer_text(contract.preprocessing, contract.length)
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
    folder: Path, contract: Contract, examples: Examples, outputs: Outputs, tolerance: float
) -> list[dict[str, Any]]:
    """Writes `golden.json`: raw inputs, an excerpt of the model's input, and outputs.

    An app's own test feeds the raw input through its own preprocessing and
    compares. Images are copied to `golden/`, and beside each lies what it is
    when it has been resized: uint8 (height, width, 3) RGB, as `.npy`.

    Args:
        folder: The export folder.
        contract: Of the model in it.
        examples: Rows that the gate compared; a few, evenly spaced, become golden.
        outputs: What the model said of all of them, run as the gate runs it.
        tolerance: The gate's, for the reader.

    Returns:
        The golden rows as written.
    """
    rows = evenly_spaced(len(examples), GOLDEN_EXAMPLES)
    few, (values, labels) = examples.take(rows), outputs
    excerpts = _input_excerpts(few.inputs, contract.preprocessing)
    target = contract.task.target
    kept = target.golden(values[rows])
    decimals = DECIMALS - min(0, math.floor(math.log10(np.min(target.units))))
    golden = []
    for i, (row, value) in enumerate(zip(rows, few.inputs, strict=True)):
        stored = _stored_image(folder, value, i) if few.modality == "image" else value
        entry: dict[str, Any] = {"input": stored}
        if isinstance(contract.preprocessing, ImagePreprocessing):
            entry["resized"] = _stored_pixels(folder, value, i, contract.preprocessing)
        entry |= {
            "model_input": excerpts[i],
            target.golden_name: target.golden_row(kept[i], decimals),
        }
        if labels and target.answers_name:
            entry["label" if isinstance(labels[row], str) else target.answers_name] = labels[row]
        golden.append(entry)
    write_json(folder / GOLDEN_FILE, {"tolerance": tolerance, "examples": golden})
    return golden


def _stored_image(folder: Path, image: Any, number: int) -> str:
    """The name of an image's copy, relative to `folder`."""
    suffix = Path(image).suffix.lower() if isinstance(image, str) else ".png"
    copy = folder / GOLDEN_FOLDER / f"{number}{suffix}"
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(encoded(image, "image"))
    return copy.relative_to(folder).as_posix()


def _stored_pixels(folder: Path, image: Any, number: int, contract: ImagePreprocessing) -> str:
    """The name of the file with an image's resized pixels, relative to `folder`."""
    from tltool.data.batches.pipeline import resized_images

    file = folder / GOLDEN_FOLDER / f"{number}.npy"
    np.save(file, resized_images([image], contract)[0])
    return file.relative_to(folder).as_posix()


def _input_excerpts(
    raw: Sequence[Any], preprocessing: ImagePreprocessing | TextPreprocessing
) -> list[dict[str, Any]]:
    """The token ids without padding, of texts apart in two lists; or an image tensor's shape and
    a few of its pixels."""
    from tltool.data.batches.pipeline import model_inputs

    inputs = model_inputs(raw, preprocessing)
    if isinstance(preprocessing, ImagePreprocessing):
        return [_pixels(image) for image in inputs.numpy()]
    padding = preprocessing.vocabulary.index(preprocessing.padding_token)
    ids_name = preprocessing.inputs[0]
    rows = [[int(i) for i in row if i != padding] for row in inputs[ids_name].numpy()]
    if preprocessing.pair == "apart":
        return [{ids_name: rows[start : start + 2]} for start in range(0, len(rows), 2)]
    return [{ids_name: row} for row in rows]


def _pixels(image: np.ndarray[Any, Any]) -> dict[str, Any]:
    height, width = image.shape[:2]
    spots = [(height // 4, width // 4), (height // 2, width // 2), (3 * height // 4, width // 4)]
    pixels = [
        {"row": row, "column": column, "values": _rounded(image[row, column])}
        for row, column in spots
    ]
    return {"shape": list(image.shape), "pixels": pixels}


def _rounded(values: Any, decimals: int = DECIMALS) -> Any:
    return np.round(np.asarray(values, np.float64), decimals).tolist()

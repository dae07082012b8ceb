"""What an app said of an export's golden examples, from the file that it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.contract import GOLDEN_FILE, IMAGE_INPUT, Contract, read_fields
from tltool.support.errors import DataError, ExportError, did_you_mean
from tltool.support.files import read_json
from tltool.support.words import count, listed

Array = np.ndarray[Any, Any]
_HOW = "`goldenAnswers` (Python: `write_answers`) beside the export writes such a file"


class _Answer(BaseModel):
    outputs: Any
    label: str | list[str] | None = None
    input: Any = None


class _Answers(BaseModel):
    answers: list[_Answer]


class _Example(BaseModel, extra="allow"):
    input: str | list[str]


class _Golden(BaseModel):
    tolerance: float
    examples: list[_Example] = Field(min_length=1)


@dataclass(frozen=True)
class Golden:
    """An export's golden examples.

    Attributes:
        inputs: Texts, pairs of them, or the content of image files.
        outputs: What the model says of them, float64 (n, outputs).
        tolerance: The gate's.
    """

    inputs: list[Any]
    outputs: Array
    tolerance: float


@dataclass(frozen=True)
class Answers:
    """What an app said of each golden example.

    Attributes:
        outputs: In the order of the model's outputs, float64 (n, outputs).
        labels: What it named, if it did.
        inputs: The tensors that it fed, by name, flat; None where it does not say.
    """

    outputs: Array
    labels: list[Any] | None
    inputs: list[dict[str, Array]] | None


def read_golden(folder: Path, contract: Contract) -> Golden:
    """Reads the golden examples of an export folder.

    Raises:
        ExportError: They are missing or damaged.
    """
    file = folder / GOLDEN_FILE
    if not file.is_file():
        raise ExportError(f"{file} is missing.", hint="keep the export folder together")
    found, target = read_fields(file, _Golden), contract.task.target
    raw: list[Any] = [example.input for example in found.examples]
    if contract.task.spec.modality == "image":
        raw = [(folder / str(name)).read_bytes() for name in raw]
    try:
        kept = [(example.model_extra or {})[target.golden_name] for example in found.examples]
        outputs = np.asarray(target.from_golden(kept), np.float64).reshape(len(raw), -1)
    except (LookupError, TypeError, ValueError) as error:
        raise ExportError(f"{file} is damaged: {error}", hint="export again") from error
    return Golden(raw, outputs, found.tolerance)


def read_answers(file: Path, contract: Contract, golden: Golden) -> Answers:
    """Reads what an app said.

    Args:
        file: JSON: `{"answers": [{"outputs": …, "label": …, "input": …}, …]}`, an answer for each
            golden example. `outputs` is a number, a list, or a number by name; `label` and
            `input`, a list or a list by name, may be left out.
        contract: Of the export.
        golden: Its golden examples.

    Raises:
        DataError: It cannot be read, or does not fit the model; names the place.
    """
    try:
        found = _Answers.model_validate(read_json(file))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, f['loc'])) or 'all'}: {f['msg']}" for f in error.errors()]
        raise DataError("\n  ".join([f"{file} holds no answers:", *faults]), hint=_HOW) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}", hint=_HOW) from error
    answers, wanted = found.answers, len(golden.inputs)
    if len(answers) != wanted:
        raise DataError(
            f"{file} has {count(len(answers), 'answer')}; {GOLDEN_FILE} has "
            f"{count(wanted, 'example')}.",
            hint="run every golden example, in their order",
        )
    names = names_of(contract)
    width = golden.outputs.shape[1]
    outputs = [
        _outputs(one.outputs, names, width, f"{file}: answers.{row}.outputs")
        for row, one in enumerate(answers)
    ]
    labels = None if any(a.label is None for a in answers) else [a.label for a in answers]
    inputs = None
    if all(one.input is not None for one in answers):
        inputs = [
            _inputs(one.input, contract, f"{file}: answers.{row}.input")
            for row, one in enumerate(answers)
        ]
    return Answers(np.stack(outputs), labels, inputs)


def names_of(contract: Contract) -> tuple[str, ...]:
    """Names of the outputs, in their order; empty where they have none."""
    target = contract.task.target
    named: Any = target.program().constants.get("NAMES", ())
    return target.labels or tuple(named)


def input_names(preprocessing: ImagePreprocessing | TextPreprocessing) -> tuple[str, ...]:
    """Names of what is fed to the model."""
    if isinstance(preprocessing, ImagePreprocessing):
        return (IMAGE_INPUT,)
    return preprocessing.inputs


def _outputs(value: Any, names: Sequence[str], width: int, place: str) -> Array:
    if isinstance(value, Mapping):
        if unknown := [name for name in value if name not in names]:
            raise DataError(
                f"{place} names {listed(unknown)}; the model's outputs are {listed(names)}.",
                hint=did_you_mean(unknown[0], names) or "give the outputs as a list",
            )
        if missing := [name for name in names if name not in value]:
            raise DataError(f"{place} lacks {listed(missing)}.", hint="write all outputs")
        value = [value[name] for name in names]
    found = _numbers(value, place)
    if len(found) != width:
        raise DataError(
            f"{place} has {count(len(found), 'number')}; the model gives {width}.",
            hint="write the whole output tensor of this model, as it is",
        )
    return found


def _inputs(value: Any, contract: Contract, place: str) -> dict[str, Array]:
    names = input_names(contract.preprocessing)
    given = value if isinstance(value, Mapping) else {names[0]: value}
    if set(given) != set(names):
        raise DataError(
            f"{place} has {listed(list(given))}; the model takes {listed(names)}.",
            hint="write each tensor under its input's name, or leave `input` out",
        )
    return {name: _numbers(given[name], f"{place}.{name}") for name in names}


def _numbers(value: Any, place: str) -> Array:
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.array(None)
    if found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise DataError(
            f"{place} must hold finite numbers, in lists of one length.",
            hint="write numbers as JSON numbers",
        )
    return found.astype(np.float64).ravel()

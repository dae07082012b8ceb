"""What is measured: an exported model, and what it is to be compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tltool.export.contract import CONTRACT_FILE, ContractFields, check_files, read_fields
from tltool.runs.folder import RunFolder
from tltool.support.errors import ExportError, RunError

Form = Literal["litert", "saved_model", "keras"]
FORMS: tuple[Form, ...] = ("litert", "saved_model", "keras")


@dataclass(frozen=True)
class Subject:
    """One model to measure.

    Attributes:
        name: Of its export folder, of its file, or "keras".
        form: Which runtime runs it.
        path: A .tflite file, a SavedModel folder, or the folder of a run.
        folder: Holds its contract and golden examples; None where there are none.
        contract: What lies there as `contract.json`.
    """

    name: str
    form: Form
    path: Path
    folder: Path | None = None
    contract: ContractFields | None = field(default=None, compare=False, repr=False)


def subjects_of(path: Path, *, alone: bool = False) -> tuple[Subject, ...]:
    """The models to measure for a path.

    Args:
        path: A run: its Keras model and all its exports. An export folder, a
            SavedModel folder or a .tflite file: that model, and, where it lies
            in a run, the run's Keras model and its SavedModel.
        alone: Only the model itself.

    Raises:
        ExportError: There is no model that can be measured.
    """
    found = _artifact(path)
    if found is None:
        run = _run_at(path)
        return (_keras(run), *_exports(run))
    around = None if alone else _run_around(found)
    if around is None:
        return (found,)
    others = [s for s in _exports(around) if s.form == "saved_model" and s.name != found.name]
    return (found, *others, _keras(around))


def _artifact(path: Path) -> Subject | None:
    """The exported model at a path, or None."""
    if (path / CONTRACT_FILE).is_file():
        return _of_folder(path, _contract(path))
    is_saved_model = (path / "saved_model.pb").is_file()
    if not is_saved_model and not (path.suffix == ".tflite" and path.is_file()):
        return None
    if (path.parent / CONTRACT_FILE).is_file():
        contract = _contract(path.parent)
        if contract.file == path.name:
            return _of_folder(path.parent, contract)
    return Subject(path.name, "saved_model" if is_saved_model else "litert", path)


def _of_folder(folder: Path, contract: ContractFields) -> Subject:
    if contract.format == "onnx":
        raise ExportError(
            f"{folder} holds a model of the format {contract.format!r}, which is not measured.",
            hint=f"measured are {', '.join(FORMS)}",
        )
    name, path = folder.resolve().name, folder / contract.file
    return Subject(name, contract.format, path, folder, contract)


def _contract(folder: Path) -> ContractFields:
    check_files(folder)
    return read_fields(folder / CONTRACT_FILE, ContractFields)


def _run_at(path: Path) -> RunFolder:
    try:
        run = RunFolder.open(path)
    except RunError as error:
        raise ExportError(
            f"{path} is neither an exported model nor a run.",
            hint="give a run, an export folder, a SavedModel folder or a .tflite file",
        ) from error
    if not run.model.is_file():
        raise ExportError(f"The run {str(run.path)!r} has no model.", hint="train again")
    return run


def _run_around(subject: Subject) -> RunFolder | None:
    """The run whose exports a model is among."""
    if subject.folder is None:
        return None
    exports = subject.folder.resolve().parent
    try:
        run = RunFolder.open(exports.parent)
    except RunError:
        return None
    return run if run.exports.resolve() == exports and run.model.is_file() else None


def _keras(run: RunFolder) -> Subject:
    return Subject("keras", "keras", run.path)


def _exports(run: RunFolder) -> list[Subject]:
    folders = sorted(file.parent for file in run.exports.glob(f"*/{CONTRACT_FILE}"))
    found = ((folder, _contract(folder)) for folder in folders)
    return [_of_folder(folder, contract) for folder, contract in found if contract.format in FORMS]

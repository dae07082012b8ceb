"""Running exported models: a SavedModel folder or a model file with its `contract.json`."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.contract import CONTRACT_FILE, Contract, check_files
from tltool.export.feeding import BATCH_SIZE
from tltool.export.formats.table import FORMATS, format_of
from tltool.export.outputs import Outputs, Run
from tltool.support.errors import ExportError, first_line
from tltool.support.files import require_text
from tltool.support.machine import known_error
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Artifact:
    """An exported model, ready to run on raw inputs.

    Attributes:
        path: The model's file, or a SavedModel's folder.
        contract: What `contract.json` beside it says: format, inputs, outputs.
    """

    path: Path
    contract: Contract
    _run: Run = field(repr=False)

    @property
    def task(self) -> Task:
        """Labels or target scale, as exported."""
        return self.contract.task

    @property
    def preprocessing(self) -> ImagePreprocessing | TextPreprocessing:
        """The contract the artifact was exported with."""
        return self.contract.preprocessing

    @property
    def precision(self) -> str:
        """Of the weights, as in `tltool.recipe.export_section.LiteRTPrecision`."""
        return self.contract.precision

    def predict(self, inputs: Sequence[Any]) -> np.ndarray[Any, Any]:
        """What a user reads, as `Task.outputs` gives it: probabilities (n, labels), or numbers.

        Args:
            inputs: Texts; or images as paths, encoded bytes or uint8 arrays.

        Raises:
            DataError: They are one input alone, or some of them cannot be read.
        """
        return self.predict_with_labels(inputs)[0]

    def kept(self, examples: Examples) -> np.ndarray[Any, Any]:
        """As `predict`, and what `Target.kept` leaves of it."""
        import numpy as np

        target, parts = self.task.target, []
        for start in range(0, len(examples), BATCH_SIZE):
            rows = range(start, min(start + BATCH_SIZE, len(examples)))
            some = examples.take(rows)
            parts.append(target.kept(self.predict(some.inputs), some.targets, some.inputs))
        return np.concatenate(parts)

    def predict_with_labels(self, inputs: Sequence[Any]) -> Outputs:
        """As `predict`, and the name of each row's best class as the artifact itself says it.

        The names come from inside a SavedModel and from the `labels.txt` beside
        every other model; a row that can have several labels has a tuple of
        names, and numbers have none.
        """
        import numpy as np

        from tltool.data.reading.in_memory import inputs_from_python

        inputs = inputs_from_python(inputs, self.task.spec.modality, encoded=True)
        outputs: list[np.ndarray[Any, Any]] = []
        labels: list[str] = []
        for start in range(0, len(inputs), BATCH_SIZE):
            with _told(self.path, "run"):
                values, names = self._run(inputs[start : start + BATCH_SIZE])
            outputs.append(values)
            labels.extend(names)
        if not outputs:
            return self.task.target.blank[None][:0], []
        return np.concatenate(outputs), labels


def load_artifact(path: Path) -> Artifact:
    """Loads an export folder, the SavedModel folder in it, or the model file in it.

    Raises:
        ExportError: There is no such artifact, no readable `contract.json`
            beside it, or what its format needs is not installed.
    """
    path, contract = read_contract(path)
    with _told(path, "loaded"):
        run = FORMATS[contract.form].load(path, contract)
    return Artifact(path, contract, run)


@contextmanager
def _told(path: Path, done: str) -> Iterator[None]:
    """Tells of what a runtime raises on a file that it can't use; which errors, none documents.

    Errors that are known, and mistakes in tltool's own code, are left as they are.
    """
    try:
        yield
    except Exception as error:
        if known_error(error) is not None or _is_own_mistake(error):
            raise
        raise ExportError(
            f"{path} cannot be {done}: {first_line(error)}",
            hint="export again; `tltool inspect` shows what is in the file",
        ) from error


def _is_own_mistake(error: Exception) -> bool:
    """Whether an error that no file causes arose in a module of tltool."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    ours = frame.f_globals.get("__name__", "").startswith("tltool.")
    return ours and isinstance(error, AssertionError | AttributeError | NameError | TypeError)


def read_contract(path: Path) -> tuple[Path, Contract]:
    """Where an exported model itself is, and what its contract says; the model is not loaded.

    Takes the paths that `load_artifact` takes, and raises what it raises.
    """
    path = Path(path)
    require_text(path)
    folder = path if (path / CONTRACT_FILE).is_file() else _folder_of(path)
    check_files(folder)
    contract = Contract.read(folder)
    if path == folder:
        path = folder / contract.file
    form = format_of(path)
    if form is None or form != contract.form:
        raise ExportError(
            f"{path} is no {contract.form} model, as {CONTRACT_FILE} beside it says.",
            hint="keep the export folder together as it was made",
        )
    return path, contract


def is_artifact(path: Path) -> bool:
    """Whether `load_artifact` would take this path for an exported model."""
    return format_of(path) is not None or (path / CONTRACT_FILE).is_file()


def _folder_of(path: Path) -> Path:
    """The export folder of a model that is named itself."""
    if path.exists() and format_of(path) is not None:
        return path.parent
    kinds = ", ".join(f.suffix for f in FORMATS.values() if f.suffix)
    raise ExportError(
        f"{path} is not an exported model.",
        hint=f"give an export folder, a SavedModel folder, or a file ending in {kinds}",
    )

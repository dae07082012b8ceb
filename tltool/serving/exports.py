"""From what a user names to the SavedModel to serve, its name and its version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.artifact import is_artifact, read_contract
from tltool.runs.folder import MANIFEST, RunFolder
from tltool.support.errors import ExportError
from tltool.tasks.table import Task

_NAME = re.compile(r"[^/:\s]+")


@dataclass(frozen=True)
class ServedExport:
    """A SavedModel that tltool made, not loaded yet.

    Attributes:
        model: The SavedModel folder.
        task: Labels or target scale.
        preprocessing: What happens to raw input before the model.
        name, version: In the addresses it is served at.
        version_labels: Names of this version.
    """

    model: Path
    task: Task
    preprocessing: ImagePreprocessing | TextPreprocessing
    name: str
    version: int
    version_labels: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The export folder, with the golden examples."""
        return self.model.parent


def find_export(
    given: Path, *, name: str | None = None, version_labels: tuple[str, ...] = ()
) -> ServedExport:
    """The SavedModel of a run, or of an export folder.

    A run `runs/NAME/N` is served as NAME, version N; an export outside a run
    by the name of its folder, version 1.

    Args:
        given: A run's folder, `runs/NAME` for its newest run, an export folder
            or the SavedModel folder in it.
        name: Replaces the name.
        version_labels: Names of this version.

    Raises:
        ExportError: There is no SavedModel there, or the name cannot stand in an address.
        RunError: There is neither a run nor an export.
    """
    folder = given if is_artifact(given) else _export_of_run(given)
    model, contract = read_contract(folder)
    if contract.form != "saved_model":
        raise ExportError(
            f"{model} is not a SavedModel, and nothing else is served.",
            hint="export one with: tltool export RUN --format saved_model",
        )
    default, version = _name_and_version(model.resolve())
    name = name or default
    for word in (name, *version_labels):
        if not _NAME.fullmatch(word):
            raise ExportError(
                f"{word!r} cannot stand in an address: it has a slash, a colon or a space.",
                hint="choose another with --name or --label",
            )
    return ServedExport(model, contract.task, contract.preprocessing, name, version, version_labels)


def _export_of_run(given: Path) -> Path:
    run = RunFolder.open(given)
    folder = run.exports / "saved_model"
    if not is_artifact(folder):
        raise ExportError(
            f"The run {str(run.path)!r} has no SavedModel.",
            hint=f"make one with: tltool export {run.path} --format saved_model",
        )
    return folder


def _name_and_version(model: Path) -> tuple[str, int]:
    run = next((p for p in model.parents if (p / MANIFEST).is_file()), None)
    if run is not None and run.name.isdigit():
        return run.parent.name, int(run.name)
    return (run or model.parent).name, 1

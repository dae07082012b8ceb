"""Export folders: the model, its sidecars and the gate's report, each whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tltool.artifact import load_artifact
from tltool.data.examples import Examples
from tltool.errors import ExportError, GateError
from tltool.export.about import About
from tltool.export.gate.check import Reference, check_artifact, reference_of
from tltool.export.gate.fresh_process import FreshProcess
from tltool.export.gate.report import GateReport
from tltool.export.sidecars.folder import write_contract, write_golden
from tltool.export.sidecars.readme import readme
from tltool.files import atomic_path, write_json, write_text
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.schema import ExportSection, GateSection, LiteRTPrecision
from tltool.tasks import Task

if TYPE_CHECKING:
    import keras

GATE_FILE = "gate.json"
GATE_PAGE = "gate.md"
README_FILE = "README.md"


@dataclass(frozen=True)
class ExportTarget:
    """One artifact to make.

    Attributes:
        form: "saved_model" or "litert".
        precision: Of its weights.
    """

    form: Literal["saved_model", "litert"]
    precision: LiteRTPrecision = "float32"

    @property
    def folder(self) -> str:
        """Name of its export folder: `saved_model`, `litert_float16` …"""
        return self.form if self.form == "saved_model" else f"{self.form}_{self.precision}"

    @property
    def file(self) -> str:
        """Name of the model in that folder."""
        return "model" if self.form == "saved_model" else "model.tflite"


def export_targets(section: ExportSection) -> tuple[ExportTarget, ...]:
    """The artifacts an export section asks for, each once."""
    wanted = [
        ExportTarget(form, precision)
        for form in section.formats
        for precision in (section.precisions if form == "litert" else ("float32",))
    ]
    return tuple(dict.fromkeys(wanted))


def export_and_check(
    model: keras.Model,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    examples: Examples,
    folder: Path,
    *,
    section: ExportSection,
    length: int | None = None,
    about: About | None = None,
    keep_failed: bool = False,
    calibration: Examples | None = None,
) -> tuple[GateReport, ...]:
    """Exports every target of `section` to its own folder in `folder` and checks each.

    Args:
        model: Trained, functional, from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        preprocessing: Contract from raw input to the model's input.
        examples: Held-out rows for the gate; the golden examples come from them.
        folder: Holds the export folders. An earlier one of the same name is
            replaced once the new one is complete and has passed.
        section: Formats, precisions and tolerances.
        length: Tokens a LiteRT text model takes; null takes the contract's.
        about: Name, origin and licence, for the metadata of LiteRT files.
        keep_failed: Keep an artifact that the gate refuses.
        calibration: Training rows, of which `section.calibration_examples` are
            used where the precision is "int8".

    Returns:
        One report an artifact, in the order of `export_targets`.

    Raises:
        GateError: An artifact differs too much; the others are made all the same.
        ExportError: An artifact cannot be made or run, or there are no
            examples; the others are made all the same.
    """
    if isinstance(preprocessing, TextPreprocessing):
        length = length or preprocessing.max_length
    from tltool.export.calibration import balanced_rows

    if calibration is not None:
        calibration = balanced_rows(calibration, section.calibration_examples)
    reports: list[GateReport] = []
    errors: list[ExportError] = []
    with FreshProcess() as process:
        reference = reference_of(model, examples, task, preprocessing, section.gate)
        source = _Source(
            model,
            task,
            preprocessing,
            examples,
            reference,
            section.gate,
            length,
            process,
            calibration,
            about,
        )
        for target in export_targets(section):
            try:
                reports.append(_export_one(source, target, folder / target.folder, keep_failed))
            except _RefusedError as refused:
                reports.append(refused.report)
            except ExportError as error:
                # What the others are like is worth knowing all the same.
                errors.append(ExportError(f"{target.folder}: {error.message}", hint=error.hint))
    _raise_faults(reports, errors, folder if keep_failed else None)
    return tuple(reports)


def _raise_faults(reports: list[GateReport], errors: list[ExportError], kept: Path | None) -> None:
    """Tells of all that could not be made and all that was refused at once."""
    messages = [error.message for error in errors]
    if failed := [report for report in reports if not report.passed]:
        raise GateError(
            "\n".join([*messages, "The gate refused an exported model:", *map(str, failed)]),
            hint=f"the refused models are in {kept}"
            if kept
            else "they were removed; keep them with --keep-failed, or widen "
            f"the limits of {failed[0].precision} in export.gate",
        )
    if errors:
        raise ExportError("\n".join(messages), hint=errors[0].hint)


@dataclass(frozen=True)
class _Source:
    """What is exported, and what it is checked with."""

    model: keras.Model
    task: Task
    preprocessing: ImagePreprocessing | TextPreprocessing
    examples: Examples
    reference: Reference
    gate: GateSection
    length: int | None
    process: FreshProcess
    calibration: Examples | None
    about: About | None


class _RefusedError(Exception):
    """Leaves `atomic_path` without publishing the folder."""

    def __init__(self, report: GateReport) -> None:
        super().__init__(str(report))
        self.report = report


def _export_one(
    source: _Source, target: ExportTarget, destination: Path, keep_failed: bool
) -> GateReport:
    with atomic_path(destination) as folder:
        folder.mkdir()
        _write_model(source, target, folder)
        report = check_artifact(
            folder / target.file,
            source.reference,
            precision=target.precision,
            gate=source.gate,
            run=source.process.run,
        )
        write_json(folder / GATE_FILE, report.to_json())
        write_text(folder / GATE_PAGE, report.to_markdown())
        if not report.passed and not keep_failed:
            raise _RefusedError(report)
        _describe(source, target, folder, report)
    return report


def _write_model(source: _Source, target: ExportTarget, folder: Path) -> None:
    model, task, preprocessing = source.model, source.task, source.preprocessing
    # TensorFlow is imported by these modules.
    if target.form == "saved_model":
        from tltool.export.saved_model import export_saved_model

        export_saved_model(model, task, preprocessing, folder / target.file)
    else:
        from tltool.export.litert import export_litert

        export_litert(
            model,
            task,
            preprocessing,
            folder / target.file,
            precision=target.precision,
            length=source.length,
            calibration=source.calibration,
            about=source.about,
        )
    write_contract(
        folder,
        task,
        preprocessing,
        form=target.form,
        precision=target.precision,
        file=target.file,
        length=source.length if target.form == "litert" else None,
    )


def _describe(source: _Source, target: ExportTarget, folder: Path, report: GateReport) -> None:
    tolerance = report.tolerance.max_difference
    golden = write_golden(folder, load_artifact(folder), source.examples, tolerance)
    text = readme(
        target.form,
        source.task,
        source.preprocessing,
        title=f"{source.task.spec.name}: {target.folder}",
        example=golden[0]["input"],
        length=source.length,
    )
    write_text(folder / README_FILE, text)

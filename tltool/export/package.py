"""Export folders: the model, its sidecars and the gate's report, each whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.evaluation.drift.file import SKETCH_FILE
from tltool.evaluation.drift.inputs import Facts
from tltool.export.about import About
from tltool.export.contract import (
    IMAGE_INPUT,
    Contract,
    Example,
    contents_of_pairs,
    described_signatures,
)
from tltool.export.formats.base import Exported, ExportTarget
from tltool.export.formats.kept_float import KeptFloat
from tltool.export.formats.table import FORMATS, check_export_installed, export_targets
from tltool.export.gate.check import Reference, compare, reference_of
from tltool.export.gate.fresh_process import FreshProcess
from tltool.export.gate.report import GATE_FILE, GATE_PAGE, GateReport
from tltool.export.outputs import Outputs
from tltool.export.sidecars.folder import write_contract, write_golden
from tltool.export.sidecars.readme import readme
from tltool.export.sidecars.sketch import sketch_facts, sketch_rows
from tltool.export.sidecars.snippets import write_snippets
from tltool.recipe.export_faults import export_faults
from tltool.recipe.export_section import ExportSection, GateSection
from tltool.support import stopping
from tltool.support.errors import ExportError, GateError, RecipeError
from tltool.support.files import atomic_path, require_text, write_json, write_text
from tltool.support.sums import write_sums
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import keras

    from tltool.evaluation.inference import Forward

README_FILE = "README.md"


def export_outcomes(
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
    forward: Forward | None = None,
) -> dict[ExportTarget, GateReport | ExportError]:
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
        calibration: Training rows, of which `section.calibration_examples` and
            a third more are used where the precision is "int8".
        forward: Of the model, where one has been traced.

    Returns:
        What the gate found of each, whether it passed or not, or why it cannot
        be made or run, in the order of `export_targets`.

    Raises:
        RecipeError: Options that are not for the task, or a missing extra.
        ExportError: There are no examples.
        TltoolError: The folder's path is not valid Unicode.
    """
    check_options(section, task)
    require_text(folder)
    if isinstance(preprocessing, TextPreprocessing):
        length = length or preprocessing.max_length
    # TensorFlow is imported by this.
    from tltool.export.formats.litert.calibration import balanced_rows

    if calibration is not None:
        # And a third more, to try on what the ranges were not measured on.
        calibration = balanced_rows(calibration, section.calibration_examples * 4 // 3)
    with FreshProcess() as process, ExitStack() as unfinished:
        reference = reference_of(model, examples, task, preprocessing, section.gate, forward)
        made = Exported(
            model,
            task,
            preprocessing,
            length,
            calibration,
            section.int8,
            section.litert_runtime,
            about,
        )
        facts = sketch_facts(reference.rows)
        check = _Check(reference, facts, section.gate, process.start, keep_failed)
        return _outcomes(made, export_targets(section), folder, check, unfinished)


def _outcomes(
    made: Exported,
    targets: Sequence[ExportTarget],
    folder: Path,
    check: _Check,
    unfinished: ExitStack,
) -> dict[ExportTarget, GateReport | ExportError]:
    """What came of each target: each is run by the gate while the next one is written."""
    outcomes: dict[ExportTarget, GateReport | ExportError] = {}
    running: _Running | None = None
    for target in targets:
        stopping.check()
        begun = _begun(made, target, folder / target.folder, check)
        if running is not None:
            outcomes[running.target] = _finished(made, running, check)
        running = None
        if isinstance(begun, ExportError):
            # What the others are like is worth knowing all the same.
            outcomes[target] = begun
        else:
            running = begun
            unfinished.push(running.publishing)
    if running is not None:
        outcomes[running.target] = _finished(made, running, check)
    return {target: outcomes[target] for target in targets}


def check_options(section: ExportSection, task: Task) -> None:
    """Refuses what `tltool.recipe.export_faults` refuses in a recipe, and missing extras.

    Raises:
        RecipeError: Names every fault.
    """
    if faults := list(export_faults(dict(section), task.spec)):
        raise RecipeError("The export cannot be made:", faults=faults)
    check_export_installed(section.formats)


def require_passed(
    outcomes: Mapping[ExportTarget, GateReport | ExportError], kept: Path | None
) -> tuple[GateReport, ...]:
    """The reports of artifacts that all passed.

    Args:
        outcomes: As `export_outcomes` gives them.
        kept: Where refused artifacts are; None where they were removed.

    Raises:
        GateError, ExportError: Tells of all that was refused and all that could not be made.
    """
    reports = [found for found in outcomes.values() if isinstance(found, GateReport)]
    errors = {target: found for target, found in outcomes.items() if isinstance(found, ExportError)}
    messages = [f"{target.folder}: {error.message}" for target, error in errors.items()]
    if failed := [report for report in reports if not report.passed]:
        raise GateError(
            "\n".join([*messages, "The gate refused an exported model:", *map(str, failed)]),
            hint=f"the refused models are in {kept}"
            if kept
            else "they were removed; keep them with --keep-failed, or widen "
            f"the limits of {failed[0].precision} in export.gate",
        )
    if errors:
        raise ExportError("\n".join(messages), hint=next(iter(errors.values())).hint)
    return tuple(reports)


@dataclass(frozen=True)
class _Check:
    """How every artifact is checked, and what its sketch says of the inputs, if it has one."""

    reference: Reference
    facts: Facts | None
    gate: GateSection
    start: Callable[[Path, Sequence[Any]], Future[Outputs]]
    keep_failed: bool


@dataclass(frozen=True)
class _Running:
    """An artifact that is written, and that the gate runs.

    Attributes:
        target: Format and precision.
        folder: Where it is until it has passed.
        contract: What is in it.
        kept_float: What it keeps in float, where that was decided.
        outputs: Of the rows of the reference.
        publishing: Gives the folder its name where it is left without an exception.
    """

    target: ExportTarget
    folder: Path
    contract: Contract
    kept_float: KeptFloat | None
    outputs: Future[Outputs]
    publishing: ExitStack


class _RefusedError(Exception):
    """Leaves `atomic_path` without publishing the folder."""

    def __init__(self, report: GateReport) -> None:
        super().__init__(str(report))
        self.report = report


def _begun(
    made: Exported, target: ExportTarget, destination: Path, check: _Check
) -> _Running | ExportError:
    """Writes an artifact and has the gate begin to run it; or why it can't be made."""
    try:
        with ExitStack() as publishing:
            folder = publishing.enter_context(atomic_path(destination))
            folder.mkdir()
            contract, kept_float = write_model(made, target, folder)
            outputs = check.start(folder / target.file, check.reference.rows.inputs)
            return _Running(target, folder, contract, kept_float, outputs, publishing.pop_all())
    except ExportError as error:
        return error


def _finished(made: Exported, running: _Running, check: _Check) -> GateReport | ExportError:
    """Waits for what an artifact says, compares it, and publishes the artifact if it passes."""
    try:
        with running.publishing:
            return _compared(made, running, check)
    except _RefusedError as refused:
        return refused.report
    except ExportError as error:
        return error


def _compared(made: Exported, running: _Running, check: _Check) -> GateReport:
    """What the gate finds; completes the export folder.

    Raises:
        _RefusedError: The artifact differs too much.
        ExportError: It cannot be loaded or run.
    """
    target, folder, contract = running.target, running.folder, running.contract
    rows, outputs = check.reference.rows, running.outputs.result()
    report = compare(
        folder / target.file,
        check.reference,
        outputs,
        precision=target.precision,
        gate=check.gate,
        resizes=contract.takes == "image",
    )
    report = replace(report, kept_float=running.kept_float)
    write_json(folder / GATE_FILE, report.to_json())
    write_text(folder / GATE_PAGE, report.to_markdown())
    if not report.passed and not check.keep_failed:
        raise _RefusedError(report)
    golden = write_golden(folder, contract, rows, outputs, report.tolerance.max_difference)
    sketch_rows(folder, contract.task.target, rows, check.facts, outputs)
    title = f"{made.task.spec.name}: {target.folder}"
    origin = "" if made.about is None else made.about.description
    write_guide(folder, contract, title=title, example=golden[0]["input"], origin=origin)
    return report


def write_model(
    made: Exported, target: ExportTarget, folder: Path
) -> tuple[Contract, KeptFloat | None]:
    """Writes a model and what is needed to run it: contract, labels, tokenizer, sums.

    Args:
        made: What is exported.
        target: Format and precision.
        folder: Exists.

    Raises:
        ExportError: The model cannot be made, or a label holds a line break.
    """
    form, path = target.form, folder / target.file
    made = replace(made, task=made.task.held_in(target.precision))
    kept_float = form.write(made, target, path)
    contents = {IMAGE_INPUT: target.options.image, **contents_of_pairs(made.preprocessing)}
    found = form.inspect(path)
    contract = Contract(
        form=form.name,
        precision=target.precision,
        file=target.file,
        task=made.task,
        preprocessing=made.preprocessing,
        length=form.fixed_length(made, target),
        signatures=described_signatures(found.signatures, made.task, contents),
        modules=form.modules(path),
        runtime=found.runtime,
    )
    write_contract(folder, contract)
    write_sums(folder)
    return contract, kept_float


def write_guide(
    folder: Path, contract: Contract, *, title: str, example: Example, origin: str = ""
) -> None:
    """Writes the README, code for apps where the format has it, and the sums of all files.

    Args:
        folder: The export folder.
        contract: Of the model in it.
        title: Heading.
        example: A text, or the path of an image in the export folder.
        origin: What the model was made from, in sentences.
    """
    form = FORMATS[contract.form]
    snippets = form.snippets(contract)
    usage = form.usage(contract, example)
    page = readme(
        contract,
        title=title,
        about=form.about,
        origin=origin,
        usage=usage,
        snippets=snippets,
        sketch=(folder / SKETCH_FILE).is_file(),
    )
    write_text(folder / README_FILE, page)
    write_snippets(folder, snippets)
    write_sums(folder)

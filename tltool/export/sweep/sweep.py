"""`tltool quantize`: every LiteRT precision of a trained model through the same gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.about import About
from tltool.export.contract import Contract
from tltool.export.feeding import single_inputs
from tltool.export.formats.base import ExportTarget
from tltool.export.formats.litert.format import LiteRTFormat
from tltool.export.gate.report import GateReport
from tltool.export.package import export_outcomes
from tltool.export.sweep.choice import Candidate, Sweep, points
from tltool.export.sweep.latency import latencies
from tltool.recipe.export_section import ExportSection
from tltool.report.plots import TradeOff, trade_off
from tltool.support.errors import ExportError
from tltool.support.files import atomic_path, scratch_folder, write_json
from tltool.tasks.reports import Score
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import keras

    from tltool.evaluation.inference import Forward

SWEEP_FILE = "quantize.json"
SWEEP_PLOT = "quantize.png"


@dataclass(frozen=True)
class Limits:
    """What a precision must keep to be chosen.

    Attributes:
        max_drop: Most the accuracy may fall, or the mean absolute error rise
            in standard deviations of the training targets.
        max_latency_ms: Longest median time for one example; None is any.
        threads: For the interpreters while they are timed.

    Raises:
        ExportError: A limit is negative or not a number, which would let all pass.
    """

    max_drop: float = 0.01
    max_latency_ms: float | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        latency = 0.0 if self.max_latency_ms is None else self.max_latency_ms
        if not (self.max_drop >= 0 and latency >= 0 and self.threads >= 1):
            raise ExportError(
                f"{self} is no limit: a drop and a latency of 0 or more and 1 thread or more are "
                "needed."
            )


def sweep_precisions(
    model: keras.Model,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    examples: Examples,
    folder: Path,
    *,
    section: ExportSection,
    limits: Limits,
    calibration: Examples,
    about: About | None = None,
    forward: Forward | None = None,
) -> Sweep:
    """Makes every LiteRT precision, checks and times it, and keeps those that pass.

    Writes an export folder for each that passes into `folder / "exports"`, and
    `quantize.json` and `quantize.png` into `folder`, each whole or not at all.

    Args:
        model: Trained, functional, from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        preprocessing: Contract of the model.
        examples: Held-out rows.
        folder: The run's.
        section: How int8 is made and how far an artifact may be off. Where it
            does not set the fall of the metric, `limits.max_drop` does.
        limits: For the choice.
        calibration: Training rows.
        about: Name, origin and licence for the metadata.
        forward: Of the model, where one has been traced.
    """
    with scratch_folder("quantize", folder) as made:
        outcomes = export_outcomes(
            model,
            task,
            preprocessing,
            examples,
            made,
            section=_all_precisions(section, limits.max_drop),
            about=about,
            # Also of those that are refused one wants to know how fast they are.
            keep_failed=True,
            calibration=calibration,
            forward=forward,
        )
        candidates = _timed(outcomes, made, examples, limits)
        sweep = Sweep(candidates, limits.max_drop, limits.max_latency_ms, limits.threads)
        for target, found in outcomes.items():
            if isinstance(found, GateReport) and found.passed:
                with atomic_path(folder / "exports" / target.folder) as place:
                    (made / target.folder).rename(place)
    _write(sweep, folder, task.target.headline())
    return sweep


def _all_precisions(section: ExportSection, max_drop: float) -> ExportSection:
    drops = dict.fromkeys(LiteRTFormat.precisions[1:], max_drop) | section.gate.max_metric_drop
    gate = section.gate.model_copy(update={"max_metric_drop": drops})
    # A model that resizes in 8 bits is refused.
    resizes = section.litert_input == "uint8_any_size"
    precisions = tuple(p for p in LiteRTFormat.precisions if not (resizes and p == "int8"))
    wanted = {"formats": (LiteRTFormat.name,), "precisions": precisions, "gate": gate}
    return section.model_copy(update=wanted)


def _timed(
    outcomes: dict[ExportTarget, GateReport | ExportError],
    made: Path,
    examples: Examples,
    limits: Limits,
) -> tuple[Candidate, ...]:
    candidates = {
        target: Candidate(target.precision, report=found)
        if isinstance(found, GateReport)
        else Candidate(target.precision, error=found.message)
        for target, found in outcomes.items()
    }
    ran = [target for target, candidate in candidates.items() if candidate.report]
    if not ran:
        return tuple(candidates.values())
    contract = Contract.read(made / ran[0].folder)
    inputs_of = single_inputs(contract.preprocessing, contract.length, contract.takes)
    inputs = next(iter(inputs_of(examples.inputs[:1])))
    files = [made / target.folder / target.file for target in ran]
    for target, taken in zip(ran, latencies(files, inputs, threads=limits.threads), strict=True):
        candidates[target] = replace(candidates[target], latency_ms=taken)
    return tuple(candidates.values())


def _write(sweep: Sweep, folder: Path, score: Score) -> None:
    write_json(folder / SWEEP_FILE, sweep.to_json())
    drawn = [_point(candidate, sweep) for candidate in points(sweep.candidates)]
    if drawn:
        metric = next(c.report.metric for c in sweep.candidates if c.report and c.report.metric)
        trade_off(drawn, score, metric.model, folder / SWEEP_PLOT)


def _point(candidate: Candidate, sweep: Sweep) -> TradeOff:
    report = candidate.report
    if report is None or report.metric is None:
        raise ValueError(f"{candidate.precision} has no metric to draw")
    return TradeOff(
        name=candidate.precision,
        size_bytes=report.size_bytes,
        latency_ms=candidate.latency_ms,
        value=report.metric.artifact,
        interval=report.metric.interval,
        passed=report.passed,
        chosen=candidate is sweep.chosen,
    )

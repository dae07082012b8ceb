"""The gate: an exported artifact must say what the trained model says, on real rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.artifact import Outputs, load_artifact
from tltool.data.examples import Examples
from tltool.errors import ExportError
from tltool.export.comparison import Comparison, breaches
from tltool.export.gate_report import GateReport
from tltool.export.tolerance import tolerance_for
from tltool.files import size_of
from tltool.inference import model_outputs
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.schema import GateSection, LiteRTPrecision
from tltool.tasks import Task

if TYPE_CHECKING:
    import keras

Runner = Callable[[Path, Sequence[Any]], Outputs]
"""Runs an artifact on raw inputs; gives its outputs and the name of each best class."""


def run_here(artifact_path: Path, inputs: Sequence[Any]) -> Outputs:
    """Runs an artifact in this process; see `Artifact.predict_with_labels`."""
    return load_artifact(artifact_path).predict_with_labels(inputs)


def check_artifact(
    artifact_path: Path,
    model: keras.Model,
    examples: Examples,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    *,
    precision: LiteRTPrecision,
    gate: GateSection,
    run: Runner = run_here,
) -> GateReport:
    """Compares an artifact, run its own way from raw inputs, with the trained model.

    Args:
        artifact_path: SavedModel folder or .tflite file, sidecars beside it.
        model: The trained model, from preprocessed inputs to raw outputs. One
            of mixed precision is computed in float32, as artifacts are.
        examples: Held-out rows; at most `gate.examples`, evenly spaced, are used.
        task: Labels or target scale of the trained model.
        preprocessing: Contract of the trained model.
        precision: Of the artifact's weights; chooses the default tolerance.
        gate: Number of rows, and tolerances that replace the defaults.
        run: How the artifact is run; see `tltool.export.fresh_process`.

    Raises:
        ExportError: There is no row to compare, or the artifact cannot be loaded.
    """
    if len(examples) == 0:
        raise ExportError(
            "The export gate needs held-out examples and there are none.",
            hint="set data.validation_fraction or data.test_fraction above 0",
        )
    from tltool.model import to_float32

    rows = examples.take(evenly_spaced(len(examples), gate.examples))
    received, names = run(artifact_path, rows.inputs)
    expected = model_outputs(to_float32(model), rows, task, preprocessing)
    if received.shape != expected.shape:
        raise ExportError(
            f"{artifact_path.name} gives outputs of shape {received.shape}, "
            f"the trained model {expected.shape}."
        )
    comparison = Comparison(task, rows, expected, received, names)
    differences = comparison.differences()
    largest, logits = float(differences.max()), comparison.logit_difference()
    agreement = float(comparison.same_class().mean()) if task.labels else None
    metric, tolerance = comparison.metric(), tolerance_for(precision, gate)
    return GateReport(
        artifact=artifact_path.name,
        precision=precision,
        size_bytes=size_of(artifact_path),
        rows=len(rows),
        max_difference=largest,
        mean_difference=float(differences.mean()),
        max_logit_difference=logits,
        agreement=agreement,
        metric=metric,
        tolerance=tolerance,
        spread=comparison.spread,
        breaches=tuple(breaches(tolerance, len(rows), largest, logits, agreement, metric)),
        worst=comparison.worst(),
    )


def evenly_spaced(total: int, most: int) -> list[int]:
    """At most `most` row numbers out of `total`, spread over all of them."""
    count = min(total, most)
    return [i * total // count for i in range(count)]

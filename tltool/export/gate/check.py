"""The gate: an exported artifact must say what the trained model says, on real rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.evaluation.inference import Forward
from tltool.export.artifact import load_artifact
from tltool.export.gate.comparison import Comparison, breaches
from tltool.export.gate.report import GateReport
from tltool.export.gate.tolerance import tolerance_for
from tltool.export.outputs import Outputs
from tltool.recipe.export_section import GateSection, LiteRTPrecision
from tltool.support.errors import ExportError
from tltool.support.files import size_of
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import keras
    import numpy as np

_MOST_NUMBERS = 2**25
"""Of the outputs of all compared rows together: 134 MB."""
Runner = Callable[[Path, Sequence[Any]], Outputs]
"""Runs an artifact on raw inputs; gives its outputs and the name of each best class."""


def run_here(artifact_path: Path, inputs: Sequence[Any]) -> Outputs:
    """Runs an artifact in this process; see `Artifact.predict_with_labels`."""
    return load_artifact(artifact_path).predict_with_labels(inputs)


@dataclass(frozen=True)
class Reference:
    """What artifacts are compared with.

    Attributes:
        task: Of the trained model.
        rows: Held-out rows.
        outputs: The trained model's, as `Task.outputs` gives them.
    """

    task: Task
    rows: Examples
    outputs: np.ndarray[Any, Any]


def reference_of(
    model: keras.Model,
    examples: Examples,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    gate: GateSection,
    forward: Forward | None = None,
) -> Reference:
    """Runs the trained model, once for all of its artifacts.

    Args:
        model: From preprocessed inputs to raw outputs. One of mixed precision
            is computed in float32, as artifacts are.
        examples: Held-out rows; at most `gate.examples`, evenly spaced, are used, and of
            outputs as large as masks as many as fit into `_MOST_NUMBERS`.
        task: Labels or target scale.
        preprocessing: Contract of the model.
        gate: Number of rows.
        forward: Of the same model, where one has been traced.

    Raises:
        ExportError: There is no row to compare.
    """
    if len(examples) == 0:
        raise ExportError(
            "The export gate needs held-out examples and there are none.",
            hint="set data.validation_fraction or data.test_fraction above 0",
        )
    import numpy as np

    from tltool.model.joining import is_mixed, to_float32

    if forward is None or is_mixed(model):
        forward = Forward(to_float32(model), preprocessing)
    most = max(1, _MOST_NUMBERS // prod(size or 1 for size in model.output_shape[1:]))
    rows = examples.take(examples.kind.some(examples.targets, min(gate.examples, most)))
    return Reference(task, rows, np.asarray(task.outputs(forward(rows))))


def check_artifact(
    artifact_path: Path,
    reference: Reference,
    *,
    precision: LiteRTPrecision,
    gate: GateSection,
    run: Runner = run_here,
) -> GateReport:
    """Compares an artifact, run its own way from raw inputs, with the trained model.

    Args:
        artifact_path: The model's file, or a SavedModel's folder; sidecars beside it.
        reference: What the trained model says.
        precision: Of the artifact's weights; chooses the default tolerance.
        gate: Tolerances that replace the defaults.
        run: How the artifact is run; see `tltool.export.gate.fresh_process`.

    Raises:
        ExportError: The artifact cannot be loaded or run.
    """
    outputs = run(artifact_path, reference.rows.inputs)
    return compare(artifact_path, reference, outputs, precision=precision, gate=gate)


def compare(
    artifact_path: Path,
    reference: Reference,
    outputs: Outputs,
    *,
    precision: LiteRTPrecision,
    gate: GateSection,
    resizes: bool = False,
) -> GateReport:
    """What the gate finds of an artifact that was run; see `check_artifact`.

    Args:
        artifact_path: The model's file or folder, for its name and size.
        reference: What the trained model says.
        outputs: What the artifact says of the same rows.
        precision: Of its weights.
        gate: Tolerances that replace the defaults.
        resizes: Whether the artifact resizes images by itself.

    Raises:
        ExportError: The outputs are of another shape than the model's.
    """
    rows, expected = reference.rows, reference.outputs
    received, names = outputs
    if received.shape != expected.shape:
        raise ExportError(
            f"{artifact_path.name} gives outputs of shape {received.shape}, "
            f"the trained model {expected.shape}."
        )
    comparison = Comparison(reference.task, rows, expected, received, names)
    tolerance = tolerance_for(precision, gate, resizes=resizes)
    return GateReport(
        artifact=artifact_path.name,
        precision=precision,
        size_bytes=size_of(artifact_path),
        rows=len(rows),
        max_difference=float(comparison.differences.max()),
        mean_difference=float(comparison.differences.mean()),
        max_logit_difference=comparison.logit_difference,
        agreement=comparison.agreement,
        same=reference.task.target.same_answer,
        unit=reference.task.target.drop_unit,
        metric=comparison.metric,
        acceptance=comparison.acceptance,
        tolerance=tolerance,
        spread=comparison.spread,
        breaches=tuple(breaches(comparison, tolerance)),
        worst=comparison.worst(),
    )

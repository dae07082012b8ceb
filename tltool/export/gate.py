"""The gate: an exported artifact must say what the trained model says, on real rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tltool.artifact import load_artifact
from tltool.data.examples import Examples
from tltool.errors import ExportError
from tltool.inference import model_outputs
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.schema import GateSection, LiteRTPrecision
from tltool.tasks import Task

if TYPE_CHECKING:
    import keras

Array = np.ndarray[Any, Any]
WORST_ROWS = 5


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from the trained model.

    Attributes:
        max_difference: Of any probability, or of a prediction in standard
            deviations of the training targets.
        min_agreement: Share of rows with the same top class.
    """

    max_difference: float
    min_agreement: float


# What each precision needs: about twice the difference measured for float16 and
# int8, more for float32. Measured once, with one briefly trained head each, on 150
# held-out rows of banking77 (MiniLM) and trash6 (EfficientNet-Lite0). Largest
# difference and agreement:
#   precision     MiniLM          Lite0           reason
#   float32       1.2e-6  1.0     6.9e-6  1.0     the same arithmetic in another order
#   float16       1.1e-3  1.0     1.4e-2  1.0     weights rounded to 11 bits
#   dynamic_int8  6.6e-2  1.0     2.0e-1  0.978   weights to 8 bits, activations at run time
TOLERANCES: dict[LiteRTPrecision, Tolerance] = {
    "float32": Tolerance(1e-4, 1.0),
    "float16": Tolerance(0.03, 0.98),
    "dynamic_int8": Tolerance(0.4, 0.9),
}
# Top classes this close in probability count as tied.
TIE = 2e-4


@dataclass(frozen=True)
class WorstRow:
    """A row where the artifact is far off: its origin and both outputs."""

    origin: str
    difference: float
    expected: str
    received: str


@dataclass(frozen=True)
class GateReport:
    """What comparing an artifact with the trained model gave.

    Attributes:
        artifact: File or folder name of the artifact.
        precision: Of its weights.
        rows: Held-out rows compared.
        max_difference, mean_difference: Of the probabilities, or of the
            predictions in standard deviations of the training targets.
        agreement: Share of rows with the same top class by name (ties count
            as the same); None for regression.
        tolerance: What was allowed.
        spread: Largest change of any output between two of the rows. Where it
            is no larger than the tolerance the comparison proves nothing.
        passed: Whether the artifact is within the tolerance.
        worst: The rows that differ most, worst first.
    """

    artifact: str
    precision: LiteRTPrecision
    rows: int
    max_difference: float
    mean_difference: float
    agreement: float | None
    tolerance: Tolerance
    spread: float
    passed: bool
    worst: tuple[WorstRow, ...]

    @property
    def conclusive(self) -> bool:
        """Whether the rows differ enough for a wrong artifact to be noticed."""
        return self.spread > self.tolerance.max_difference

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; a difference that is not a number becomes null."""
        values = asdict(self) | {"conclusive": self.conclusive}
        for row in (values, *values["worst"]):
            row.update({k: None for k, v in row.items() if isinstance(v, float) and math.isnan(v)})
        return values

    def __str__(self) -> str:
        lines = [
            f"{self.artifact} ({self.precision}): {'passed' if self.passed else 'FAILED'} "
            f"on {self.rows} rows",
            f"  largest difference  {self.max_difference:.2g} "
            f"(allowed {self.tolerance.max_difference:.2g}), mean {self.mean_difference:.2g}",
        ]
        if self.agreement is not None:
            lines.append(
                f"  same top class      {self.agreement:.1%} "
                f"(at least {self.tolerance.min_agreement:.1%})"
            )
        if not self.conclusive:
            lines.append("  the model says nearly the same for every row: this proves little")
        if not self.passed:
            lines += [
                f"  {row.origin}: {row.received}, the trained model says {row.expected}"
                for row in self.worst
            ]
        return "\n".join(lines)


def check_artifact(
    artifact_path: Path,
    model: keras.Model,
    examples: Examples,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    *,
    precision: LiteRTPrecision,
    gate: GateSection,
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
    received, names = load_artifact(artifact_path).predict_with_labels(rows.inputs)
    expected = model_outputs(to_float32(model), rows, task, preprocessing)
    if received.shape != expected.shape:
        raise ExportError(
            f"{artifact_path.name} gives outputs of shape {received.shape}, "
            f"the trained model {expected.shape}."
        )
    comparison = _Comparison(task, expected, received, names)
    tolerance = _tolerance(precision, gate)
    return comparison.report(artifact_path.name, precision, tolerance, rows.origins)


def evenly_spaced(total: int, most: int) -> list[int]:
    """At most `most` row numbers out of `total`, spread over all of them."""
    count = min(total, most)
    return [i * total // count for i in range(count)]


def _tolerance(precision: LiteRTPrecision, gate: GateSection) -> Tolerance:
    default = TOLERANCES[precision]
    return Tolerance(
        gate.max_difference.get(precision, default.max_difference),
        gate.min_agreement.get(precision, default.min_agreement),
    )


@dataclass(frozen=True)
class _Comparison:
    """Both models' outputs on the same rows, and the artifact's label names."""

    task: Task
    expected: Array
    received: Array
    names: list[str]

    def report(
        self,
        artifact: str,
        precision: LiteRTPrecision,
        tolerance: Tolerance,
        origins: Sequence[str],
    ) -> GateReport:
        unit = 1.0 if self.task.labels else self.task.target_std
        differences = np.abs(self.received - self.expected).reshape(len(origins), -1) / unit
        same = self.same_class()
        agreement = float(same.mean()) if self.task.labels else None
        largest = float(differences.max())
        return GateReport(
            artifact=artifact,
            precision=precision,
            rows=len(origins),
            max_difference=largest,
            mean_difference=float(differences.mean()),
            agreement=agreement,
            tolerance=tolerance,
            spread=float(np.ptp(self.expected, axis=0).max() / unit),
            # Written so that a difference that is not a number fails.
            passed=largest <= tolerance.max_difference
            and (agreement is None or agreement >= tolerance.min_agreement),
            worst=self.worst(differences.max(axis=1), same, origins),
        )

    def same_class(self) -> Array:
        """Where the artifact names the trained model's top class or one tied with it."""
        if not self.task.labels:
            return np.ones(len(self.expected), bool)
        index = {label: i for i, label in enumerate(self.task.labels)}
        pairs = zip(self.expected, self.names, strict=True)
        return np.array([n in index and row[index[n]] >= row.max() - TIE for row, n in pairs])

    def worst(self, per_row: Array, same: Array, origins: Sequence[str]) -> tuple[WorstRow, ...]:
        """Rows with another class first, then by difference."""
        badness = np.nan_to_num(per_row, nan=np.inf) + ~same
        return tuple(
            WorstRow(
                origin=origins[row],
                difference=float(per_row[row]),
                expected=self.shown(self.expected[row], None),
                received=self.shown(self.received[row], self.names[row] if self.names else None),
            )
            for row in np.argsort(-badness, kind="stable")[:WORST_ROWS]
        )

    def shown(self, output: Array, name: str | None) -> str:
        """One row's output in a few characters."""
        if not self.task.labels:
            return f"{output:.6g}"
        return f"{name or self.task.labels[output.argmax()]} {output.max():.4f}"

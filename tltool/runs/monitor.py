"""Whether new data is like the data that an exported model was measured on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.reading.rows import Row
from tltool.evaluation.drift.file import read_sketch
from tltool.evaluation.drift.inputs import facts_of
from tltool.evaluation.drift.rows import truth_of, watched_rows
from tltool.evaluation.drift.verdict import ALPHA, FEWEST_ROWS, Verdict, judge
from tltool.export.artifact import Artifact, load_artifact
from tltool.recipe.recipe import DataSection
from tltool.runs.predict import collect_inputs, row_of, unlabelled, without_broken_pictures
from tltool.support.errors import DataError
from tltool.support.progress import Progress
from tltool.support.words import count

if TYPE_CHECKING:
    from tltool.evaluation.drift.sketch import Tally

_ROWS = 256


@dataclass(frozen=True)
class Monitored:
    """What became of new data.

    Attributes:
        verdict: What all tests say.
        left_out: Inputs that could not be read, and why.
        labelled: Whether answers were compared with labels.
    """

    verdict: Verdict
    left_out: tuple[str, ...]
    labelled: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **self.verdict.to_json(),
            "labelled": self.labelled,
            "left_out": list(self.left_out),
        }


def monitor(
    export: str | Path,
    data: str | Path | Examples,
    *,
    labelled: bool = False,
    section: DataSection | None = None,
    level: float = ALPHA,
    progress: Progress | None = None,
) -> Monitored:
    """Compares new data with the sketch in an export folder; nothing else of the run is needed.

    Args:
        export: An export folder, or the model in it.
        data: A folder, a table or a file, as `tltool predict` takes it; or with labels, as
            `tltool evaluate` takes it; or rows.
        labelled: Whether the data has labels that answers are to be compared with.
        section: How the data is read; None finds it out.
        level: How often any test may raise an alarm without drift, 0..1.
        progress: Is told how far it is.

    Raises:
        ExportError: There is no such export, or it has no sketch.
        DataError: The data can't be read, has labels that the model doesn't know, or fewer than
            `FEWEST_ROWS` rows.
    """
    artifact = load_artifact(Path(export))
    sketch = read_sketch(artifact.path.parent)
    section = section or DataSection()
    if isinstance(data, Examples):
        rows = data
    else:
        rows = (_labelled if labelled else _unlabelled)(data, artifact, section)
    if len(rows) < FEWEST_ROWS:
        raise DataError(
            f"{count(len(rows), 'row')} can be compared; {FEWEST_ROWS} at least are needed.",
            hint="collect more before they are compared: few rows hide all but the largest drift",
        )
    tally = _tally(artifact, rows, sketch.layout.tally, progress or Progress())
    return Monitored(judge(sketch, tally, level=level), rows.skipped, bool(tally.wrong))


def _labelled(data: str | Path, artifact: Artifact, section: DataSection) -> Examples:
    from tltool.data.checks.doctor import check_examples
    from tltool.data.reading.sources import load_labelled

    task = artifact.task
    named = section.label_column is not None or section.label_columns is not None
    fields = {} if named else task.target.label_fields
    own = section.model_copy(update={**fields, **task.target.data_fields})
    spec = task.spec.of_rows(own.input_columns)
    return check_examples(load_labelled(data, own, spec), on_error=own.on_error).as_inputs()


def _unlabelled(data: str | Path, artifact: Artifact, section: DataSection) -> Examples:
    """The rows that can be read; `skipped` says why others can't."""
    spec = artifact.task.spec
    items = collect_inputs([str(data)], spec, section)
    read = [row_of(item, spec.modality, section.encoding) for item in items]
    rows = without_broken_pictures(read, spec.modality)
    sound = [row for row in rows if isinstance(row, Row)]
    left_out = tuple(str(row) for row in rows if not isinstance(row, Row))
    return replace(unlabelled(sound, spec.modality), skipped=left_out)


def _tally(artifact: Artifact, rows: Examples, count_of: Any, progress: Progress) -> Tally:
    target, parts = artifact.task.target, []
    with progress.rows("Comparing", len(rows)) as advance:
        for start in range(0, len(rows), _ROWS):
            some = rows.take(range(start, min(start + _ROWS, len(rows))))
            facts = facts_of(some.inputs, some.modality)
            outputs = artifact.predict(some.inputs)
            parts.append(count_of(watched_rows(facts, outputs, target, truth_of(some, target))))
            advance(len(some))
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total

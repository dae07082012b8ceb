"""The sketch beside an exported model: what held-out rows are like, as the model itself sees them.

It costs no further pass: the gate has run the model on these rows.
"""

from __future__ import annotations

from pathlib import Path

from tltool.data.examples import Examples
from tltool.evaluation.drift.file import write_sketch
from tltool.evaluation.drift.inputs import Facts, facts_of
from tltool.evaluation.drift.rows import truth_of, watched_rows
from tltool.evaluation.drift.sketch import Sketch
from tltool.evaluation.drift.verdict import FEWEST_ROWS
from tltool.export.outputs import Outputs
from tltool.tasks.target import Target


def sketch_facts(rows: Examples) -> Facts | None:
    """Facts of the rows' inputs; None where they are too few to compare others with."""
    return facts_of(rows.inputs, rows.modality) if len(rows) >= FEWEST_ROWS else None


def sketch_rows(
    folder: Path, target: Target, rows: Examples, facts: Facts | None, outputs: Outputs
) -> None:
    """Writes `sketch.json`, unless there are too few rows.

    Args:
        folder: The export folder.
        target: Of the exported model.
        rows: Held-out rows.
        facts: Of these, as `sketch_facts` gives them.
        outputs: What the exported model says of them.
    """
    if facts is not None:
        watched = watched_rows(facts, outputs[0], target, truth_of(rows, target))
        write_sketch(folder, Sketch.of(watched))

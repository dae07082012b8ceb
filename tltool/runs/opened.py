"""A run, or an exported model, to be measured on labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.recipe.schema import DataSection
from tltool.runs.folder import MANIFEST
from tltool.runs.run import Run, labelled_rows, load_run
from tltool.support.errors import ExportError
from tltool.support.progress import Progress
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import numpy as np

    from tltool.evaluation.evaluate import Evaluation
    from tltool.evaluation.slices import Slices

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Opened:
    """What is measured.

    Attributes:
        task: With its target.
        outputs: What the model says of examples, as `Target.kept` gives it.
        run: Whose model it is, or among whose exports it lies; None for an export alone.
        exported: Whether it is an exported model.
    """

    task: Task
    outputs: Callable[[Examples], Array]
    run: Run | None
    exported: bool

    def rows(self, data: Any = None, **how: Any) -> Examples:
        """Labelled rows, given as for `Run.rows`; of an export in a run as the run reads them.

        Raises:
            ExportError: No data for an export that lies in no run.
            DataError: The data can't be used.
        """
        if self.run is not None:
            return self.run.rows(data, **how)
        if data is None:
            raise ExportError(
                "An export that lies in no run has no test split of its own.",
                hint="name labelled data: --data",
            )
        return labelled_rows(data, self.section(**how), self.task)

    def section(self, **how: Any) -> DataSection:
        """How tables are read: as the run's own, but for what is said."""
        from tltool.data.reading.sources import reading

        base = DataSection() if self.run is None else self.run.recipe.data
        return reading(base.model_copy(update=self.task.target.data_fields), **how)

    def evaluate(self, examples: Examples, outputs: Array) -> Evaluation:
        """Measures what `outputs` gave of the rows."""
        from tltool.evaluation.evaluate import evaluate_outputs

        mistakes = 10 if self.run is None else self.run.recipe.evaluation.mistakes
        return evaluate_outputs(outputs, examples, self.task, mistakes=mistakes)


def open_model(path: str | Path, *, progress: Progress | None = None) -> Opened:
    """Opens a run, or an exported model's folder or file.

    Raises:
        RunError, ExportError: There is none, or it is damaged.
    """
    from tltool.export.artifact import is_artifact, load_artifact

    if not is_artifact(Path(path)):
        run = load_run(path, progress=progress)
        return Opened(run.task, run.outputs, run, exported=False)
    artifact = load_artifact(Path(path))

    def outputs(examples: Examples) -> Array:
        return artifact.task.target.comparable(artifact.kept(examples))

    return Opened(artifact.task, outputs, _run_around(Path(path), progress), exported=True)


def slices(
    opened: Opened, examples: Examples, outputs: Array, by: Sequence[str], how: Mapping[str, Any]
) -> tuple[Slices | None, Slices | None]:
    """How wrong the model is on slices, and of an export in a run how much more than the run's own.

    Args:
        opened: The model.
        examples: The rows.
        outputs: What it says of them.
        by: Columns of their tables, besides facts and groups.
        how: How the tables are read, as for `Opened.section`.

    Raises:
        DataError: A column is not there.
    """
    from tltool.evaluation.facts import facts_of
    from tltool.evaluation.slices import slices_of

    target = opened.task.target
    truth = target.truth(examples.targets, examples.origins)
    numbers, names = facts_of(examples, target.labels, by, opened.section(**how))
    own = slices_of(outputs, truth, target, numbers, names)
    if not opened.exported or opened.run is None:
        return own, None
    others = opened.run.outputs(examples)
    return own, slices_of(outputs, truth, target, numbers, names, others=others)


def _run_around(path: Path, progress: Progress | None) -> Run | None:
    """The run among whose exports a model lies, or None."""
    for folder in path.resolve().parents[:3]:
        if (folder / MANIFEST).is_file():
            return load_run(folder, progress=progress)
    return None

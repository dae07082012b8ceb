"""What can't be learnt from a teacher, or not together with something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tltool.recipe.layer_faults import mixes
from tltool.support.errors import Fault
from tltool.tasks.table import TASKS, TaskSpec

Values = Mapping[str, Any]
_WITHOUT = "leave out teacher"


def teacher_faults(
    values: Values, phases: Sequence[tuple[str, Values]], spec: TaskSpec | None
) -> Iterator[Fault]:
    """Faults between the section `teacher` and what it is used with.

    Args:
        values: The recipe as read; any shape.
        phases: Each phase with its path.
        spec: Of its task, where that is known.
    """
    teacher = values.get("teacher")
    if not isinstance(teacher, Mapping):
        return
    if spec is not None and not spec.target.teachable():
        yield Fault(
            "teacher",
            f"is not for {spec.name}",
            allowed=", ".join(name for name, row in TASKS.items() if row.target.teachable()),
            hint=_WITHOUT,
        )
    for place, phase in phases:
        if phase.get("objective") == "contrastive":
            problem = f"says what a model's head should give, and {place} trains features alone"
            yield Fault("teacher", problem, hint=f"{_WITHOUT}, or take another schedule")
            break
    if _section(values, "head").get("search") is True:
        yield Fault(
            "teacher",
            "is not known to head.search",
            hint="search with teacher=null, and train with the head that was found",
        )
    yield from _row_faults(values, teacher)


def _row_faults(values: Values, teacher: Values) -> Iterator[Fault]:
    """What asks of every row for a label, or for one alone."""
    training = _section(values, "training")
    sampling = training.get("sampling", "natural")
    if teacher.get("unlabelled") is not None and sampling != "natural":
        yield Fault(
            "teacher.unlabelled",
            "rows without labels are of no class that training.sampling could draw",
            repr(teacher["unlabelled"]),
            hint="use training.sampling=natural",
        )
    if training.get("class_weights") is not None and mixes(_section(values, "augment")):
        yield Fault(
            "teacher",
            "can't be mixed with weighted classes: augment.layers mixes the images of a batch, "
            "and training.class_weights weighs them by their labels",
            hint="leave out training.class_weights, or the layers that mix images",
        )


def _section(values: Values, key: str) -> Values:
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}

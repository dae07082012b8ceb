"""Means of several models or views that make no sense, or that cannot be had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tltool.recipe.schema import SEEDS
from tltool.support.errors import Fault
from tltool.tasks.table import TASKS, TaskSpec

_SEEDS, _VIEWS = "ensemble.seeds", "ensemble.test_time_augmentation"
_ONE = "leave out ensemble.seeds"


def ensemble_faults(
    values: Mapping[str, Any],
    phases: Sequence[tuple[str, Mapping[str, Any]]],
    spec: TaskSpec | None,
) -> Iterator[Fault]:
    """Faults between the fields of `ensemble` and what they are used with.

    Args:
        values: The recipe as read; any shape.
        phases: Each phase with its path, where the recipe lists them.
        spec: Of its task, where that is known.
    """
    section = _section(values, "ensemble")
    seeds, views = section.get("seeds", 1), section.get("test_time_augmentation")
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds > 1:
        yield from _seed_faults(values, phases, spec, seeds)
    if views and spec is not None:
        yield from _view_faults(spec, views)


def _seed_faults(
    values: Mapping[str, Any],
    phases: Sequence[tuple[str, Mapping[str, Any]]],
    spec: TaskSpec | None,
    seeds: int,
) -> Iterator[Fault]:
    shown, training = repr(seeds), _section(values, "training")
    if spec is not None and spec.target.sized:
        yield Fault(
            _SEEDS,
            f"is not for {spec.name}: vectors of different trainings can't be compared, so their "
            "mean says nothing",
            shown,
            _tasks(lambda other: other.target.can_average() and not other.target.sized),
            _ONE,
        )
    elif spec is not None and not spec.target.can_average():
        yield _no_mean(_SEEDS, spec, shown)
    seed = training.get("seed", 0)
    if isinstance(seed, int) and seed < SEEDS < seed + seeds:
        yield Fault(
            _SEEDS,
            f"counts on from training.seed, up to {seed + seeds - 1}, which is no seed",
            shown,
            f"at most {SEEDS - seed} with this training.seed",
            f"use training.seed={SEEDS - seeds} or a lower one",
        )
    if training.get("refit") is True:
        yield Fault(
            _SEEDS, "and training.refit both train several times", shown, hint="use one of them"
        )
    if training.get("distribution") == "multi_worker":
        yield Fault(
            _SEEDS,
            "trains its members in one process; training.distribution is multi_worker",
            shown,
            hint="use training.distribution=auto",
        )
    solved = bool(phases) and all(phase.get("solver") == "exact" for _, phase in phases)
    if isinstance(values.get("schedule"), list | tuple) and solved and not values.get("augment"):
        yield Fault(
            _SEEDS,
            "trains the same model each time: the head is solved exactly, whatever the seed",
            shown,
            hint=f"{_ONE}, or train with `solver: gradient`",
        )


def _view_faults(spec: TaskSpec, views: Any) -> Iterator[Fault]:
    shown = repr(list(views) if isinstance(views, list | tuple) else views)
    if spec.modality != "image":
        yield Fault(
            _VIEWS,
            f"is of pictures, but the input of {spec.name} is text",
            shown,
            _tasks(lambda other: other.modality == "image"),
            "leave it out; ensemble.seeds is for texts too",
        )
    elif not spec.target.can_average():
        yield _no_mean(_VIEWS, spec, shown)


def _no_mean(path: str, spec: TaskSpec, shown: str) -> Fault:
    kind = spec.target.__name__
    return Fault(
        path,
        f"needs a mean of outputs, which the kind of target {kind} does not define",
        shown,
        hint=f"give {kind} a class method `averaged`, as tltool.Target describes it",
    )


def _tasks(fits: Any) -> str:
    return ", ".join(name for name, other in TASKS.items() if fits(other))


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}

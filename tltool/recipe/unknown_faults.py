"""Ways of saying "unknown", or several classes, that a kind of target or a training has not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from tltool.support.errors import Fault
from tltool.tasks.table import TaskSpec
from tltool.tasks.unknown.kind import methods_for
from tltool.tasks.unknown.settings import ON_FEATURES, Method


def unknown_faults(values: Mapping[str, Any], spec: TaskSpec | None) -> Iterator[Fault]:
    """Faults between `unknown` or `evaluation.sets` and what they are used with.

    Args:
        values: The recipe as read; any shape.
        spec: Of its task, where that is known.
    """
    yield from _sets_faults(values, spec)
    method = _section(values, "unknown").get("method")
    if method not in get_args(Method):
        return
    path, shown = "unknown.method", repr(method)
    allowed = None if spec is None else methods_for(spec.target)
    if spec is not None and allowed is not None and method not in allowed:
        problem = f"is not for {spec.name}"
        hint = "leave it out" if not allowed else f"use {allowed[0]}"
        yield Fault(path, problem, shown, ", ".join(allowed) or None, hint)
    if _section(values, "training").get("refit") is True:
        yield Fault(
            path,
            "chooses its threshold by validation rows, and training.refit learns from them",
            shown,
            hint="leave out training.refit",
        )
    if _section(values, "ensemble").get("test_time_augmentation") and method in ON_FEATURES:
        yield Fault(
            path,
            "measures one distance for each picture, and ensemble.test_time_augmentation makes "
            "several views of it",
            shown,
            hint="use max_probability or energy, or leave out ensemble.test_time_augmentation",
        )


def _sets_faults(values: Mapping[str, Any], spec: TaskSpec | None) -> Iterator[Fault]:
    coverage = _section(values, "evaluation").get("sets")
    if coverage is None:
        return
    path, shown = "evaluation.sets", repr(coverage)
    if spec is not None and not spec.target.has_sets():
        yield Fault(path, f"is for classes, and not for {spec.name}", shown, hint="leave it out")
    if _section(values, "training").get("refit") is True:
        yield Fault(
            path,
            "is chosen on validation rows, and training.refit learns from them",
            shown,
            hint="leave out training.refit",
        )


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}

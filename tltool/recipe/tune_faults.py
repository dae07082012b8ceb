"""What is wrong with a recipe's section `tune`: its values are tried in their fields' places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tltool.recipe.schema import RecipeFields
from tltool.support.errors import Fault, did_you_mean

Values = Mapping[str, Any]

SEARCHED = ("backbone", "head", "schedule", "training", "augment", "teacher")
"""Sections whose fields can be searched: what decides the model, and not what it is measured on."""
_FIXED = {
    "head.search": "is a search of its own",
    "teacher.run": "says who teaches all trials",
    "teacher.unlabelled": "says which rows all trials learn from",
    "training.calibrate": "comes after what trials are compared by",
    "training.checkpoint": "changes no result",
    "training.deterministic": "changes no result",
    "training.devices": "says where to train",
    "training.distribution": "says where to train",
    "training.grace_seconds": "changes no result",
    "training.barrier_seconds": "changes no result",
    "training.jit": "says how fast to train",
    "training.keep": "comes after what trials are compared by",
    "training.loggers": "changes no result",
    "training.monitor": "says what is searched for",
    "training.refit": "comes after what trials are compared by",
    "training.static_shapes": "says how fast to train",
    "training.steps_per_execution": "says how fast to train",
    "training.seed": "is chance: the best seed is best on the validation rows alone",
}
_FORM = "{low: …, high: …} of numbers, with log: true for magnitudes, or {choices: […]}"
_MOST_PHASES = 100


def tune_faults(values: Values, faults_of: Callable[[Values], list[Fault]]) -> Iterator[Fault]:
    """Fields that can't be searched, and values that their fields can't have.

    Args:
        values: The recipe as read, its shorthands expanded; any shape.
        faults_of: What is wrong with such values, the section `tune` left out.
    """
    section = values.get("tune")
    if not isinstance(section, Mapping) or not section:
        return
    before = {str(fault) for fault in faults_of(values)}
    for field, given in section.items():
        path = f"tune.{field}"
        if (fault := _unsearched(path, field, values)) is not None:
            yield fault
            continue
        if not isinstance(given, Mapping):
            continue  # the schema tells of it
        tried = list(_range_faults(path, given))
        yield from tried
        bounds = [given.get("low"), given.get("high")]
        endless = any(isinstance(bound, float) and not math.isfinite(bound) for bound in bounds)
        if tried or endless:  # the schema tells of the latter
            continue
        seen: set[str] = set()
        for key, value in candidates(given):
            changed = put(values, field, value)
            new = [f for f in faults_of(changed) if str(f) not in before]
            if new:
                first = new[0]
                yield Fault(f"{path}.{key}", first.problem, repr(value), first.allowed, first.hint)
                break
            if (read := _as_read(changed)) in seen:
                hint = "give each value once, and two at least"
                yield Fault(f"{path}.{key}", "is the same value twice", repr(value), hint=hint)
                break
            seen.add(read)


def _as_read(values: Values) -> str:
    """What tells recipes apart once they are read, where the text "0.01" is the number."""
    try:
        return RecipeFields.model_validate({**values, "tune": {}}).model_dump_json()
    except ValidationError:  # of what is told besides
        return repr(values)


def candidates(given: Values) -> list[tuple[str, Any]]:
    """The values of a field that stand for all, with where they are written."""
    if given.get("choices") is not None:
        return [(f"choices.{place}", value) for place, value in enumerate(given["choices"])]
    return [(key, given[key]) for key in ("low", "high")]


def put(values: Values, field: str, value: Any) -> dict[str, Any]:
    """A copy of a recipe's values with another one at a dotted field.

    A schedule that is known by its name gets phases to put it in.
    """
    key, _, rest = field.partition(".")
    if not rest:
        return {**values, key: value}
    inner = values.get(key)
    if key == "schedule" and not isinstance(inner, list | tuple):
        inner = [{} for _ in range(_number(rest.partition(".")[0]) + 1)]
    if isinstance(inner, list | tuple):
        index, _, below = rest.partition(".")
        phases = list(inner)
        place = _number(index)
        phases[place] = put(phases[place], below, value) if below else value
        return {**values, key: phases}
    return {**values, key: put(inner if isinstance(inner, Mapping) else {}, rest, value)}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1


def _unsearched(path: str, field: str, values: Values) -> Fault | None:
    """Why a field can't be searched; None where it can."""
    section, _, rest = field.partition(".")
    if section not in SEARCHED or (not rest and section != "augment"):
        named = [f"{name}.…" for name in SEARCHED]
        close = did_you_mean(section, SEARCHED)
        return Fault(path, "is no field that can be searched", allowed=", ".join(named), hint=close)
    for fixed, why in _FIXED.items():
        if field == fixed or field.startswith(f"{fixed}."):
            return Fault(path, f"can't be searched: it {why}")
    if section == "schedule":
        return _no_phase(path, rest, values.get("schedule"))
    return None


def _no_phase(path: str, rest: str, schedule: Any) -> Fault | None:
    index, _, below = rest.partition(".")
    phases = len(schedule) if isinstance(schedule, list | tuple) else _MOST_PHASES
    if below and 0 <= _number(index) < phases:
        return None
    allowed = f"schedule.0.… to schedule.{phases - 1}.…" if phases > 1 else "schedule.0.…"
    return Fault(path, "is no field of a phase", allowed=allowed)


def _range_faults(path: str, given: Values) -> Iterator[Fault]:
    """What is wrong with a range or with choices by themselves."""
    low, high, choices = (given.get(key) for key in ("low", "high", "choices"))
    if choices is not None:
        if low is not None or high is not None or given.get("log"):
            yield Fault(path, "has choices and a range", allowed=_FORM)
        elif not isinstance(choices, list | tuple):
            yield Fault(f"{path}.choices", "is no list", repr(choices), _FORM)
        return
    numbers = [value for value in (low, high) if isinstance(value, int | float)]
    if len(numbers) < 2:
        yield Fault(path, "has neither a range nor choices", allowed=_FORM)
    elif numbers[0] >= numbers[1]:
        yield Fault(f"{path}.low", f"is not below high, {high!r}", repr(low))
    elif given.get("log") and numbers[0] <= 0:
        yield Fault(f"{path}.low", "must be above 0 where log is true", repr(low))

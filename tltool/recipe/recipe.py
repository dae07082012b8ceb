"""Reads recipes: a YAML file and overrides in, one checked `Recipe` or every fault out.

Only this module reads recipe files. Everything else takes plain values, so
that each part of tltool works alone from Python. Importing it is cheap: no
numerical library is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tltool.recipe.export_section import ExportSection, GateSection
from tltool.recipe.faults import cross_faults, faults_from
from tltool.recipe.schema import (
    AugmentSection,
    BackboneSection,
    DataSection,
    EarlyStoppingSection,
    EvaluationSection,
    HeadSection,
    PhaseSection,
    RecipeFields,
    TrainingSection,
)
from tltool.support.errors import Fault, RecipeError, did_you_mean
from tltool.support.items import items_of
from tltool.support.shipped import find_shipped, list_shipped
from tltool.tasks.table import TASKS, TaskSpec

__all__ = [
    "AugmentSection",
    "BackboneSection",
    "DataSection",
    "EarlyStoppingSection",
    "EvaluationSection",
    "ExportSection",
    "GateSection",
    "HeadSection",
    "PhaseSection",
    "Recipe",
    "TrainingSection",
    "recipe_schema",
]

Values = Mapping[str, Any]


class Recipe(RecipeFields):
    """An immutable, fully checked recipe.

    Make one with `Recipe.load(path)` or `Recipe.of(task=…, backbone=…)`.
    """

    @property
    def spec(self) -> TaskSpec:
        """The row of `TASKS` the recipe asks for, with its own kind of target if it has one.

        Raises:
            TargetError: The kind can't be found.
        """
        return TASKS[self.task].with_target(self.target)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Reads a recipe file and applies dotted overrides.

        Args:
            path: A YAML file, or the name of a recipe that ships with tltool.
            overrides: `key=value` texts such as `schedule.0.epochs=2` or
                `data.train=photos/`; values are read as YAML.

        Raises:
            RecipeError: Holds every fault of the file and the overrides.
        """
        file = _find(path)
        values, lines = _read_yaml(file)
        return cls._checked(_override(values, overrides), lines, str(path))

    @classmethod
    def of(cls, **values: Any) -> Recipe:
        """Makes a recipe from plain values, with the same checks as a file."""
        return cls._checked(values, {}, "the recipe")

    def with_overrides(self, *overrides: str) -> Recipe:
        """A copy with dotted `key=value` overrides applied and checked."""
        return self._checked(_override(self.to_values(), overrides), {}, "the recipe")

    @classmethod
    def _checked(cls, values: Values, lines: Mapping[str, int], source: str) -> Recipe:
        values = _expand_shorthands(values)
        faults: list[Fault] = []
        recipe: Recipe | None = None
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            faults += faults_from(error, cls)
        faults += cross_faults(values)
        if faults or recipe is None:
            located = [_with_line(fault, lines) for fault in faults]
            count = f"{len(located)} fault" + ("s" if len(located) != 1 else "")
            raise RecipeError(
                f"{source} has {count}:",
                faults=sorted(located, key=lambda fault: fault.line or 0),
                hint="`tltool recipes schema` describes every field.",
            )
        return recipe

    def to_values(self) -> dict[str, Any]:
        """The resolved recipe as plain values, every default filled in."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML; `Recipe.load` reads it back to an equal value."""
        return yaml.safe_dump(self.to_values(), sort_keys=False, allow_unicode=True)


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file, for editors that complete and check YAML."""
    schema = RecipeFields.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "tltool recipe"
    schema["properties"]["task"]["enum"] = list(TASKS)
    for key, section in (("backbone", "BackboneSection"), ("head", "HeadSection")):
        described = schema["properties"][key].get("description", "")
        schema["properties"][key] = {
            "anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{section}"}],
            "description": described or f"A name, or the fields of {section}.",
        }
    return schema


def _find(path: str | Path) -> Path:
    file = Path(path)
    if file.is_file():
        return file
    if (shipped := find_shipped("recipes", str(path))) is not None:
        return shipped
    names = [shipped.stem for shipped in list_shipped("recipes")]
    siblings = [str(p) for p in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
    raise RecipeError(
        f"There is no recipe {str(path)!r}: neither a file nor one of tltool's own.",
        hint=did_you_mean(str(path), [*siblings, *names])
        or f"`tltool recipes list` shows tltool's own: {', '.join(names)}.",
    )


class _Loader(yaml.SafeLoader):
    """YAML's safe subset; a key given twice is an error instead of a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# PyYAML follows YAML 1.1, where 1e-3 is a text; to people and to editors it is a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _read_yaml(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        values = yaml.load(text, _Loader)
        tree = yaml.compose(text, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(
            f"{file} can't be read as a recipe: {_one_line(error)}",
            hint="A recipe is a YAML file in UTF-8; `tltool recipes show quickstart` prints one.",
        ) from error
    if not isinstance(values, dict):
        raise RecipeError(
            f"{file} holds no recipe: a mapping with `task:` and `backbone:` is needed, "
            f"received {type(values).__name__}.",
            hint="`tltool recipes copy quickstart .` gives a recipe to start from.",
        )
    return values, dict(_lines(tree, ""))


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark else " ".join(str(problem).split())


def _lines(node: yaml.Node | None, path: str) -> Iterator[tuple[str, int]]:
    """Yields (dotted path, line from 1) of every key and list item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = f"{path}.{key.value}" if path else str(key.value)
            yield below, key.start_mark.line + 1
            yield from _lines(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{path}.{index}", value.start_mark.line + 1
            yield from _lines(value, f"{path}.{index}")


def _with_line(fault: Fault, lines: Mapping[str, int]) -> Fault:
    """Adds the line of the field, or of the nearest section around it that has one."""
    path = fault.path
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return Fault(**{**fault.__dict__, "line": lines.get(path)})


def _expand_shorthands(values: Values) -> dict[str, Any]:
    """`backbone: NAME` and `head: NAME` stand for `{name: NAME}`."""
    return {
        key: {"name": value} if key in ("backbone", "head") and isinstance(value, str) else value
        for key, value in values.items()
    }


def _override(values: Values, overrides: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(_expand_shorthands(values), default=str))
    for text in map(str, items_of(overrides, "overrides", RecipeError)):
        key, equals, raw = text.partition("=")
        if not equals or not key:
            raise RecipeError(
                f"The override {text!r} is not of the form key=value.",
                hint="For example: schedule.0.epochs=2 data.train=photos/",
            )
        try:
            value = yaml.load(raw, _Loader) if raw else None
        except yaml.YAMLError as error:
            raise RecipeError(f"The override {text!r} can't be read: {_one_line(error)}") from error
        _assign(result, key.split("."), value, text)
    return result


def _assign(target: Any, keys: list[str], value: Any, text: str) -> None:
    key, rest = keys[0], keys[1:]
    if isinstance(target, list):
        if not key.isdigit() or int(key) >= len(target):
            raise RecipeError(
                f"The override {text!r} names item {key!r} of a list of {len(target)}.",
                hint=f"Items are counted from 0 to {len(target) - 1}.",
            )
        place: Any = int(key)
    elif isinstance(target, dict):
        place = key
        if rest and not isinstance(target.get(key), dict | list):
            target[key] = {"name": target[key]} if isinstance(target.get(key), str) else {}
    else:
        raise RecipeError(f"The override {text!r} goes below a plain value.")
    if rest:
        _assign(target[place], rest, value, text)
    else:
        target[place] = value

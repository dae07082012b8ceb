"""Reads recipes: a YAML file and overrides in, one checked `Recipe` or every fault out.

Everything else takes plain values, so that each part of tltool works alone
from Python. Importing it is cheap: no numerical library is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tltool.recipe.export_section import ExportSection, GateSection
from tltool.recipe.faults import cross_faults, faults_from
from tltool.recipe.reading import override, read_recipe
from tltool.recipe.schema import (
    SHORTHANDS,
    AugmentSection,
    BackboneSection,
    DataSection,
    EarlyStoppingSection,
    EnsembleSection,
    EvaluationSection,
    HeadSection,
    PhaseSection,
    RecipeFields,
    TeacherSection,
    TrainingSection,
)
from tltool.support.errors import Fault, RecipeError, did_you_mean
from tltool.support.shipped import find_shipped, list_shipped
from tltool.tasks.table import TASKS, TaskSpec

__all__ = [
    "AugmentSection",
    "BackboneSection",
    "DataSection",
    "EarlyStoppingSection",
    "EnsembleSection",
    "EvaluationSection",
    "ExportSection",
    "GateSection",
    "HeadSection",
    "PhaseSection",
    "Recipe",
    "TeacherSection",
    "TrainingSection",
    "recipe_schema",
]

Values = Mapping[str, Any]

USUAL_SMOOTHING = 0.1
"""Of labels, where a recipe says `auto` (Szegedy et al. 2016, arXiv:1512.00567)."""
_NUMBER = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


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
        data = self.data
        spec = TASKS[self.task].for_columns(data.input_columns, data.label_column)
        return spec.with_target(self.target)

    def refuse_few_examples(self, purpose: str) -> None:
        """Raises RecipeError where the schedule is chosen by `few_examples`, and one is needed.

        Args:
            purpose: What one schedule is needed for, a verb.
        """
        if self.schedule == "few_examples":
            raise RecipeError(
                "schedule: few_examples chooses among schedules itself.",
                hint=f"name the schedule to {purpose}, such as schedule=fine_tune",
            )

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Reads a recipe file and applies dotted overrides.

        Args:
            path: A YAML file, or the name of a recipe that ships with tltool.
            overrides: `key=value` texts such as `schedule.0.epochs=2` or
                `data.train=photos/`. A value is its characters where the field
                is a text (`null` is none, `"…"` is read as YAML), else YAML.

        Raises:
            RecipeError: Holds every fault of the file and the overrides.
        """
        file = _find(path)
        values, lines = read_recipe(file)
        return cls._checked(override(_expand_shorthands(values), overrides), lines, str(path))

    @classmethod
    def of(cls, **values: Any) -> Recipe:
        """Makes a recipe from plain values, with the same checks as a file."""
        return cls._checked(values, {}, "the recipe")

    def with_overrides(self, *overrides: str) -> Recipe:
        """A copy with dotted `key=value` overrides applied and checked."""
        return self._checked(override(self.to_values(), overrides), {}, "the recipe")

    @classmethod
    def _checked(cls, values: Values, lines: Mapping[str, int], source: str) -> Recipe:
        values = _settle_smoothing(_expand_shorthands(values))
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
    training = schema["$defs"]["TrainingSection"]["properties"]
    smoothing = training["label_smoothing"]
    training["label_smoothing"] = {
        "anyOf": [{"const": "auto"}, {k: smoothing.pop(k) for k in _NUMBER if k in smoothing}],
        **smoothing,
    }
    for key, (section, field) in SHORTHANDS.items():
        described = schema["properties"][key]
        forms = [form for form in described.get("anyOf", ()) if form.get("type") == "null"]
        schema["properties"][key] = {
            "anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{section.__name__}"}, *forms],
            "description": described.get("description")
            or f"A {field}, or the fields of {section.__name__}.",
        }
    return schema


def _find(path: str | Path) -> Path:
    """A file, or one of tltool's own where the name cannot be that of a file."""
    text, file = str(path), Path(path)
    try:
        is_file, exists = file.is_file(), file.exists()
        siblings = [str(found) for found in file.parent.glob("*.y*ml")]
    except (OSError, ValueError):  # a name that no file can have
        is_file, exists, siblings = False, False, []
    if is_file:
        return file
    names_a_file = file.suffix.lower() in {".yaml", ".yml"} or "/" in text or "\\" in text
    if not names_a_file and (shipped := find_shipped("recipes", text)) is not None:
        return shipped
    names = [shipped.stem for shipped in list_shipped("recipes")]
    raise RecipeError(
        f"There is no recipe {text!r}: "
        + (
            "what is there is not a file."
            if exists
            else "there is no such file."
            if names_a_file
            else "neither a file nor one of tltool's own."
        ),
        hint=did_you_mean(text, [*siblings, *names])
        or f"`tltool recipes list` shows tltool's own: {', '.join(names)}.",
    )


def _with_line(fault: Fault, lines: Mapping[str, int]) -> Fault:
    """Adds the line of the field, or of the nearest section around it that has one."""
    path = fault.path
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return Fault(**{**fault.__dict__, "line": lines.get(path)})


def _settle_smoothing(values: dict[str, Any]) -> dict[str, Any]:
    """`training.label_smoothing: auto` stands for a number that the task can have."""
    training, task = values.get("training"), values.get("task")
    if not isinstance(training, Mapping) or training.get("label_smoothing") != "auto":
        return values
    spec = TASKS.get(task) if isinstance(task, str) else None
    smooths = spec is not None and "training.label_smoothing" not in spec.target.refused
    number = USUAL_SMOOTHING if smooths and not values.get("target") else 0.0
    return {**values, "training": {**training, "label_smoothing": number}}


def _expand_shorthands(values: Values) -> dict[str, Any]:
    """`backbone: NAME` stands for `{name: NAME}`, and so on."""
    return {
        key: {SHORTHANDS[key][1]: value} if key in SHORTHANDS and isinstance(value, str) else value
        for key, value in values.items()
    }

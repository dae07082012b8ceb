"""Writes docs/recipe_reference.md from the schema: fields, types, defaults, descriptions.

python docs/make_reference.py            # writes the file
python docs/make_reference.py --check    # fails where the file is not up to date
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from tltool.recipe.augment_layers import BatchLayer, ImageLayer
from tltool.recipe.recipe import recipe_schema
from tltool.recipe.schema import PhaseSection, RecipeFields
from tltool.recipe.section import Section
from tltool.tasks.table import TASKS

TARGET = Path(__file__).with_name("recipe_reference.md")

INTRODUCTION = """\
# Recipe reference

Every field of a recipe, its default and its limits. This page is made from the schema by
`docs/make_reference.py`. `tltool recipes schema` prints the same as JSON Schema: an editor that
knows it completes and checks recipes while you type.

Any field can be overridden on the command line by its dotted path:
`tltool finetune my_recipe.yaml training.batch_size=16 schedule.0.epochs=2`. Where a field is a
text, the characters after `=` are the value, as are those of a plain YAML scalar in a file: a
folder `photos #2` (in a file in quotes, as ` #` begins a comment there), a column `2024` and a
class `no` need no more. `null` is none; `"null"` is the word. A key with a point or `=` in it,
such as a label, stands in quotes: `'training.class_weights."v1.0"=2'`. A name that ends in `.yaml`
or `.yml` or has a slash in it is a file; any other may be one of tltool's own recipes.
"""

LAYERS = """\
A list of mappings such as `{layer: RandAugment, num_ops: 2}`. The options are those of the layers
of [Keras](https://keras.io/api/layers/preprocessing_layers/) and, for names that begin with
`keras_cv.`, of the package keras-cv; those without a default are needed. A range is written as
two numbers, the lowest and the highest value that is drawn. See [your own images](images.md).
"""

# A short text for the fields of the whole recipe, which are mostly sections.
TOP_LEVEL = {
    "task": "What goes in and what comes out: " + ", ".join(f"`{name}`" for name in TASKS) + ".",
    "target": "A kind of target of your own in place of the task's: a registered name, or "
    "`package.module:Name`.",
    "name": "Names the folder of the runs: `OUTPUT_DIR/NAME/1`, `…/2` and so on.",
    "description": "One line for people.",
    "data": "See [data](#data).",
    "backbone": "A name, or a mapping: see [backbone](#backbone).",
    "head": "A name, or a mapping: see [head](#head).",
    "schedule": "A list of phases (see [schedule](#schedule)), or the name of a known strategy: "
    "`feature_extraction` (head), `fine_tune` (head, then all), `gradual` (head, then one more "
    "group at a time), `linear_probe_then_fine_tune` (head solved exactly, then all gently).",
    "training": "See [training](#training).",
    "augment": "See [augment](#augment); null changes nothing.",
    "teacher": "The folder of a run, or a mapping: see [teacher](#teacher) and "
    "[a small model taught by a large one](distillation.md); null learns from labels alone.",
    "cache": "See [cache](#cache) and [the store of frozen features](cache.md).",
    "ensemble": "See [ensemble](#ensemble) and [several models as one](ensembles.md).",
    "evaluation": "See [evaluation](#evaluation).",
    "unknown": "A method, or a mapping: see [unknown](#unknown) and "
    '[saying "unknown"](unknown.md#saying-unknown).',
    "export": "See [export](#export).",
    "tune": "What `tltool tune` tries: [values](#tune) by dotted field, such as "
    "`head.dropout: {low: 0, high: 0.5}`; without any a "
    "[usual space](tuning.md#everything-else-tltool-tune).",
    "output_dir": "The folder that holds the runs.",
}


def reference() -> str:
    """The page as Markdown."""
    schema = recipe_schema()
    pages = [INTRODUCTION, _section("The whole recipe", RecipeFields, TOP_LEVEL, schema)]
    for name in RecipeFields.model_fields:
        section = PhaseSection if name == "schedule" else _section_of(name)
        if section is None:
            continue
        pages.append(_section(name, section, _descriptions(section), schema))
        if name == "augment":
            pages.append(_layers(schema))
        for field, inner in _inner_sections(section):
            title = f"{name}.{field}"
            pages.append(_section(title, inner, _descriptions(inner), schema))
    return "\n".join(pages)


def _section_of(name: str) -> type[Section] | None:
    for candidate in Section.__subclasses__():
        if candidate.__name__.lower() == f"{name}section":
            return candidate
    return None


def _inner_sections(section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    for field in section.model_fields:
        inner = _section_of(field.replace("_", ""))
        if inner is not None:
            yield field, inner


def _section(
    title: str, section: type[Section], descriptions: dict[str, str], schema: dict[str, Any]
) -> str:
    definition = schema if section is RecipeFields else schema["$defs"][section.__name__]
    required = definition.get("required", [])
    rows = []
    for name, field in definition["properties"].items():
        default = "*required*" if name in required else _default(section, name)
        rows.append(f"| `{name}` | {_type(field, schema)} | {default} | {descriptions[name]} |")
    summary = "" if section is RecipeFields else _summary(section) + "\n\n"
    table = "\n".join(("| Field | Type | Default | Meaning |", "| --- | --- | --- | --- |", *rows))
    return f"## {title}\n\n{summary}{table}\n"


def _layers(schema: dict[str, Any]) -> str:
    """The layers of `augment.layers` with their options."""
    rows = []
    for kind in (*get_args(ImageLayer), *get_args(BatchLayer)):
        definition = schema["$defs"][kind.__name__]
        required = definition["required"]
        name = definition["properties"]["layer"]["const"]
        options = [
            f"`{key}`: {_type(field, schema)}"
            + ("" if key in required else f" (default {_default(kind, key)})")
            for key, field in definition["properties"].items()
            if key != "layer"
        ]
        rows.append(f"| `{name}` | {_summary(kind)} | {'; '.join(options) or 'none'} |")
    table = "\n".join(("| Layer | What it does | Options |", "| --- | --- | --- |", *rows))
    return f"## augment.layers\n\n{LAYERS}\n{table}\n"


def _default(section: type[Section], name: str) -> str:
    names = {info.alias or key: key for key, info in section.model_fields.items()}
    value = section.model_fields[names[name]].get_default(call_default_factory=True)
    return "see there" if isinstance(value, Section) else f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case True | False:
            return str(value).lower()
        case "":
            return '""'
        case tuple():
            return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value)


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """A field's type and limits in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(branch, schema) for branch in field["anyOf"]))
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        inner = schema["$defs"][name]["properties"]
        return "mapping" if name.endswith("Section") else f"`{{{', '.join(inner)}: …}}`"
    if "oneOf" in field:
        return "mapping"
    if "prefixItems" in field:
        return _plural(_type(field["prefixItems"][0], schema), "two ")
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = field.get("type", "any")
    if kind == "array":
        return _plural(_type(field["items"], schema), "list of ")
    if kind == "object":
        return "mapping"
    names = {"integer": "whole number", "string": "text", "boolean": "true, false"}
    return names.get(kind, kind) + _limits(field)


def _plural(kind: str, before: str) -> str:
    return before + re.sub(r"^(whole number|number|text|mapping)\b", r"\1s", kind)


def _limits(field: dict[str, Any]) -> str:
    words = {
        "minimum": "≥",
        "exclusiveMinimum": ">",
        "maximum": "≤",
        "exclusiveMaximum": "<",
    }
    limits = [f"{sign} {field[key]:g}" for key, sign in words.items() if key in field]
    return f" {', '.join(limits)}" if limits else ""


def _summary(section: type[Section]) -> str:
    return inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _descriptions(section: type[Section]) -> dict[str, str]:
    """The `Attributes:` of a section's docstring, by field."""
    text = inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", text):
        names, _, description = entry.strip().partition(":")
        line = " ".join(description.split()).replace("|", "\\|")
        found.update({name.strip(): line for name in names.split(",")})
    return found


def main() -> int:
    """Writes the page, or with --check says whether it is up to date."""
    text = reference()
    if "--check" not in sys.argv:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    current = TARGET.read_text(encoding="utf-8") if TARGET.is_file() else ""
    return 0 if current == text else 1


if __name__ == "__main__":
    sys.exit(main())

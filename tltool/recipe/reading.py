"""Reads recipe files and overrides as plain values, texts as they are written.

YAML takes `2024-01-01` for a date, `no` for false and ` #` for a comment.
Where the schema wants a text, and for every key, the characters themselves
are the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from tltool.recipe.schema import SHORTHANDS, RecipeFields
from tltool.support.errors import RecipeError
from tltool.support.items import items_of
from tltool.support.words import half_character

LARGEST_FILE = 1_000_000
"""Bytes of a recipe at most."""
MOST_VALUES = 100_000
"""Keys and values of a recipe at most, those behind aliases counted each time."""
DEEPEST = 50
"""Mappings and lists within each other at most."""
LONGEST_NUMBER = 1_000
"""Characters of a number at most; Python reads no integer of more than 4,300 digits."""
_TAG = "tag:yaml.org,2002:"
# Fields that name a file or a folder.
_PLACES = re.compile(
    r"data\.(train|validation|test|added\.\d+|image_root|decisions)|(backbone|head)\.weights_file"
    r"|teacher\.(run|unlabelled)|output_dir"
)
_KEY = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^.=]*))([.=])""")


class _Loader(yaml.SafeLoader):
    """The values that JSON has too: `!!binary`, `!!set` and dates are refused or texts."""

    yaml_constructors = {  # noqa: RUF012
        tag: made
        for tag, made in yaml.SafeLoader.yaml_constructors.items()
        if tag is None
        or tag.removeprefix(_TAG) in {"null", "bool", "int", "float", "str", "seq", "map"}
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in found if tag != f"{_TAG}timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


# PyYAML follows YAML 1.1, where 1e-3 is a text; to people and to editors it is a number.
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_recipe(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The values of a recipe file, and the line (from 1) of each by its dotted path.

    Raises:
        RecipeError: The file can't be read, or is no mapping in YAML.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
        values, node = read_yaml(data.decode("utf-8-sig"), RecipeFields)
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise RecipeError(
            f"{file} can't be read as a recipe: {_one_line(error)}",
            hint="A recipe is a YAML file in UTF-8; `tltool recipes show quickstart` prints one.",
        ) from error
    if not isinstance(values, dict):
        raise RecipeError(
            f"{file} holds no recipe: a mapping with `task:` and `backbone:` is needed, "
            f"received {'nothing' if values is None else type(values).__name__}.",
            hint="`tltool recipes copy quickstart .` gives a recipe to start from.",
        )
    return values, dict(_lines(node, ""))


def read_yaml(text: str, wanted: Any = Any) -> tuple[Any, yaml.Node | None]:
    """The value of a YAML text, and the node it was made of.

    Args:
        text: One document.
        wanted: The type that is wanted of it, such as a section.

    Raises:
        yaml.YAMLError, ValueError: It is not YAML, or none that a recipe can be.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _check(node)
        _keep_texts(node, wanted)
        return loader.construct_document(node), node
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    except (LookupError, OverflowError) as error:
        raise ValueError(f"a value is not of its own kind ({error})") from None


def override(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of a recipe's values with dotted `key=value` texts applied.

    Raises:
        RecipeError: An override can't be read, or has no place.
    """
    result: dict[str, Any] = json.loads(json.dumps(values))
    for text in map(str, items_of(overrides, "overrides", RecipeError)):
        keys, raw = _parts(text)
        try:
            value = _value_of(raw, reduce(_below, keys, RecipeFields))
        except (yaml.YAMLError, ValueError) as error:
            raise RecipeError(f"The override {text!r} can't be read: {_one_line(error)}") from error
        _assign(result, keys, value, text, RecipeFields)
    return result


def refuse_two(*fields: tuple[str, Any, str, Any]) -> None:
    """Raises RecipeError where an argument and an override say different things.

    Args:
        fields: The argument's name and value, None if it was not given; field and value of the
            recipe that overrides made.
    """
    for name, given, field, value in fields:
        if given is not None and not same_value(field, given, value):
            raise RecipeError(
                f"{name}: {given} is given, but {field} is {value} in an override.",
                hint="leave one of the two out",
            )


def same_value(field: str, one: Any, other: Any) -> bool:
    """Whether two values of a field mean the same, as `photos` and `photos/` do of a place.

    Args:
        field: Dotted, items of lists by their number.
        one, other: Its values; None where there is none.
    """
    places = isinstance(one, str) and isinstance(other, str) and _PLACES.fullmatch(field)
    if not places or one == other:
        return bool(one == other)
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def _parts(text: str) -> tuple[list[str], str]:
    """The keys of an override, those in quotes whole, and its value.

    Raises:
        RecipeError: It has none.
    """
    keys, place = [], 0
    while found := _KEY.match(text, place):
        *spellings, end = found.groups()
        keys.append(next(key for key in spellings if key is not None))
        place = found.end()
        if end == "=" and keys != [""]:
            return keys, text[place:]
        if end == "=":
            break
    raise RecipeError(
        f"The override {text!r} is not of the form key=value.",
        hint="For example: schedule.0.epochs=2 data.train=photos/",
    )


def _value_of(raw: str, wanted: Any) -> Any:
    """The value of an override: a text as it is, all else as YAML.

    A text in quotes is read as YAML too, so that `"null"` and `"\\t"` can be written.
    """
    if not raw:
        return "" if _branches(wanted) == [str] else None
    quoted = len(raw) > 1 and raw[0] == raw[-1] and raw[0] in "'\""
    if not _is_text(wanted) or quoted or (raw.startswith("{") and str not in _branches(wanted)):
        return read_yaml(raw, wanted)[0]
    return None if raw == "null" and NoneType in _branches(wanted) else raw


def _assign(target: Any, keys: list[str], value: Any, text: str, wanted: Any) -> None:
    key, rest = keys[0], keys[1:]
    inner = _branches(_below(wanted, key))
    if isinstance(target, list):
        if not (key.isascii() and key.isdigit() and len(key) < 10) or int(key) >= len(target):
            raise RecipeError(
                f"The override {text!r} names item {key!r} of a list of {len(target)}.",
                hint=f"Items are counted from 0 to {len(target) - 1}." if target else None,
            )
        place: Any = int(key)
    elif isinstance(target, dict):
        place = key
        if rest and inner == [float]:
            label = ".".join(keys).replace('"', "")
            raise RecipeError(
                f"The override {text!r} goes below {key!r}, which is a number.",
                hint=f'a label with a point in it stands in quotes: "{label}"',
            )
        if rest and not isinstance(target.get(key), dict | list):
            named = next((field for kind, field in SHORTHANDS.values() if kind in inner), None)
            word = target.get(key)
            target[key] = {named: word} if named and isinstance(word, str) else {}
    else:
        raise RecipeError(f"The override {text!r} goes below a plain value.")
    if rest:
        _assign(target[place], rest, value, text, _below(wanted, key))
    else:
        target[place] = value


def _check(root: yaml.Node) -> None:
    """Raises YAMLError where a node is none that a recipe can be.

    Aliases stand for all that they repeat, so that a few lines of them cannot
    fill the memory; one that holds itself has no end.
    """
    sizes: dict[int, tuple[int, int] | None] = {}

    def measure(node: yaml.Node) -> tuple[int, int]:
        """Values in a node, and how deep they lie."""
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise _at(node, "an alias holds itself")
            return known
        sizes[id(node)] = None
        inner = [measure(child) for child in _children(node)]
        size = 1 + sum(below for below, _ in inner)
        depth = 1 + max((below for _, below in inner), default=0)
        if size > MOST_VALUES:
            raise _at(node, f"there are more than {MOST_VALUES:,} values")
        if depth > DEEPEST:
            raise _at(node, f"it is nested more than {DEEPEST} deep")
        sizes[id(node)] = size, depth
        return size, depth

    measure(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    """The nodes in a node, its own faults told."""
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, "a key must be a text, not a list or a mapping")
            if key.value in seen:
                raise _at(key, f"the key {key.value!r} is given twice")
            seen.add(key.value)
            yield key
            yield value
    elif half := half_character(node.value):
        raise _at(node, f"a text holds {half}")
    elif node.tag != f"{_TAG}str" and len(node.value) > LONGEST_NUMBER:
        raise _at(node, f"a number has more than {LONGEST_NUMBER:,} characters")


def _keep_texts(node: yaml.Node, wanted: Any) -> None:
    """Makes texts of the scalars that are wanted as texts, and of all keys."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            merged = key.tag == f"{_TAG}merge"
            if not merged:
                key.tag = f"{_TAG}str"
            _keep_texts(value, wanted if merged else _below(wanted, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            _keep_texts(value, _below(wanted, str(place)))
    elif (
        _is_text(wanted)
        and node.tag.startswith(_TAG)
        and not (node.tag == f"{_TAG}null" and (NoneType in _branches(wanted) or not node.value))
    ):
        node.tag = f"{_TAG}str"


def _branches(wanted: Any) -> list[Any]:
    """The types that a field may have, without their limits."""
    if get_origin(wanted) is Annotated:
        return _branches(get_args(wanted)[0])
    if get_origin(wanted) in (Union, UnionType):
        return [branch for one in get_args(wanted) for branch in _branches(one)]
    return [wanted]


def _below(wanted: Any, key: str) -> Any:
    """The type of what stands under a key, or in a list; Any where the schema leaves it open."""
    for branch in _branches(wanted):
        if isinstance(branch, type) and issubclass(branch, BaseModel):
            for name, field in branch.model_fields.items():
                if key == (field.alias or name):
                    return field.annotation
        elif get_origin(branch) is dict:
            return get_args(branch)[1]
        elif get_origin(branch) is tuple:
            return get_args(branch)[0]
    return Any


def _is_text(wanted: Any) -> bool:
    """Whether a scalar there is a text: a section that a name stands for takes one too."""
    sections = [section for section, _ in SHORTHANDS.values()]
    return any(branch is str or branch in sections for branch in _branches(wanted))


def _at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


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

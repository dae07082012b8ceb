"""Templates of programs: files in which `%if flag`, `%else` and `%end` choose lines.

`%constants` stands for the constants, spelt as the language spells them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

Value = str | int | float | list[float] | list[list[int]]
"""What a constant may be."""
_FOLDER = "tltool.export.sidecars"


@dataclass(frozen=True)
class Language:
    """How a language spells constants.

    Attributes:
        suffix: Of its files.
        constant: The declaration of a constant, from its name in capitals and its value.
    """

    suffix: str
    constant: Callable[[str, Value], str]


def fill(
    names: Sequence[str],
    language: Language,
    flags: Mapping[str, bool],
    constants: Mapping[str, Value],
) -> str:
    """Templates one after the other, with their lines chosen and their constants put in.

    Args:
        names: Of the templates, without suffixes.
        language: That they are written in.
        flags: What `%if` asks for; each is known.
        constants: Those that the templates use, and maybe others, which are left out.

    Raises:
        KeyError: A template asks for a flag that is not in `flags`.
    """
    folder = files(_FOLDER) / "templates"
    text = "".join((folder / f"{name}.{language.suffix}.in").read_text("utf-8") for name in names)
    body = "".join(_chosen(text.splitlines(keepends=True), flags))
    used = [
        language.constant(name, value)
        for name, value in constants.items()
        if re.search(rf"\b{_camel_case(name) if language is SWIFT else name}\b", body)
    ]
    return body.replace("%constants\n", "".join(f"{line}\n" for line in used))


def _chosen(lines: list[str], flags: Mapping[str, bool]) -> list[str]:
    """The lines outside of what a flag excludes."""
    kept: list[str] = []
    taken: list[bool] = []
    for line in lines:
        word, _, flag = line.strip().partition(" ")
        if word == "%if":
            taken.append(flags[flag])
        elif word == "%else":
            taken[-1] = not taken[-1]
        elif word == "%end":
            taken.pop()
        elif all(taken):
            kept.append(line)
    return kept


def _python(name: str, value: Value) -> str:
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"


def _javascript(name: str, value: Value) -> str:
    return f"const {name} = {json.dumps(value, ensure_ascii=False)};"


def _kotlin(name: str, value: Value) -> str:
    if isinstance(value, str):
        return f"private const val {name} = " + json.dumps(value).replace("$", "\\$")
    if isinstance(value, int):
        return f"private const val {name} = {value}"
    if isinstance(value, float):
        return f"private const val {name} = {value}f"
    return f"private val {name} = {_kotlin_array(value)}"


def _kotlin_array(values: list[float] | list[list[int]]) -> str:
    items = [f"{v[0]}..{v[1]}" if isinstance(v, list) else f"{float(v)}f" for v in values]
    kind = "listOf" if values and isinstance(values[0], list) else "floatArrayOf"
    return f"{kind}({', '.join(items)})"


def _swift(name: str, value: Value) -> str:
    name = _camel_case(name)
    if isinstance(value, str):
        escaped = re.sub(r"\\u([0-9a-f]{4})", r"\\u{\1}", json.dumps(value, ensure_ascii=False))
        return f"private let {name} = {escaped}"
    if isinstance(value, int):
        return f"private let {name} = {value}"
    if isinstance(value, float):
        return f"private let {name}: Float = {value}"
    if values := [v for v in value if isinstance(v, list)]:
        ranges = ", ".join(f"{first}...{last}" for first, last in values)
        return f"private let {name}: [ClosedRange<UInt32>] = [{ranges}]"
    return f"private let {name}: [Float] = {json.dumps(value)}"


def _camel_case(name: str) -> str:
    first, *others = name.lower().split("_")
    return first + "".join(word.capitalize() for word in others)


PYTHON = Language("py", _python)
JAVASCRIPT = Language("js", _javascript)
KOTLIN = Language("kt", _kotlin)
SWIFT = Language("swift", _swift)

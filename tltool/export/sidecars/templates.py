"""Templates of programs: Jinja's, whose statements stand on lines of their own after a %.

`{{ constants }}` stands for the constants, spelt as the language spells them.
Blank lines after a statement are left out: those that are wanted stand before the next one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


class Doubles(list[float]):
    """Numbers in double precision."""


Value = str | int | float | list[float] | list[str] | list[list[int]] | Doubles
"""What a constant may be."""


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
    name: str, language: Language, flags: Mapping[str, bool], constants: Mapping[str, Value]
) -> str:
    """A template with its lines chosen and its constants put in.

    Args:
        name: Of the template, without suffixes.
        language: That it is written in.
        flags: What its statements ask for.
        constants: Those that it uses, and maybe others, which are left out.

    Raises:
        jinja2.UndefinedError: It asks for a flag that is not in `flags`.
    """
    template = _environment().get_template(f"{name}.{language.suffix}.in")
    body = template.render(flags, constants="")
    used = [
        language.constant(constant, value)
        for constant, value in constants.items()
        if re.search(rf"\b{_camel_case(constant) if language is SWIFT else constant}\b", body)
    ]
    return template.render(flags, constants="\n".join(used))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("tltool.export.sidecars"),
        line_statement_prefix="%",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _python(name: str, value: Value) -> str:
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"


def _javascript(name: str, value: Value) -> str:
    return f"const {name} = {json.dumps(value, ensure_ascii=False)};"


def _kotlin_text(text: str) -> str:
    return json.dumps(text).replace("$", "\\$")


def _kotlin(name: str, value: Value) -> str:
    if isinstance(value, str):
        return f"private const val {name} = {_kotlin_text(value)}"
    if isinstance(value, int):
        return f"private const val {name} = {value}"
    if isinstance(value, float):
        return f"private const val {name} = {value}f"
    return f"private val {name} = {_kotlin_array(value)}"


def _kotlin_array(values: list[float] | list[str] | list[list[int]]) -> str:
    if isinstance(values, Doubles):
        return f"doubleArrayOf({', '.join(map(repr, values))})"
    if texts := [v for v in values if isinstance(v, str)]:
        return f"listOf({', '.join(_kotlin_text(text) for text in texts)})"
    items = [f"{v[0]}..{v[1]}" if isinstance(v, list) else f"{float(v)}f" for v in values]
    kind = "listOf" if values and isinstance(values[0], list) else "floatArrayOf"
    return f"{kind}({', '.join(items)})"


def _swift_text(text: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", r"\\u{\1}", json.dumps(text, ensure_ascii=False))


def _swift(name: str, value: Value) -> str:
    name = _camel_case(name)
    if isinstance(value, str):
        return f"private let {name} = {_swift_text(value)}"
    if isinstance(value, int):
        return f"private let {name} = {value}"
    if isinstance(value, float):
        return f"private let {name}: Float = {value}"
    if isinstance(value, Doubles):
        return f"private let {name}: [Double] = {json.dumps(value)}"
    if texts := [v for v in value if isinstance(v, str)]:
        return f"private let {name} = [{', '.join(map(_swift_text, texts))}]"
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

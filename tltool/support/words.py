"""Text for people: numbers in words, long or unsafe text on one safe line, names in order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

EXCERPT_CHARACTERS = 120
# Letters of Cyrillic and Greek that have the shape of Latin ones.
_TWINS = str.maketrans(
    "АВЕЅІЈКМНОРСТХаеѕіјорсухΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABESIJKMHOPCTXaesijopcyxABEZHIKMNOPTYXo"
)
# Characters that reverse the reading order could make a terminal show another text.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_line(text: str) -> str:
    """A text of any length as `excerpt` shows it."""
    return "".join(map(_harmless, " ".join(text.split())))


def harmless(text: str) -> str:
    """A text whose control characters, but for line feeds, became U+FFFD."""
    return "\n".join("".join(map(_harmless, line)) for line in text.split("\n"))


def excerpt(value: Any, characters: int = EXCERPT_CHARACTERS) -> str:
    """An input on one line: text shortened at the end, two of a pair, or an image array's size.

    White space becomes single spaces; control characters, which could drive a
    terminal, and characters that reorder text become U+FFFD.
    """
    if isinstance(value, tuple):
        return " / ".join(excerpt(text, characters // 2) for text in value)
    if not isinstance(value, str):
        height, width = value.shape[:2]
        return f"image of {width} x {height} px"
    line = one_line(value)
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"


def _harmless(character: str) -> str:
    harmful = unicodedata.category(character) in {"Cc", "Cs"} or character in _REORDERING
    return "\ufffd" if harmful else character


def half_character(text: str) -> str | None:
    """Names the half of a surrogate pair in a text, which no file can hold; None where is none.

    Bytes that are not in the encoding of their file are read as such halves
    (U+DC80 to U+DCFF, as PEP 383 has it).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        byte = f" or the byte 0x{half - 0xDC00:02x} that is not UTF-8" if half >> 7 == 0x1B9 else ""
        return f"half a character (\\u{half:04x}){byte}"
    return None


def appearance(text: str) -> str:
    """A key that is equal for names a reader takes for one.

    Upper and lower case, kinds of spaces, composed and decomposed letters,
    characters without width, letters of other scripts with a Latin shape, and
    numbers of the same value (`1` and `1.0`) make no difference.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_TWINS).casefold()
    seen = (c for c in plain if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
    line = " ".join("".join(seen).split())
    try:
        # As many digits as there are characters: more would be rounded to the same number.
        return line if "_" in line else str(Decimal(line).normalize(Context(prec=len(line) or 1)))
    except ArithmeticError:
        return line


def percent(share: float) -> str:
    """0.934 as "93.4 %"."""
    return f"{100 * share:.1f} %"


def number(value: float | None) -> str:
    """Four significant digits, or a dash for what is undefined."""
    return "–" if value is None else f"{value:.4g}"


def count(amount: int, noun: str) -> str:
    """1 as "1 text", 1200 as "1,200 texts"."""
    return f"1 {noun}" if amount == 1 else f"{amount:,} {plural(noun)}"


def plural(noun: str) -> str:
    """Nouns in -s take -es."""
    return f"{noun}{'es' if noun.endswith('s') else 's'}"


def duration(seconds: float) -> str:
    """75 as "1 min 15 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names in quotes with commas, the rest of a long list as their number."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def natural_key(text: str) -> list[str | int]:
    """Sorts "2" before "10": texts and runs of digits in turn, then the text itself."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)] + [-1, text]


def short(value: Any) -> float:
    """A float32 without the digits it only gets by becoming a Python float."""
    return float(f"{value:.7g}")

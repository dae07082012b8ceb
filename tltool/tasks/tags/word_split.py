"""Where the words of a text are that get a tag each, by the kind of each character alone.

A word is a run of letters, marks and digits; each other visible character is a
word by itself, and so is each character of Chinese and Japanese, whose words no
space tells apart. `tltool.data.texts.words` does the same in graphs.
"""

from __future__ import annotations

import unicodedata

GAP, UPPER, LOWER, DIGIT, OTHER, SINGLE = range(6)
"""Kinds of characters: between words; in a word, upper and lower case, digits, others; alone."""

# Kana, and the ideographs that BERT's tokenizer sets apart.
ALONE = (
    range(0x3040, 0x3100),
    range(0x31F0, 0x3200),
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0xF900, 0xFB00),
    range(0x20000, 0x2FA20),
)
_CASED = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Nd": DIGIT}

NO_WORD, UNCASED, ALL_LOWER, TITLE, ALL_UPPER, ONE_UPPER, MIXED, DIGITS, WITH_DIGITS, SYMBOL = (
    range(10)
)
"""Shapes of words, which a tokenizer that lowers all letters hides."""
NUM_SHAPES = 10


def character_kind(character: str) -> int:
    """GAP, UPPER, LOWER, DIGIT, OTHER or SINGLE."""
    category = unicodedata.category(character)
    if category in _CASED:
        return _CASED[category]
    if category[0] == "Z" or category in {"Cc", "Co", "Cs"}:
        return GAP
    if category[0] in "PS" or category == "Cn":
        return SINGLE
    code = ord(character)
    return SINGLE if any(code in block for block in ALONE) else OTHER


def words_of(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, in characters, the end excluded."""
    words: list[tuple[int, int]] = []
    open_since: int | None = None
    for place, character in enumerate(text):
        kind = character_kind(character)
        if kind in (GAP, SINGLE):
            if open_since is not None:
                words.append((open_since, place))
                open_since = None
            if kind == SINGLE:
                words.append((place, place + 1))
        elif open_since is None:
            open_since = place
    if open_since is not None:
        words.append((open_since, len(text)))
    return words

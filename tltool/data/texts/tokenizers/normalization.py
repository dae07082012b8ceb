"""The normalisation of a Unigram contract, on ragged rows of character codes, in graphs.

Each step computes what the normalizer of Hugging Face's `tokenizers` does,
but that characters which Unicode added after the tables of either side differ.
Their character map is not SentencePiece's, which takes the longest key at each
byte. Theirs goes from one cluster of characters (see `graphemes`) to the next:
one of less than six bytes becomes what its *shortest* beginning among the keys
becomes, whatever follows it in the cluster; in any other, each character is
replaced for itself. So "ﬁ" with an acute accent becomes "fi" without it there,
and with it in SentencePiece, and no key of six bytes or more is ever found.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.preprocessing import UnigramPreprocessing
from tltool.data.texts.tokenizers.base import lookup_table
from tltool.data.texts.tokenizers.character_map import LONGEST_KEY, read_character_map
from tltool.data.texts.tokenizers.characters import ASSIGNED, NUM_CODES, CharacterTable
from tltool.data.texts.tokenizers.composition import Compose
from tltool.data.texts.tokenizers.graphemes import Graphemes
from tltool.data.texts.tokenizers.replacement import Replace
from tltool.data.texts.tokenizers.rows import before, keep, last_place, parts, row_starts

WHITE_SPACE = (
    *range(0x09, 0x0E),
    *(0x20, 0x85, 0xA0, 0x1680),
    *range(0x2000, 0x200B),
    *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
)
"""Unicode's property White_Space."""
_CODES = 1 << 21


class Normalization(tf.Module):
    """Applies the steps of a contract.

    Raises:
        BackboneError: The character map is damaged.
    """

    def __init__(self, contract: UnigramPreprocessing) -> None:
        super().__init__()
        self.is_white_space = WhiteSpace()
        makers: dict[str, Callable[[], Any]] = {
            "quotes": Quotes,
            "strip_accents": lambda: Replace(*_replacements_of("strip_accents")),
            "lowercase": lambda: Replace(*_replacements_of("lowercase")),
            "nfc": Compose,
            "join_white_space": lambda: JoinWhiteSpace(self.is_white_space),
            "strip": lambda: Strip(self.is_white_space, left=True),
            "character_map": lambda: CharacterMap(read_character_map(contract.character_map)),
            "strip_right": lambda: Strip(self.is_white_space, left=False),
            "collapse_spaces": CollapseSpaces,
        }
        self._steps = [makers[step]() for step in contract.steps]

    def __call__(self, texts: Any) -> Any:
        """Strings (n,) to ragged rows of character codes, int32 (n, characters)."""
        codes = tf.strings.unicode_decode(texts, "UTF-8", errors="ignore")
        for step in self._steps:
            codes = step(codes)
        return codes


class WhiteSpace(tf.Module):
    """Tells white space from other characters."""

    def __init__(self) -> None:
        super().__init__()
        values = np.zeros(NUM_CODES, np.int32)
        values[list(WHITE_SPACE)] = 1
        self._table = CharacterTable(values)

    def __call__(self, codes: Any) -> Any:
        """Whether each character is white space, bool like `codes`."""
        return self._table(codes) > 0


class Quotes(tf.Module):
    """Two grave accents, or two apostrophes, become one quotation mark."""

    def __call__(self, codes: Any) -> Any:
        """Replaces from left to right, as in a text."""
        values = codes.flat_values
        same = tf.equal(values, before(values, 0)) & ~row_starts(codes)
        same &= tf.equal(values, ord("`")) | tf.equal(values, ord("'"))
        places = tf.range(tf.size(values, tf.int64), dtype=tf.int64)
        second = tf.equal((places - last_place(~same)) % 2, 1)
        first = tf.concat([second, [False]], 0)[1:]
        marked = tf.where(first, ord('"'), values)
        return keep(codes.with_flat_values(marked), ~second)


class Strip(tf.Module):
    """White space at both ends is dropped, or at the end alone."""

    def __init__(self, is_white_space: WhiteSpace, *, left: bool) -> None:
        super().__init__()
        self._is_white_space, self._left = is_white_space, left

    def __call__(self, codes: Any) -> Any:
        """Strips each row."""
        solid = tf.where(~self._is_white_space(codes.flat_values))[:, 0]
        places = tf.concat([[-1], solid, [tf.size(codes.flat_values, tf.int64)]], 0)
        starts, limits = codes.row_splits[:-1], codes.row_splits[1:]
        last = tf.gather(places, tf.searchsorted(solid, limits))
        first = tf.gather(places, tf.searchsorted(solid, starts) + 1) if self._left else starts
        return parts(codes, tf.minimum(first, limits), tf.maximum(last + 1, starts))


class JoinWhiteSpace(tf.Module):
    """Several characters of white space become one space, and so does a line break or a tab."""

    def __init__(self, is_white_space: WhiteSpace) -> None:
        super().__init__()
        self._is_white_space = is_white_space

    def __call__(self, codes: Any) -> Any:
        """Joins in each row."""
        values = codes.flat_values
        white = self._is_white_space(values)
        further = white & before(white, False) & ~row_starts(codes)
        several = tf.concat([further, [False]], 0)[1:] & ~further
        single = tf.reduce_any(tf.equal(values[:, None], [[*map(ord, "\n\r\t")]]), axis=1)
        joined = tf.where(several | single, ord(" "), values)
        return keep(codes.with_flat_values(joined), ~further)


class CollapseSpaces(tf.Module):
    """Of several spaces one stays."""

    def __call__(self, codes: Any) -> Any:
        """Collapses each row."""
        space = tf.equal(codes.flat_values, ord(" "))
        return keep(codes, ~(space & before(space, False) & ~row_starts(codes)))


class CharacterMap(tf.Module):
    """SentencePiece's character map, as `tokenizers` applies it; see the module."""

    def __init__(self, replacements: Mapping[str, str]) -> None:
        super().__init__()
        rows = tuple(dict.fromkeys(("", *replacements.values())))
        number = {row: index + 1 for index, row in enumerate(rows)}
        self._dropped = number[""]
        values = np.zeros(NUM_CODES, np.int32)
        several = {}
        for key, row in replacements.items():
            if len(key) == 1:
                values[ord(key)] = number[row]
            else:
                several[_packed(key)] = number[row]
        self._replace = Replace(values, rows)
        several = several or {-1: 0}
        self._several = lookup_table(list(several), list(several.values()), tf.int64)
        self._graphemes = Graphemes()

    def __call__(self, codes: Any) -> Any:
        """Replaces in each row."""
        numbers = self._replace.numbers(codes.flat_values)
        numbers = tf.cond(
            self._graphemes.may_join(codes),
            lambda: self._by_cluster(codes, numbers),
            lambda: numbers,
        )
        return self._replace.put(codes, numbers)

    def _by_cluster(self, codes: Any, numbers: Any) -> Any:
        """The numbers with those of small clusters of several characters."""
        values = codes.flat_values
        starts = tf.where(self._graphemes.starts(codes))[:, 0]
        limits = tf.concat([starts[1:], tf.size(values, tf.int64)[None]], 0)
        ends = tf.concat([[0], tf.cumsum(_utf8_length(values))], 0)
        small = tf.gather(ends, limits) - tf.gather(ends, starts) <= LONGEST_KEY
        small &= limits - starts > 1
        starts, limits = starts[small], limits[small]
        found = self._shortest(values, numbers, starts, limits)
        starts, limits, found = starts[found > 0], limits[found > 0], found[found > 0]
        rest = tf.ragged.range(starts + 1, limits).flat_values
        numbers = tf.tensor_scatter_nd_update(numbers, starts[:, None], found)
        dropped = tf.fill(tf.shape(rest), self._dropped)
        return tf.tensor_scatter_nd_update(numbers, rest[:, None], dropped)

    def _shortest(self, values: Any, numbers: Any, starts: Any, limits: Any) -> Any:
        """The number of the shortest key that each cluster begins with, or 0."""
        found = tf.gather(numbers, starts)
        packed = tf.cast(tf.gather(values, starts), tf.int64)
        for size in (2, 3):
            inside = starts + size <= limits
            place = tf.where(inside, starts + size - 1, starts)
            packed = packed * _CODES + tf.cast(tf.gather(values, place), tf.int64)
            number = tf.maximum(self._several.lookup(packed), 0)
            found = tf.where(tf.equal(found, 0) & inside, number, found)
        return found


def _packed(characters: str) -> int:
    """Two or three characters as one number."""
    packed = 0
    for character in characters:
        packed = packed * _CODES + ord(character)
    return packed


def _utf8_length(codes: Any) -> Any:
    """Bytes of each character in UTF-8, int32."""
    return 1 + sum(tf.cast(codes >= least, tf.int32) for least in (0x80, 0x800, 0x10000))


@lru_cache(maxsize=4)
def _replacements_of(step: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """What a step makes of single characters, for `Replace`."""
    change = {"strip_accents": _without_accents, "lowercase": str.lower}[step]
    numbers: dict[str, int] = {}
    values = np.zeros(NUM_CODES, np.int32)
    for code in ASSIGNED:
        new = change(chr(code))
        if new != chr(code):
            values[code] = numbers.setdefault(new, 1 + len(numbers))
    return values, tuple(numbers)


def _without_accents(character: str) -> str:
    new = unicodedata.normalize("NFKD", character)
    return "".join(c for c in new if not unicodedata.category(c).startswith("M"))

"""What a reader sees as one character: Unicode's extended grapheme clusters, in graphs.

Source: Unicode Standard Annex 29, of which two rules are left out, since they
change nothing for clusters of less than six bytes, for which `normalization`
needs them: pairs of regional indicators (GB12, GB13), and Indic conjuncts
(GB9c) but where an accent of another script follows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import regex
import tensorflow as tf

from tltool.data.texts.tokenizers.characters import NUM_CODES, CharacterTable
from tltool.data.texts.tokenizers.rows import before, last_place, row_starts

# Values of the property Grapheme_Cluster_Break; 0 is "other", the last one all of another property.
_BREAKS = ("CR", "LF", "Control", "Extend", "ZWJ", "SpacingMark", "Prepend")
_HANGUL = ("L", "V", "T", "LV", "LVT")
_CLASSES = ("Other", *_BREAKS, *_HANGUL, "Extended_Pictographic")
_NUMBER = {name: number for number, name in enumerate(_CLASSES)}
_SURROGATES = range(0xD800, 0xE000)


class Graphemes(tf.Module):
    """Tells where clusters of characters begin."""

    def __init__(self) -> None:
        super().__init__()
        self._classes = CharacterTable(_classes_of_characters())
        self._joins = tf.constant(_joins())

    def may_join(self, codes: Any) -> Any:
        """Whether any small cluster of these rows may have more than one character, bool ()."""
        kinds = self._classes(codes.flat_values)
        return tf.reduce_any((kinds >= _NUMBER["CR"]) & (kinds <= _NUMBER["Prepend"]))

    def starts(self, codes: Any) -> Any:
        """Whether a cluster begins at each character of ragged rows, bool (characters,)."""
        kinds = self._classes(codes.flat_values)
        previous = before(kinds, 0)
        joined = tf.gather(self._joins, previous * len(_CLASSES) + kinds)
        first = row_starts(codes)
        # GB11: a pictograph, what extends it, a joiner, and another pictograph.
        base = last_place(kinds != _NUMBER["Extend"])
        base = before(before(base, -1), -1)
        picture = _NUMBER["Extended_Pictographic"]
        begun = tf.equal(tf.gather(kinds, tf.maximum(base, 0)), picture)
        begun &= base >= last_place(first)
        after_joiner = tf.equal(previous, _NUMBER["ZWJ"]) & tf.equal(kinds, picture)
        return first | ~(joined | (after_joiner & begun))


@lru_cache(maxsize=1)
def _classes_of_characters() -> np.ndarray:
    """The class of each character as an index of `_CLASSES`."""
    everything = "".join(chr(code) for code in range(NUM_CODES) if code not in _SURROGATES)
    classes = np.zeros(NUM_CODES, np.int32)
    for name, number in _NUMBER.items():
        own = name if number == _NUMBER["Extended_Pictographic"] else f"GCB={name}"
        found = "".join(regex.findall(rf"\p{{{own}}}+", everything)) if number else ""
        classes[[ord(character) for character in found]] = number
    return classes


def _joins() -> np.ndarray:
    """Whether there is no border between a class and the one after it, bool (n * n,)."""
    joins = np.zeros((len(_CLASSES), len(_CLASSES)), bool)

    def join(left: tuple[str, ...], right: tuple[str, ...]) -> None:
        joins[np.ix_([_NUMBER[n] for n in left], [_NUMBER[n] for n in right])] = True

    join(_CLASSES, ("Extend", "ZWJ", "SpacingMark"))  # GB9, GB9a
    join(("Prepend",), _CLASSES)  # GB9b
    join(("L",), ("L", "V", "LV", "LVT"))  # GB6
    join(("LV", "V"), ("V", "T"))  # GB7
    join(("LVT", "T"), ("T",))  # GB8
    controls = [_NUMBER[name] for name in ("CR", "LF", "Control")]
    joins[controls, :] = joins[:, controls] = False  # GB4, GB5
    join(("CR",), ("LF",))  # GB3
    return joins.reshape(-1)

"""Unicode's normalisation form NFC on ragged rows of character codes, in graphs.

Source: Unicode Standard Annex 15. Characters are decomposed, marks are put in
their canonical order, and each mark that can is made one with the character
that it stands on, in all places at once.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.texts.tokenizers.base import lookup_table
from tltool.data.texts.tokenizers.characters import ASSIGNED, NUM_CODES, CharacterTable
from tltool.data.texts.tokenizers.replacement import Replace
from tltool.data.texts.tokenizers.rows import before, keep, last_place, row_starts

_CODES = 1 << 21


class Compose(tf.Module):
    """NFC; rows that have it already are left alone."""

    def __init__(self) -> None:
        super().__init__()
        tables = _tables()
        self._may_change = CharacterTable(tables["may_change"])
        self._classes = CharacterTable(tables["classes"])
        self._decompose = Replace(*_decompositions())
        pairs = _pairs()
        self._composites = lookup_table(list(pairs), list(pairs.values()), tf.int64)

    def __call__(self, codes: Any) -> Any:
        """Normalizes each row."""
        changes = tf.reduce_any(self._may_change(codes.flat_values) > 0)
        values, splits = tf.cond(
            changes,
            lambda: self._normalized(codes),
            lambda: (codes.flat_values, codes.row_splits),
        )
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)

    def _normalized(self, codes: Any) -> tuple[Any, Any]:
        """The flat values and the splits of the rows in NFC."""
        codes = self._in_order(self._decompose(codes))

        def step(values: Any, splits: Any, _: Any) -> tuple[Any, Any, Any]:
            codes = tf.RaggedTensor.from_row_splits(values, splits, validate=False)
            places, starters, composites = self._compositions(codes)
            values = tf.tensor_scatter_nd_update(values, starters[:, None], composites)
            gone = tf.scatter_nd(
                places[:, None], tf.ones_like(composites), tf.shape(values, tf.int64)
            )
            kept = keep(codes.with_flat_values(values), tf.equal(gone, 0))
            return kept.flat_values, kept.row_splits, tf.size(places) > 0

        many = tf.TensorShape([None])
        values, splits, _ = tf.while_loop(
            lambda *state: state[2],
            step,
            (codes.flat_values, codes.row_splits, tf.constant(True)),
            shape_invariants=(many, many, tf.TensorShape([])),
        )
        return values, splits

    def _in_order(self, codes: Any) -> Any:
        """The rows with the marks after each starter in the order of their classes."""
        values = codes.flat_values
        classes = self._classes(values)
        starts = tf.equal(classes, 0) | row_starts(codes)
        keys = tf.cumsum(tf.cast(starts, tf.int64)) * 256 + tf.cast(classes, tf.int64)
        order = tf.argsort(keys, stable=True)
        return codes.with_flat_values(tf.gather(values, order))

    def _compositions(self, codes: Any) -> tuple[Any, Any, Any]:
        """Which characters are made one with which starters before them, and what comes out.

        Of those that one starter could take, the first; none whose starter is
        taken itself.
        """
        values, first = codes.flat_values, row_starts(codes)
        classes = self._classes(values)
        starter = before(last_place(tf.equal(classes, 0)), -1)
        has_starter = starter >= last_place(first)
        starter = tf.maximum(starter, 0)
        pairs = tf.cast(tf.gather(values, starter), tf.int64) * _CODES + tf.cast(values, tf.int64)
        composites = self._composites.lookup(pairs)
        places = tf.range(tf.size(values, tf.int64), dtype=tf.int64)
        blocked = (places > starter + 1) & (before(classes, 0) >= classes)
        possible = has_starter & ~first & ~blocked & (composites >= 0)
        possible &= ~tf.gather(possible, starter)
        places, starter = places[possible], starter[possible]
        chosen = ~tf.equal(starter, before(starter, -1))
        return places[chosen], starter[chosen], composites[possible][chosen]


@lru_cache(maxsize=1)
def _tables() -> dict[str, np.ndarray]:
    """Of each character whether NFC may change it or what is before it, and its class."""
    may_change, classes = np.zeros((2, NUM_CODES), np.int32)
    for code in ASSIGNED:
        character = chr(code)
        classes[code] = unicodedata.combining(character)
        may_change[code] = unicodedata.normalize("NFC", character) != character
    for pair in _pairs():
        may_change[pair % _CODES] = 1
    # Marks may be in another order than the canonical one.
    may_change[classes > 0] = 1
    return {"may_change": may_change, "classes": classes}


@lru_cache(maxsize=1)
def _decompositions() -> tuple[np.ndarray, tuple[str, ...]]:
    """What NFD makes of single characters, for `Replace`."""
    numbers: dict[str, int] = {}
    values = np.zeros(NUM_CODES, np.int32)
    for code in ASSIGNED:
        new = unicodedata.normalize("NFD", chr(code))
        if new != chr(code):
            values[code] = numbers.setdefault(new, 1 + len(numbers))
    return values, tuple(numbers)


@lru_cache(maxsize=1)
def _pairs() -> dict[int, int]:
    """Two characters, as one number, to the one that they become."""
    pairs = {}
    for code in ASSIGNED:
        character = chr(code)
        parts = unicodedata.normalize("NFD", character)
        if len(parts) < 2 or unicodedata.normalize("NFC", parts) != character:
            continue
        left = unicodedata.normalize("NFC", parts[:-1])
        if len(left) == 1:
            pairs[ord(left) * _CODES + ord(parts[-1])] = code
    return pairs

"""BERT's tokenizer in core TensorFlow operations, for whole batches at once.

Equal to Hugging Face's `tokenizers` (BertNormalizer, BertPreTokenizer,
WordPiece) but for three things: special tokens spelt out in a text (see
`Tokenizer`); characters that Unicode added or changed after version 8 follow
Python's newer tables; and canonical reordering of rare combining marks is
left out.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.preprocessing import WordPiecePreprocessing
from tltool.data.texts.tokenizers.base import Tokenizer, lookup_table
from tltool.data.texts.tokenizers.characters import ASSIGNED, NUM_CODES, CharacterTable
from tltool.data.texts.tokenizers.rows import row_numbers

_PRIVATE = 0xF0000
# What is done to a character; a higher number is a line of the replacements.
_KEEP, _SET_APART, _REPLACE = 0, 1, 2
# Ranges of `is_chinese_char` in `tokenizers`, whose fifth starts 0x100 later than BERT's own.
CJK = (
    range(0x4E00, 0x9FFF + 1),
    range(0x3400, 0x4DBF + 1),
    range(0x20000, 0x2A6DF + 1),
    range(0x2A700, 0x2B73F + 1),
    range(0x2B740, 0x2B81F + 1),
    range(0x2B920, 0x2CEAF + 1),
    range(0xF900, 0xFAFF + 1),
    range(0x2F800, 0x2FA1F + 1),
)


class WordPieceTokenizer(Tokenizer):
    """Texts to token ids, by the longest matching pieces of a vocabulary; see `Tokenizer`."""

    def __init__(self, contract: WordPiecePreprocessing) -> None:
        super().__init__(contract)
        self._max_word = contract.max_word_characters
        self._longest = max(len(token.removeprefix("##")) for token in contract.vocabulary)
        self._vocabulary = lookup_table(list(self.ids), list(self.ids.values()), tf.string)
        actions, replacements = _character_actions(
            contract.lowercase, contract.strip_accents, contract.split_cjk
        )
        self._actions = CharacterTable(actions)
        self._replacements = tf.constant(replacements)

    def _words(self, texts: Any) -> Any:
        """Cleans the texts and splits them at spaces, punctuation and CJK: ragged (n, words)."""
        codes = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        different, which = tf.unique(codes.flat_values)
        action = self._actions(different)
        kept = tf.strings.unicode_encode(different[:, None], "UTF-8")
        new = tf.where(tf.equal(action, _SET_APART), " " + kept + " ", kept)
        replaced = tf.gather(self._replacements, tf.maximum(action - _REPLACE, 0))
        new = tf.where(action < _REPLACE, new, replaced)
        cleaned = tf.strings.unsorted_segment_join(
            tf.gather(new, which), row_numbers(codes), codes.nrows()
        )
        return tf.strings.split(cleaned)

    def _pieces(self, words: Any) -> Any:
        """Splits words (m,) into the longest pieces of the vocabulary: ragged int32 (m, pieces).

        Each step matches the next piece of every word that is not done yet,
        so there are as many steps as pieces in the word with the most.
        """
        lengths = tf.strings.length(words, unit="UTF8_CHAR")
        unknown = lengths > self._max_word
        todo = tf.where(~unknown)[:, 0]
        state = (todo, tf.zeros_like(todo, tf.int32), unknown, todo[:0], tf.zeros([0], tf.int32))

        def step(todo: Any, start: Any, unknown: Any, rows: Any, ids: Any) -> tuple[Any, ...]:
            found, size = self._longest_match(tf.gather(words, todo), start)
            failed = tf.equal(size, 0)
            unknown = tf.tensor_scatter_nd_update(unknown, todo[:, None], failed)
            rows, ids = tf.concat([rows, todo], 0), tf.concat([ids, found], 0)
            start += size
            more = ~failed & (start < tf.gather(lengths, todo))
            return todo[more], start[more], unknown, rows, ids

        shape = tf.TensorShape([None])
        _, _, unknown, rows, ids = tf.while_loop(
            lambda todo, *_: tf.size(todo) > 0, step, state, shape_invariants=(shape,) * 5
        )
        known = ~tf.gather(unknown, rows)
        bad = tf.where(unknown)[:, 0]
        rows = tf.concat([rows[known], bad], 0)
        ids = tf.concat([ids[known], tf.fill(tf.shape(bad), self.unknown_id)], 0)
        order = tf.argsort(rows, stable=True)
        return tf.RaggedTensor.from_value_rowids(
            tf.gather(ids, order), tf.gather(rows, order), tf.size(words, tf.int64)
        )

    def _longest_match(self, words: Any, start: Any) -> tuple[Any, Any]:
        """The longest piece at character `start` of each word: its id and length (0: none)."""
        window = tf.strings.substr(
            words, start, tf.fill(tf.shape(start), self._longest), "UTF8_CHAR"
        )
        sizes = tf.range(1, self._longest + 1)
        heads = tf.strings.substr(
            window[:, None], tf.zeros_like(sizes)[None], sizes[None], "UTF8_CHAR"
        )
        prefix = tf.where(start > 0, "##", "")[:, None]
        ids = self._vocabulary.lookup(prefix + heads)
        best = tf.reduce_max(tf.where(ids >= 0, sizes, 0), axis=1)
        found = tf.gather(ids, tf.maximum(best - 1, 0), batch_dims=1)
        return found, tf.minimum(best, tf.strings.length(window, unit="UTF8_CHAR"))


@lru_cache(maxsize=4)
def _character_actions(
    lowercase: bool, strip_accents: bool, split_cjk: bool
) -> tuple[np.ndarray, list[str]]:
    """What becomes of each of Unicode's characters.

    Returns:
        `actions` int32 (`NUM_CODES`,) and `replacements`. A character's action
        is 0 where it stays, 1 where it becomes a word of its own, else 2 plus
        the index of what replaces it.
    """
    numbers = {"": _REPLACE}
    actions = np.zeros(NUM_CODES, np.int32)
    actions[_PRIVATE:] = numbers[""]
    for code in ASSIGNED:
        character = chr(code)
        new = _replacement(character, lowercase, strip_accents, split_cjk)
        if new == f" {character} ":
            actions[code] = _SET_APART
        elif new != character:
            actions[code] = numbers.setdefault(new, _REPLACE + len(numbers))
    return actions, list(numbers)


def _replacement(character: str, lowercase: bool, strip_accents: bool, split_cjk: bool) -> str:
    """What BERT's basic tokenizer makes of one character; spaces set words apart."""
    category = unicodedata.category(character)
    if character in "\t\n\r" or category in {"Zs", "Zl", "Zp"}:
        return " "
    if character == "\ufffd" or category in {"Cc", "Cf", "Co", "Cs"}:
        return ""
    new = unicodedata.normalize("NFD", character) if strip_accents else character
    if strip_accents and (category == "Mn" or len(new) > 1):
        new = "".join(c for c in new if unicodedata.category(c) != "Mn")
    if lowercase:
        new = new.lower()
    if split_cjk and character >= "\u3400" and any(ord(character) in block for block in CJK):
        return f" {new} "
    return "".join(f" {c} " if _is_punctuation(c) else c for c in new)


def _is_punctuation(character: str) -> bool:
    """Unicode's punctuation, and all of ASCII that is neither letter, digit, space nor control."""
    ascii_symbol = "!" <= character <= "~" and not character.isalnum()
    return ascii_symbol or unicodedata.category(character).startswith("P")

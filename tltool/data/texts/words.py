"""Texts word by word, in graphs: where words are, what they look like, and their tokens.

For tasks that give each word a tag. Every word is tokenized by itself, so that its
first token is known whatever the tokenizer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tltool.data.preprocessing import TextPreprocessing
from tltool.data.texts.tokenizers.base import Tokenizer
from tltool.data.texts.tokenizers.characters import ASSIGNED, NUM_CODES, CharacterTable
from tltool.data.texts.tokenizers.rows import before, row_numbers, row_starts
from tltool.tasks.tags import word_split as split

MOST_TOKENS = 16
"""Tokens of a word that are read: more are those of links and the like."""


class Words(NamedTuple):
    """The words of texts that have a token at least.

    Attributes:
        codes: The characters of each text, ragged int32 (n, characters).
        starts, ends: Of each word in characters, ragged int32 (n, words).
        first: Its first token's number among the text's, ragged int32 (n, words).
        tokens: Ids and shapes of the tokens' words, ragged int32 (n, tokens, 2).
    """

    codes: Any
    starts: Any
    ends: Any
    first: Any
    tokens: Any


class WordsTokenizer(tf.Module):
    """As `Tokenizer`, with the shape of its word beside each token: ids (n, tokens, 2).

    Args:
        contract: With `by_words`.
        tokenizer: Of single words.
    """

    def __init__(self, contract: TextPreprocessing, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_length = tokenizer.max_length
        self.padding_id = tokenizer.padding_id
        self._start, self._end = tokenizer.start_id, tokenizer.end_id
        self._kinds = CharacterTable(_kinds())

    def tokenize(self, texts: Any) -> Any:
        """Ids and shapes without special tokens and uncut, ragged int32 (n, tokens, 2)."""
        return self.words(texts).tokens

    def __call__(self, texts: Any, *, max_length: int | None = None) -> Any:
        """The same between the start and the end token, cut to `max_length`."""
        return self.enclose(self.tokenize(texts), max_length=max_length)

    def enclose(self, tokens: Any, *, max_length: int | None = None) -> Any:
        """Puts what `tokenize` gave between the start and the end token, cut as in a call."""
        tokens = tokens[:, : (max_length or self.max_length) - 2]
        ones = tf.ones_like(tokens.row_lengths(), tf.int32)[:, None, None]
        start, end = ones * [self._start, split.NO_WORD], ones * [self._end, split.NO_WORD]
        return tf.concat([start, tokens, end], axis=1)

    def lengths_of(self, tokens: Any) -> Any:
        """Numbers of tokens of what `tokenize` gave, special tokens included, int64 (n,)."""
        return tokens.row_lengths() + 2

    def words(self, texts: Any) -> Words:
        """The words of texts, strings (n,) in UTF-8."""
        codes = tf.strings.unicode_decode(
            tf.convert_to_tensor(texts, tf.string), "UTF-8", errors="replace"
        )
        kinds = self._kinds(codes.flat_values)
        row_first = row_starts(codes)
        last = tf.where(row_first, split.GAP, before(kinds, split.GAP))
        inside = tf.not_equal(kinds, split.GAP)
        alone = tf.equal(kinds, split.SINGLE)
        joined = ~tf.equal(last, split.GAP) & ~tf.equal(last, split.SINGLE)
        begins = inside & (alone | ~joined)
        number = tf.cumsum(tf.cast(begins, tf.int32)) - 1
        places = tf.cast(tf.where(begins)[:, 0], tf.int32)
        count = tf.size(places)
        inner = tf.boolean_mask(number, inside)
        sizes = tf.math.unsorted_segment_sum(tf.ones_like(inner), inner, count)
        spaced = tf.gather(tf.equal(last, split.GAP) & ~row_first, places)
        shapes = _shapes(tf.boolean_mask(kinds, inside), inner, count)
        characters = tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(codes.flat_values, inside), sizes, validate=False
        )
        tokens = self._tokens(tf.strings.unicode_encode(characters, "UTF-8"), spaced)
        pieces = tf.cast(tokens.row_lengths(), tf.int32)
        shaped = tf.stack([tokens.flat_values, tf.repeat(shapes, pieces)], axis=1)
        # What the tokenizer makes nothing of is no word.
        there = pieces > 0
        rows = tf.boolean_mask(tf.gather(row_numbers(codes), places), there)
        first_of_row = tf.gather(tf.cast(codes.row_splits, tf.int32), rows)
        starts = tf.boolean_mask(places, there) - first_of_row
        splits = tf.searchsorted(rows, tf.range(codes.nrows(tf.int32) + 1))
        pieces = tf.boolean_mask(pieces, there)
        bounds = tf.concat([[0], tf.cumsum(pieces)], 0)
        token_splits = tf.gather(bounds, splits)
        first = bounds[:-1] - tf.gather(token_splits, rows)

        def ragged(values: Any, at: Any = splits) -> Any:
            return tf.RaggedTensor.from_row_splits(values, tf.cast(at, tf.int64), validate=False)

        ends = starts + tf.boolean_mask(sizes, there)
        return Words(
            codes, ragged(starts), ragged(ends), ragged(first), ragged(shaped, token_splits)
        )

    def _tokens(self, words: Any, spaced: Any) -> Any:
        """The first tokens of each word, ragged int32 (words, tokens)."""
        if self.tokenizer.spaces_count:
            words = tf.where(spaced, " " + words, words)
        different, which = tf.unique(words)
        return tf.gather(self.tokenizer.tokenize(different)[:, :MOST_TOKENS], which)


def _shapes(kinds: Any, words: Any, count: Any) -> Any:
    """The shape of each word, int32 (count,), from the kinds of its characters."""

    def of(*wanted: int) -> Any:
        found = tf.reduce_any([tf.equal(kinds, one) for one in wanted], axis=0)
        return tf.math.unsorted_segment_sum(tf.cast(found, tf.int32), words, count)

    upper, lower, digits = of(split.UPPER), of(split.LOWER), of(split.DIGIT)
    first = tf.concat([[True], ~tf.equal(words[1:], words[:-1])], 0)[: tf.size(words)]
    opens = tf.equal(kinds, split.UPPER) & first
    title = tf.math.unsorted_segment_max(tf.cast(opens, tf.int32), words, count) > 0
    cases = (
        (of(split.SINGLE) > 0, split.SYMBOL),
        ((digits > 0) & (upper + lower + of(split.OTHER) > 0), split.WITH_DIGITS),
        (digits > 0, split.DIGITS),
        (upper + lower < 1, split.UNCASED),
        (upper < 1, split.ALL_LOWER),
        (tf.equal(upper, 1) & (lower < 1), split.ONE_UPPER),
        (lower < 1, split.ALL_UPPER),
        (title & tf.equal(upper, 1), split.TITLE),
    )
    shape = tf.fill(tf.shape(upper), split.MIXED)
    for holds, name in reversed(cases):
        shape = tf.where(holds, name, shape)
    return shape


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray[Any, Any]:
    kinds = np.full(NUM_CODES, split.character_kind("\U00050000"), np.int32)
    kinds[0xF0000:] = split.GAP
    for code in ASSIGNED:
        kinds[code] = split.character_kind(chr(code))
    return kinds

"""GPT-2's tokenizer in core TensorFlow operations, for whole batches at once.

Equal to the byte-level BPE of Hugging Face's `tokenizers` with the pattern of
GPT-2 (`ByteLevel`) but for two things: special tokens spelt out in a text (see
`Tokenizer`), and characters that another version of Unicode puts into another
class, for which Python's tables count.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tltool.data.preprocessing import BytePairPreprocessing
from tltool.data.texts.tokenizers.base import Tokenizer, lookup_table
from tltool.data.texts.tokenizers.characters import ASSIGNED, NUM_CODES, CharacterTable
from tltool.data.texts.tokenizers.merges import byte_ids, merge_table
from tltool.data.texts.tokenizers.rows import row_numbers

# Kinds of characters; the last stands for the end of a text.
_OTHER, _LETTER, _NUMBER, _SPACE, _END = range(5)
_END_CODE = -1
# What Unicode's White_Space has beside the categories Zs, Zl and Zp.
_SPACE_CONTROLS = frozenset("\t\n\v\f\r\x85")
# Above every rank.
_NEVER = 2**31 - 1


class BytePairTokenizer(Tokenizer):
    """Texts to token ids, by merging bytes in the order of a table; see `Tokenizer`.

    Raises:
        BackboneError: Also where the vocabulary lacks a byte, or a token that
            a merge takes or makes.
    """

    spaces_count = True

    def __init__(self, contract: BytePairPreprocessing) -> None:
        super().__init__(contract)
        self._prefix_space = contract.add_prefix_space
        self._kinds = CharacterTable(_character_kinds())
        of_byte = byte_ids(self.ids)
        self._byte_ids = lookup_table(list(of_byte), list(of_byte.values()), tf.string)
        merges = merge_table(contract.merges, self.ids)
        self._many_at_once = merges.in_order
        pairs = [left * len(self.ids) + right for left, right in merges.ranks]
        # No pair has the first key: a table may not be empty.
        self._ranks = lookup_table([-1, *pairs], [-1, *merges.ranks.values()], tf.int64)
        self._made = tf.constant(merges.made, tf.int32)
        # A graph also where the caller has none: it may take thousands of small steps.
        # Traced here, since TensorFlow warns where calls of many tokenizers trace.
        spec = tf.TensorSpec([None], tf.string)
        self._traced = tf.function(self._merge_bytes, autograph=False).get_concrete_function(spec)

    def _words(self, texts: Any) -> Any:
        """Splits the texts at the matches of GPT-2's pattern: ragged strings (n, words)."""
        codes = tf.strings.unicode_decode(texts, "UTF-8", errors="ignore")
        if self._prefix_space:
            first = codes[:, :1]
            missing = tf.ragged.boolean_mask(first, first != ord(" "))
            codes = tf.concat([tf.ones_like(missing) * ord(" "), codes], axis=1)
        ends = tf.fill([codes.nrows(), 1], _END_CODE)
        flat = tf.concat([codes, ends], axis=1).flat_values
        begins = tf.boolean_mask(self._begins(flat), flat != _END_CODE)
        words = tf.RaggedTensor.from_row_starts(codes.flat_values, tf.where(begins)[:, 0])
        counts = tf.math.segment_sum(tf.cast(begins, tf.int64), row_numbers(codes))
        counts = tf.pad(counts, [[0, codes.nrows() - tf.size(counts, tf.int64)]])
        return tf.RaggedTensor.from_row_lengths(tf.strings.unicode_encode(words, "UTF-8"), counts)

    def _begins(self, codes: Any) -> Any:
        """Which code points begin a word, where `_END_CODE` follows each text.

        GPT-2's pattern is `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|
        ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`: runs of letters, of numbers and of
        other characters are words, a plain space before them is theirs, and the
        white space before that is one word but for its last character.
        """
        kinds = tf.where(codes == _END_CODE, _END, self._kinds(tf.maximum(codes, 0)))
        before = tf.concat([[_END], kinds[:-1]], 0)
        after = tf.concat([kinds[1:], [_END]], 0)
        space = kinds == _SPACE
        after_plain_space = tf.concat([[False], codes[:-1] == ord(" ")], 0)
        last = (after != _SPACE) & (after != _END)
        begins = tf.where(space, (before != _SPACE) | last, (kinds != before) & ~after_plain_space)
        # Inside a run of other characters, and after their space, it is one of them.
        free = (codes == ord("'")) & (before != _OTHER) & ~after_plain_space
        return _with_contractions(begins, codes, tf.where(free)[:, 0])

    def _pieces(self, words: Any) -> Any:
        """See `_merge_bytes`."""
        return self._traced(words)

    def _merge_bytes(self, words: Any) -> Any:
        """Merges the bytes of words (m,) as far as the table goes: ragged int32 (m, pieces).

        Each step makes the merge of lowest rank in every word that is not done
        yet. A piece is known by the place of its first byte.
        """
        split = tf.strings.bytes_split(words)
        rows = tf.cast(row_numbers(split), tf.int64)
        ids = self._byte_ids.lookup(split.flat_values)
        none = tf.zeros([0, 2], tf.int32)
        # A list, since there may be as many steps as a word has bytes.
        done = tf.TensorArray(
            tf.int32, 1, dynamic_size=True, infer_shape=False, element_shape=[None, 2]
        )

        def step(ids: Any, places: Any, done: Any) -> tuple[Any, ...]:
            words = tf.gather(rows, places)
            ranks = self._pair_ranks(ids, words)
            best = tf.gather(tf.math.segment_min(ranks, words), words)
            more = best != _NEVER
            done = done.write(done.size(), tf.stack([places, ids], axis=1)[~more])
            at = tf.where(more & (ranks == best))[:, 0]
            at = _apart(at) if self._many_at_once else _first(at, tf.gather(words, at))
            made = tf.gather(self._made, tf.gather(ranks, at))
            ids = tf.tensor_scatter_nd_update(ids, at[:, None], made)
            joined = tf.zeros_like(at, tf.bool)
            kept = tf.tensor_scatter_nd_update(more, at[:, None] + 1, joined)
            return ids[kept], places[kept], done

        _, _, done = tf.while_loop(
            lambda ids, *_: tf.size(ids) > 0,
            step,
            (ids, tf.range(tf.size(ids)), done.write(0, none)),
            shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None]), None),
        )
        pieces = done.concat()
        by_place = tf.scatter_nd(pieces[:, :1], pieces[:, 1] + 1, tf.shape(ids))
        kept = by_place > 0
        return tf.RaggedTensor.from_value_rowids(
            by_place[kept] - 1, rows[kept], tf.size(words, tf.int64)
        )

    def _pair_ranks(self, ids: Any, words: Any) -> Any:
        """The rank of each piece's merge with the next one of its word, int32."""
        left, right = tf.cast(ids[:-1], tf.int64), tf.cast(ids[1:], tf.int64)
        ranks = self._ranks.lookup(left * len(self.ids) + right)
        ranks = tf.where((ranks >= 0) & (words[:-1] == words[1:]), ranks, _NEVER)
        return tf.concat([ranks, [_NEVER]], 0)


def _with_contractions(begins: Any, codes: Any, apostrophes: Any) -> Any:
    """Where words begin, once those that an apostrophe begins with `'s`, `'re` … are set apart."""
    last = tf.size(codes, tf.int64) - 1
    second = tf.gather(codes, tf.minimum(apostrophes + 1, last))
    third = tf.gather(codes, tf.minimum(apostrophes + 2, last))
    short = _is_one_of(second, "stmd")
    pairs = zip("rvl", "eel", strict=True)
    long = tf.reduce_any([(second == ord(a)) & (third == ord(b)) for a, b in pairs], axis=0)
    short, long = apostrophes[short], apostrophes[long]
    inside = tf.concat([short + 1, long + 1, long + 2], 0)
    behind = tf.concat([short + 2, long + 3], 0)
    places = tf.concat([inside, behind], 0)
    values = tf.concat([tf.zeros_like(inside, tf.bool), tf.ones_like(behind, tf.bool)], 0)
    return tf.tensor_scatter_nd_update(begins, places[:, None], values)


def _is_one_of(codes: Any, characters: str) -> Any:
    return tf.reduce_any(codes[:, None] == [ord(c) for c in characters], axis=1)


def _apart(places: Any) -> Any:
    """Of each run of neighbouring places every other one, beginning with the first."""
    first = places != tf.concat([[-1], places[:-1] + 1], 0)
    run = tf.cumsum(tf.cast(first, tf.int32)) - 1
    return places[(places - tf.gather(places[first], run)) % 2 == 0]


def _first(places: Any, words: Any) -> Any:
    """Of the places in each word the first."""
    return places[words != tf.concat([[-1], words[:-1]], 0)]


@lru_cache(maxsize=1)
def _character_kinds() -> npt.NDArray[np.int32]:
    """Whether each of Unicode's characters is a letter, a number, white space, or another."""
    by_category = {"L": _LETTER, "N": _NUMBER, "Z": _SPACE}
    kinds = np.full(NUM_CODES, _OTHER, np.int32)
    for code in ASSIGNED:
        kinds[code] = by_category.get(unicodedata.category(chr(code))[0], _OTHER)
    for character in _SPACE_CONTROLS:
        kinds[ord(character)] = _SPACE
    return kinds

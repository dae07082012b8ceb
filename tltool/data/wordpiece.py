"""BERT's tokenizer in core TensorFlow operations, for whole batches at once.

Equal to Hugging Face's `tokenizers` (BertNormalizer, BertPreTokenizer,
WordPiece) but for three things: a special token spelt out in a text, such as
`[CLS]`, is split like any other text (nobody can inject one); characters that
Unicode added or changed after version 8 follow Python's newer tables; and
canonical reordering of rare combining marks is left out.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.errors import BackboneError
from tltool.preprocessing import TextPreprocessing

_PAGE = 256
_NUM_CODES = 0x110000
# Planes 4 to 13 hold no characters, 15 and 16 are for private use.
_ASSIGNED = (*range(0x40000), *range(0xE0000, 0xE1000))
_PRIVATE = 0xF0000
# What is done to a character; a higher number is a line of the replacements.
_KEEP, _SET_APART, _REPLACE = 0, 1, 2
# Ranges of `is_chinese_char` in `tokenizers`, whose fifth starts 0x100 later than BERT's own.
_CJK = (
    range(0x4E00, 0x9FFF + 1),
    range(0x3400, 0x4DBF + 1),
    range(0x20000, 0x2A6DF + 1),
    range(0x2A700, 0x2B73F + 1),
    range(0x2B740, 0x2B81F + 1),
    range(0x2B920, 0x2CEAF + 1),
    range(0xF900, 0xFAFF + 1),
    range(0x2F800, 0x2FA1F + 1),
)


class WordPieceTokenizer(tf.Module):
    """Texts to token ids, by the longest matching pieces of a vocabulary.

    Args:
        contract: Vocabulary and rules.

    Raises:
        BackboneError: A special token is missing from the vocabulary, or a
            token is in it twice.
    """

    def __init__(self, contract: TextPreprocessing) -> None:
        super().__init__()
        ids = _token_ids(contract)
        self.max_length = contract.max_length
        self.padding_id = ids[contract.padding_token]
        self._unknown = ids[contract.unknown_token]
        self._start, self._end = ids[contract.start_token], ids[contract.end_token]
        self._max_word = contract.max_word_characters
        self._longest = max(len(token.removeprefix("##")) for token in contract.vocabulary)
        self._vocabulary = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                list(contract.vocabulary), list(range(len(ids))), tf.string, tf.int32
            ),
            default_value=-1,
        )
        pages, lines, replacements = _character_table(
            contract.lowercase, contract.strip_accents, contract.split_cjk
        )
        self._pages, self._lines = tf.constant(pages), tf.constant(lines)
        self._replacements = tf.constant(replacements)

    def __call__(self, texts: Any, *, max_length: int | None = None) -> Any:
        """Token ids with the start and end token, cut to `max_length` before the end token.

        Args:
            texts: Strings (n,), UTF-8; invalid bytes are dropped.
            max_length: Instead of the contract's; special tokens included.

        Returns:
            RaggedTensor int32 (n, tokens).
        """
        return self.enclose(self.tokenize(texts), max_length=max_length)

    def enclose(self, tokens: Any, *, max_length: int | None = None) -> Any:
        """Puts what `tokenize` gave between the start and the end token, cut as in a call."""
        tokens = tokens[:, : (max_length or self.max_length) - 2]
        column = tf.ones_like(tokens.row_lengths(), tf.int32)[:, None]
        return tf.concat([column * self._start, tokens, column * self._end], axis=1)

    def lengths(self, texts: Any) -> Any:
        """Numbers of tokens, int64 (n,), special tokens included, before any cut."""
        return self.lengths_of(self.tokenize(texts))

    def lengths_of(self, tokens: Any) -> Any:
        """The same of what `tokenize` gave."""
        return tokens.row_lengths() + 2

    def tokenize(self, texts: Any) -> Any:
        """Token ids without special tokens and uncut, RaggedTensor int32 (n, tokens)."""
        words = self._words(tf.convert_to_tensor(texts, tf.string))
        different, which = tf.unique(words.flat_values)
        tokens = tf.gather(self._pieces(different), which)
        return tf.RaggedTensor.from_row_splits(tokens, words.row_splits).merge_dims(1, 2)

    def _words(self, texts: Any) -> Any:
        """Cleans the texts and splits them at spaces, punctuation and CJK: ragged (n, words)."""
        codes = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        different, which = tf.unique(codes.flat_values)
        line = tf.gather(self._pages, different // _PAGE)
        action = tf.gather_nd(self._lines, tf.stack([line, different % _PAGE], axis=-1))
        kept = tf.strings.unicode_encode(different[:, None], "UTF-8")
        new = tf.where(tf.equal(action, _SET_APART), " " + kept + " ", kept)
        replaced = tf.gather(self._replacements, tf.maximum(action - _REPLACE, 0))
        new = tf.where(action < _REPLACE, new, replaced)
        cleaned = tf.strings.unsorted_segment_join(
            tf.gather(new, which), codes.value_rowids(), codes.nrows()
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
        ids = tf.concat([ids[known], tf.fill(tf.shape(bad), self._unknown)], 0)
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


def _token_ids(contract: TextPreprocessing) -> dict[str, int]:
    ids = {token: i for i, token in enumerate(contract.vocabulary)}
    special = (
        contract.unknown_token,
        contract.start_token,
        contract.end_token,
        contract.padding_token,
    )
    missing = [token for token in special if token not in ids]
    if missing:
        raise BackboneError(
            f"The vocabulary of {len(ids)} tokens lacks the special tokens {missing}.",
            hint="name the vocabulary's own special tokens in the preprocessing contract",
        )
    if len(ids) != len(contract.vocabulary):
        twice = next(t for i, t in enumerate(contract.vocabulary) if ids[t] != i)
        raise BackboneError(f"The vocabulary holds the token {twice!r} more than once.")
    return ids


@lru_cache(maxsize=4)
def _character_table(
    lowercase: bool, strip_accents: bool, split_cjk: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What becomes of each of Unicode's characters, as a table of two levels.

    Returns:
        `pages` int32 (4352,), `lines` int32 (n, 256) and `replacements`. For
        the character c, `lines[pages[c // 256], c % 256]` is 0 where it stays,
        1 where it becomes a word of its own, else 2 plus the index of what
        replaces it.
    """
    numbers = {"": _REPLACE}
    actions = np.zeros(_NUM_CODES, np.int32)
    actions[_PRIVATE:] = numbers[""]
    for code in _ASSIGNED:
        character = chr(code)
        new = _replacement(character, lowercase, strip_accents, split_cjk)
        if new == f" {character} ":
            actions[code] = _SET_APART
        elif new != character:
            actions[code] = numbers.setdefault(new, _REPLACE + len(numbers))
    lines: dict[bytes, int] = {}
    pages = [lines.setdefault(line.tobytes(), len(lines)) for line in actions.reshape(-1, _PAGE)]
    table = np.frombuffer(b"".join(lines), np.int32).reshape(-1, _PAGE)
    return np.array(pages, np.int32), table, list(numbers)


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
    if split_cjk and character >= "\u3400" and any(ord(character) in block for block in _CJK):
        return f" {new} "
    return "".join(f" {c} " if _is_punctuation(c) else c for c in new)


def _is_punctuation(character: str) -> bool:
    """Unicode's punctuation, and all of ASCII that is neither letter, digit, space nor control."""
    ascii_symbol = "!" <= character <= "~" and not character.isalnum()
    return ascii_symbol or unicodedata.category(character).startswith("P")

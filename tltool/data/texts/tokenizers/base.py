"""What all tokenizers share: special tokens around the text, and the cut to a length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from tltool.data.preprocessing import TextPreprocessing
from tltool.data.texts.tokenizers.rows import parts
from tltool.data.texts.tokens import cut_both, first_segment
from tltool.support.errors import BackboneError


class Tokenizer(tf.Module, ABC):
    """Texts to token ids, in graphs too; may be saved inside a SavedModel.

    A special token spelt out in a text is split like any other text, so
    nobody can inject one.

    Args:
        contract: Vocabulary and rules.

    Raises:
        BackboneError: A special token is missing from the vocabulary, or a
            token is in it twice.
    """

    spaces_count = False
    """Whether a word after white space has other tokens than one after a character."""

    # Else every save would look for variables among hundreds of thousands of tokens.
    _TF_MODULE_IGNORED_PROPERTIES = frozenset({"ids", *tf.Module._TF_MODULE_IGNORED_PROPERTIES})

    def __init__(self, contract: TextPreprocessing) -> None:
        super().__init__()
        self.ids = MappingProxyType(_token_ids(contract))
        self.max_length = contract.max_length
        self.padding_id = self.ids[contract.padding_token]
        self.unknown_id = self.ids[contract.unknown_token]
        self.start_id, self.end_id = self.ids[contract.start_token], self.ids[contract.end_token]
        self._separators = contract.separators

    @abstractmethod
    def _words(self, texts: Any) -> Any:
        """Splits texts, a string tensor (n,), into words: ragged strings (n, words)."""

    @abstractmethod
    def _pieces(self, words: Any) -> Any:
        """Splits words (m,), each there once, into tokens: ragged int32 (m, tokens)."""

    def tokenize(self, texts: Any) -> Any:
        """Token ids without special tokens and uncut.

        Args:
            texts: Strings (n,), UTF-8; invalid bytes are dropped.

        Returns:
            RaggedTensor int32 (n, tokens).
        """
        words = self._words(tf.convert_to_tensor(texts, tf.string))
        different, which = tf.unique(words.flat_values)
        tokens = tf.gather(self._pieces(different), which)
        return tf.RaggedTensor.from_row_splits(tokens, words.row_splits).merge_dims(1, 2)

    def __call__(self, texts: Any, *, max_length: int | None = None) -> Any:
        """Token ids with the start and end token, cut to `max_length` before the end token.

        Args:
            texts: As `tokenize` takes them.
            max_length: Instead of the contract's; special tokens included.

        Returns:
            RaggedTensor int32 (n, tokens).
        """
        return self.enclose(self.tokenize(texts), max_length=max_length)

    def enclose(self, tokens: Any, *, max_length: int | None = None) -> Any:
        """Puts what `tokenize` gave between the start and the end token, cut as in a call."""
        tokens = tokens[:, : (max_length or self.max_length) - 2]
        column = tf.ones_like(tokens.row_lengths(), tf.int32)[:, None]
        return tf.concat([column * self.start_id, tokens, column * self.end_id], axis=1)

    def join(self, first: Any, second: Any, *, max_length: int | None = None) -> tuple[Any, Any]:
        """Puts what `tokenize` gave of two texts each into one sequence, cut as `cut_both` says.

        Args:
            first, second: RaggedTensors int32 (n, tokens).
            max_length: Instead of the contract's; special tokens included.

        Returns:
            RaggedTensor int32 (n, tokens), and how many of each row's tokens are
            in the first segment, int64 (n,).
        """
        room = (max_length or self.max_length) - 2 - self._separators
        kept = cut_both(first.row_lengths(), second.row_lengths(), room, tf)
        texts = [_beginnings(*pair) for pair in zip((first, second), kept, strict=True)]
        column = tf.ones_like(kept[0], tf.int32)[:, None]
        end = column * self.end_id
        around = [column * self.start_id, texts[0], *[end] * self._separators, texts[1], end]
        joined = tf.concat(around, axis=1)
        return joined, first_segment(kept[0], joined.row_lengths(), self._separators)

    def lengths(self, texts: Any) -> Any:
        """Numbers of tokens, int64 (n,), special tokens included, before any cut."""
        return self.lengths_of(self.tokenize(texts))

    def lengths_of(self, tokens: Any) -> Any:
        """The same of what `tokenize` gave."""
        return tokens.row_lengths() + 2


def _beginnings(tokens: Any, counts: Any) -> Any:
    """The first tokens of each row, as many as its count says."""
    starts = tokens.row_starts()
    return parts(tokens, starts, starts + counts)


def lookup_table(keys: Any, values: Any, key_type: Any) -> Any:
    """A table from keys to int32 values that gives -1 for any other key."""
    initializer = tf.lookup.KeyValueTensorInitializer(keys, values, key_type, tf.int32)
    return tf.lookup.StaticHashTable(initializer, default_value=-1)


def _token_ids(contract: TextPreprocessing) -> dict[str, int]:
    ids = {token: i for i, token in enumerate(contract.vocabulary)}
    missing = [token for token in contract.special_tokens if token not in ids]
    if missing:
        raise BackboneError(
            f"The vocabulary of {len(ids)} tokens lacks the special tokens {missing}.",
            hint="name the vocabulary's own special tokens in the preprocessing contract",
        )
    if len(ids) != len(contract.vocabulary):
        twice = next(t for i, t in enumerate(contract.vocabulary) if ids[t] != i)
        raise BackboneError(f"The vocabulary holds the token {twice!r} more than once.")
    return ids

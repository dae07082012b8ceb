"""SentencePiece's Unigram tokenizer in core TensorFlow operations, for whole batches at once.

Equal to Hugging Face's `tokenizers`, which the transformers library uses, and
not to the `sentencepiece` package where the two differ (see `normalization`);
but for special tokens spelt out in a text (see `Tokenizer`), and characters
that Unicode added after the tables of either side.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import tensorflow as tf

from tltool.data.preprocessing import UnigramPreprocessing
from tltool.data.texts.tokenizers.base import Tokenizer
from tltool.data.texts.tokenizers.best_pieces import BestPieces
from tltool.data.texts.tokenizers.normalization import Normalization
from tltool.data.texts.tokenizers.rows import before, row_starts

_SPACE = "▁"


class UnigramTokenizer(Tokenizer):
    """Texts to token ids, by the pieces with the largest sum of scores; see `Tokenizer`."""

    def __init__(self, contract: UnigramPreprocessing) -> None:
        super().__init__(contract)
        self._normalization = Normalization(contract)
        self._at_white_space = contract.split == "whitespace"
        self._dummy_prefix = contract.dummy_prefix
        unmatched = frozenset((*contract.special_tokens, *contract.control_tokens))
        self._best_pieces = BestPieces(
            contract.vocabulary, contract.scores, self.unknown_id, unmatched
        )

        signature = [tf.TensorSpec([None], tf.string)]
        function = tf.function(super().tokenize, input_signature=signature, autograph=False)
        self._traced = cache(function.get_concrete_function)

    def tokenize(self, texts: Any) -> Any:
        """Token ids without special tokens and uncut, RaggedTensor int32 (n, tokens)."""
        # Its loops take a step for each character of the longest word: too slow outside of a graph.
        if tf.inside_function():
            return super().tokenize(texts)
        return self._traced()(tf.convert_to_tensor(texts, tf.string))

    def _pieces(self, words: Any) -> Any:
        """See `BestPieces`."""
        return self._best_pieces(words)

    def _words(self, texts: Any) -> Any:
        """Normalizes the texts and splits them into words that begin with ▁: ragged (n, words)."""
        codes = self._normalization(texts)
        values, first = codes.flat_values, row_starts(codes)
        if self._at_white_space:
            white = self._normalization.is_white_space(values)
            first |= before(white, True)
        else:
            white = tf.zeros_like(first)
            values = tf.where(tf.equal(values, ord(" ")), ord(_SPACE), values)
        begins = (first | tf.equal(values, ord(_SPACE))) & ~white
        counts = tf.concat([[0], tf.cumsum(tf.cast(begins, tf.int64))], 0)
        kept, begins = values[~white], begins[~white]
        splits = tf.concat([tf.where(begins)[:, 0], tf.size(kept, tf.int64)[None]], 0)
        letters = tf.RaggedTensor.from_row_splits(kept, splits, validate=False)
        words = tf.strings.unicode_encode(letters, "UTF-8")
        if self._dummy_prefix:
            bare = tf.not_equal(kept[begins], ord(_SPACE))
            words = tf.where(bare, _SPACE + words, words)
        return tf.RaggedTensor.from_row_splits(
            words, tf.gather(counts, codes.row_splits), validate=False
        )

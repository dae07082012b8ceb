"""Which tokenizer a contract asks for."""

from __future__ import annotations

from tltool.data.preprocessing import (
    BytePairPreprocessing,
    TextPreprocessing,
    UnigramPreprocessing,
    WordPiecePreprocessing,
)
from tltool.data.texts.tokenizers.base import Tokenizer
from tltool.data.texts.tokenizers.byte_pair import BytePairTokenizer
from tltool.data.texts.tokenizers.unigram import UnigramTokenizer
from tltool.data.texts.tokenizers.wordpiece import WordPieceTokenizer
from tltool.data.texts.words import WordsTokenizer


def tokenizer_for(contract: TextPreprocessing) -> Tokenizer | WordsTokenizer:
    """The tokenizer of a contract's kind, word by word where the contract asks for that.

    Raises:
        BackboneError: Its vocabulary cannot be used (see `Tokenizer`).
        TypeError: The contract is of no kind that has a tokenizer.
    """
    tokenizer = _of_kind(contract)
    return WordsTokenizer(contract, tokenizer) if contract.by_words else tokenizer


def _of_kind(contract: TextPreprocessing) -> Tokenizer:
    if isinstance(contract, WordPiecePreprocessing):
        return WordPieceTokenizer(contract)
    if isinstance(contract, BytePairPreprocessing):
        return BytePairTokenizer(contract)
    if isinstance(contract, UnigramPreprocessing):
        return UnigramTokenizer(contract)
    raise TypeError(f"There is no tokenizer for a {type(contract).__name__}.")

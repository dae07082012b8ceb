"""Which tokenizer a contract asks for."""

from __future__ import annotations

from tltool.data.tokenizers.base import Tokenizer
from tltool.data.tokenizers.byte_pair import BytePairTokenizer
from tltool.data.tokenizers.unigram import UnigramTokenizer
from tltool.data.tokenizers.wordpiece import WordPieceTokenizer
from tltool.preprocessing import (
    BytePairPreprocessing,
    TextPreprocessing,
    UnigramPreprocessing,
    WordPiecePreprocessing,
)


def tokenizer_for(contract: TextPreprocessing) -> Tokenizer:
    """The tokenizer of a contract's kind.

    Raises:
        BackboneError: Its vocabulary cannot be used (see `Tokenizer`).
        TypeError: The contract is of no kind that has a tokenizer.
    """
    if isinstance(contract, WordPiecePreprocessing):
        return WordPieceTokenizer(contract)
    if isinstance(contract, BytePairPreprocessing):
        return BytePairTokenizer(contract)
    if isinstance(contract, UnigramPreprocessing):
        return UnigramTokenizer(contract)
    raise TypeError(f"There is no tokenizer for a {type(contract).__name__}.")

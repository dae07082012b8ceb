"""Which tokenizer a contract asks for."""

from __future__ import annotations

from tltool.data.tokenizers.base import Tokenizer
from tltool.data.tokenizers.wordpiece import WordPieceTokenizer
from tltool.preprocessing import TextPreprocessing, WordPiecePreprocessing


def tokenizer_for(contract: TextPreprocessing) -> Tokenizer:
    """The tokenizer of a contract's kind.

    Raises:
        BackboneError: Its vocabulary cannot be used (see `Tokenizer`).
        TypeError: The contract is of no kind that has a tokenizer.
    """
    if isinstance(contract, WordPiecePreprocessing):
        return WordPieceTokenizer(contract)
    raise TypeError(f"There is no tokenizer for a {type(contract).__name__}.")

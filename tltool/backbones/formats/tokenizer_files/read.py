"""The tokenizer of a folder of the transformers library, by its kind."""

from __future__ import annotations

from collections.abc import Callable

from tltool.backbones.formats.tokenizer_files.byte_pair import read_byte_pair
from tltool.backbones.formats.tokenizer_files.folder import TokenizerFolder
from tltool.backbones.formats.tokenizer_files.unigram_files import (
    has_unigram,
    read_unigram,
    tokenizer_class,
)
from tltool.backbones.formats.tokenizer_files.wordpiece import read_wordpiece
from tltool.backbones.formats.transformers.names import TokenizerKind
from tltool.data.preprocessing import TextPreprocessing

TOKENIZERS: dict[TokenizerKind, Callable[[TokenizerFolder], TextPreprocessing]] = {
    "wordpiece": read_wordpiece,
    "byte_pair": read_byte_pair,
    "unigram": read_unigram,
}
"""What reads each kind."""


def read_tokenizer(source: TokenizerFolder) -> TextPreprocessing:
    """The preprocessing that a folder's tokenizer files state.

    Raises:
        BackboneError: A file is missing or damaged, or the tokenizer is of a
            kind or asks for something that tltool cannot do.
    """
    return TOKENIZERS[_kind(source)](source)


def _kind(source: TokenizerFolder) -> TokenizerKind:
    """Of the folder's tokenizer, which need not be of the network's family.

    Multilingual MiniLM is a BERT with XLM-RoBERTa's tokenizer, Chinese ALBERTs
    have BERT's.
    """
    if has_unigram(source):
        return "unigram"
    kind = source.family.tokenizer_kind
    return "wordpiece" if kind == "unigram" and tokenizer_class(source) == "BertTokenizer" else kind

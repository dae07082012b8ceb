"""The tokenizer of a folder of the transformers library, by its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tltool.backbones.formats.tokenizer_folder import TokenizerFolder
from tltool.backbones.formats.transformers_byte_pair import read_byte_pair
from tltool.backbones.formats.transformers_names import EncoderNames, TokenizerKind
from tltool.backbones.formats.transformers_wordpiece import read_wordpiece
from tltool.errors import BackboneError
from tltool.preprocessing import TextPreprocessing

TOKENIZERS: dict[TokenizerKind, Callable[[TokenizerFolder], TextPreprocessing]] = {
    "wordpiece": read_wordpiece,
    "byte_pair": read_byte_pair,
}
"""What reads each kind."""


def check_readable(family: EncoderNames, path: Path) -> None:
    """Sees that the tokenizers of a family can be read.

    Args:
        family: Of a folder.
        path: Of its configuration, for the message.

    Raises:
        BackboneError: They are of a kind that tltool does not know.
    """
    if family.tokenizer_kind not in TOKENIZERS:
        raise BackboneError(
            f"{path}: the tokenizer of this family ({family.tokenizer}) is of the kind "
            f"{family.tokenizer_kind!r}, which tltool does not read yet.",
            hint=f"tokenizers of these kinds are read: {', '.join(TOKENIZERS)}",
        )


def read_tokenizer(source: TokenizerFolder) -> TextPreprocessing:
    """The preprocessing that a folder's tokenizer files state.

    Raises:
        BackboneError: A file is missing or damaged, the tokenizer is not of
            the family's kind, or it asks for something that tltool cannot do.
    """
    return TOKENIZERS[source.family.tokenizer_kind](source)

"""What every text backbone needs to make its `TextPreprocessing`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tltool.support.errors import BackboneError

DEFAULT_MAX_LENGTH = 128


def read_vocabulary(path: Path, rows: int) -> tuple[str, ...]:
    """Reads a WordPiece vocabulary, one token a line.

    Args:
        path: The file.
        rows: Rows of the token embedding; the vocabulary may not be longer.

    Raises:
        BackboneError: The file is missing, has a token twice, or has more
            tokens than the embedding has rows.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackboneError(f"The vocabulary {path} cannot be read: {error}.") from error
    # Not splitlines(): a vocabulary may hold U+2028 and the like as tokens.
    tokens = tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    check_rows(len(tokens), rows, path)
    if len(set(tokens)) != len(tokens):
        raise BackboneError(f"The vocabulary {path} has a token twice.")
    return tokens


def check_rows(tokens: int, rows: int, path: Path) -> None:
    """Raises BackboneError where a vocabulary has more tokens than the embedding has rows."""
    if tokens > rows:
        raise BackboneError(
            f"The vocabulary {path} has {tokens} tokens, but the model knows {rows}."
        )


def checked_length(max_length: int | None, positions: int, name: str) -> int:
    """The longest text in tokens: what was asked for, or a default within what fits.

    Raises:
        BackboneError: More was asked for than the model has positions.
    """
    if max_length is None:
        return min(DEFAULT_MAX_LENGTH, positions)
    if max_length > positions:
        raise BackboneError(
            f"Backbone {name!r}: max_length is {max_length}, but it reaches {positions} tokens.",
            hint=f"set backbone.max_length to {positions} or less",
        )
    return max_length


def has_accents(vocabulary: Iterable[str]) -> bool:
    """Whether any token has a combining mark once decomposed (Unicode NFD)."""
    return any(
        unicodedata.category(character) == "Mn"
        for token in vocabulary
        if not token.isascii()
        for character in unicodedata.normalize("NFD", token)
    )

"""The files of a byte-pair vocabulary, in whatever library's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tltool.backbones.formats.text_input import check_rows
from tltool.data.texts.tokenizers.merges import byte_ids, merge_table
from tltool.support.errors import BackboneError


def ordered_vocabulary(ids: Mapping[str, Any], rows: int, path: Path) -> tuple[str, ...]:
    """The tokens in the order of their ids.

    Args:
        ids: Of each token.
        rows: Of the token embedding; the vocabulary may not be longer.
        path: Of the file, for messages.

    Raises:
        BackboneError: The ids are not 0, 1, 2 … or reach past the embedding.
    """
    numbers = list(ids.values())
    if not all(isinstance(number, int) for number in numbers):
        raise BackboneError(f"The vocabulary {path} has ids that are no whole numbers.")
    tokens = tuple(sorted(ids, key=ids.__getitem__))
    if sorted(numbers) != list(range(len(numbers))):
        raise BackboneError(
            f"The vocabulary {path} has {len(numbers)} tokens, whose ids are not all the numbers "
            f"from 0 to {len(numbers) - 1}."
        )
    check_rows(len(tokens), rows, path)
    return tokens


def read_merges(path: Path) -> tuple[str, ...]:
    """Reads `merges.txt`: a pair of tokens a line, below a line that states a version.

    Raises:
        BackboneError: It cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackboneError(f"The merges {path} cannot be read: {error}.") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return tuple(line for line in lines if line and not line.startswith("#version"))


def check_byte_pairs(vocabulary: Sequence[str], merges: Sequence[str]) -> None:
    """Sees that every byte and all that the merges need is in the vocabulary.

    Raises:
        BackboneError: Something is not.
    """
    ids = {token: number for number, token in enumerate(vocabulary)}
    byte_ids(ids)
    merge_table(merges, ids)

"""The merges of a byte-pair vocabulary, and how it spells bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tltool.support.errors import BackboneError

# UTF-8 has no use for these bytes.
_IMPOSSIBLE = frozenset((0xC0, 0xC1, *range(0xF5, 0x100)))
_PRINTED = frozenset((*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)))


@dataclass(frozen=True)
class Merges:
    """What pairs of tokens become.

    Attributes:
        ranks: Of each pair of ids; the lowest is merged first.
        made: The id that the merge of each rank makes.
        in_order: Whether each merge comes after all that make what it takes.
    """

    ranks: dict[tuple[int, int], int]
    made: tuple[int, ...]
    in_order: bool


def byte_characters() -> tuple[str, ...]:
    """The character that stands for each byte in a vocabulary, as in GPT-2's `encoder.py`.

    Bytes that Latin-1 prints are written so, the others as the characters from U+0100 on.
    """
    others = [byte for byte in range(256) if byte not in _PRINTED]
    return tuple(
        chr(byte) if byte in _PRINTED else chr(0x100 + others.index(byte)) for byte in range(256)
    )


def byte_ids(ids: Mapping[str, int]) -> dict[bytes, int]:
    """The token of each single byte that a text may have.

    Args:
        ids: Of the vocabulary's tokens.

    Raises:
        BackboneError: A byte has no token.
    """
    possible = [byte for byte in range(256) if byte not in _IMPOSSIBLE]
    characters = byte_characters()
    missing = [byte for byte in possible if characters[byte] not in ids]
    if missing:
        raise BackboneError(
            f"The byte-pair vocabulary of {len(ids)} tokens lacks {len(missing)} of the single "
            f"bytes, the first is 0x{missing[0]:02X} ({characters[missing[0]]!r}).",
            hint="a text with such a byte could not be spelt; use the vocabulary the model was "
            "trained with",
        )
    return {bytes([byte]): ids[characters[byte]] for byte in possible}


def merge_table(merges: Sequence[str], ids: Mapping[str, int]) -> Merges:
    """Reads merges, each as "left right"; of a pair that is there twice, the last counts.

    Args:
        merges: In the order of their ranks.
        ids: Of the vocabulary's tokens.

    Raises:
        BackboneError: A line is no pair, or the vocabulary lacks one of its
            tokens or what they make.
    """
    ranks: dict[tuple[int, int], int] = {}
    made = []
    for rank, merge in enumerate(merges):
        left, space, right = merge.partition(" ")
        if not (left and space and right) or " " in right:
            raise BackboneError(f"Merge {rank + 1}, {merge!r}, is no pair of tokens.")
        for token in (left, right, left + right):
            if token not in ids:
                raise BackboneError(
                    f"Merge {rank + 1}, {merge!r}, needs {token!r}, which the vocabulary lacks."
                )
        ranks[ids[left], ids[right]] = rank
        made.append(ids[left + right])
    latest = {made[rank]: rank for rank in sorted(ranks.values())}
    in_order = all(
        rank > max(latest.get(left, -1), latest.get(right, -1))
        for (left, right), rank in ranks.items()
    )
    return Merges(ranks, tuple(made), in_order)

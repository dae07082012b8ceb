"""SentencePiece's precompiled character map: which strings of characters become which.

A little-endian uint32 with the size of a trie in bytes, the trie (a double
array of darts-clone, units of 32 bits), then the replacements, each ended by a
zero byte. Sources: `normalizer.cc` of SentencePiece and `darts.h` of darts-clone.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache

import numpy as np

from tltool.support.errors import BackboneError

LONGEST_KEY = 5
"""In bytes of UTF-8: `tokenizers` looks up no longer one (see `normalization`)."""

_HAS_LEAF, _VALUE, _LABEL = 1 << 8, (1 << 31) - 1, (1 << 31) | 0xFF


@lru_cache(maxsize=4)
def read_character_map(encoded: str) -> dict[str, str]:
    """The strings of at most `LONGEST_KEY` bytes that a map replaces, and what by.

    Args:
        encoded: The map, base64.

    Raises:
        BackboneError: It is damaged.
    """
    try:
        blob = base64.b64decode(encoded, validate=True)
        size = int.from_bytes(blob[:4], "little")
        if size % 4 or not 0 < size <= len(blob) - 4:
            raise ValueError(f"a trie of {size} bytes in a map of {len(blob)}")
        units, replacements = np.frombuffer(blob[4 : 4 + size], "<u4"), blob[4 + size :]
        found = {
            key.decode(): replacements[start : replacements.index(b"\0", start)].decode()
            for key, start in _keys(units)
        }
        if not found:
            raise ValueError("it replaces nothing")
        return found
    except (binascii.Error, ValueError) as error:
        raise BackboneError(f"A tokenizer's character map is damaged: {error}.") from error


def _keys(units: np.ndarray) -> list[tuple[bytes, int]]:
    """The keys of a trie and their values, those of one length at a time."""
    labels = np.arange(1, 256, dtype=np.uint32)
    nodes, prefixes = _children(units[:1], np.zeros(1, np.uint32)), np.zeros((1, 0), np.uint8)
    found: list[tuple[bytes, int]] = []
    for _ in range(LONGEST_KEY):
        places = nodes[:, None] ^ labels
        inside = places < len(units)
        reached = units[np.where(inside, places, 0)]
        rows, columns = np.nonzero(inside & ((reached & _LABEL) == labels))
        prefixes = np.column_stack([prefixes[rows], labels[columns].astype(np.uint8)])
        reached = reached[rows, columns]
        nodes = _children(reached, places[rows, columns])
        ends = (reached & _HAS_LEAF) != 0
        if (nodes[ends] >= len(units)).any():
            raise ValueError("its trie leads out of itself")
        values = units[nodes[ends]] & _VALUE
        found += zip((key.tobytes() for key in prefixes[ends]), values.tolist(), strict=True)
    return found


def _children(units: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Where the children of units at `places` are, to be combined with their labels."""
    return places ^ ((units >> 10) << ((units & (1 << 9)) >> 6))

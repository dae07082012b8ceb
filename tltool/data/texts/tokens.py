"""Token ids of many texts, each as long as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tltool.data.preprocessing import TextPreprocessing

Integers = npt.NDArray[Any]


@dataclass(frozen=True)
class Tokens:
    """The token ids of texts, special tokens included, and how long the texts are uncut.

    Attributes:
        values: The ids of all texts one after the other, int32; many of them in a mapped file.
        starts: Where each text begins in `values`, int64 (n,).
        lengths: Tokens of each text before any cut, int64 (n,).
        max_length: Longer texts are kept cut to this length, the end token last.
        rules: Digest of the contract but for its `max_length`.
    """

    values: Integers
    starts: Integers
    lengths: Integers
    max_length: int
    rules: str

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: Sequence[int] | Integers) -> Tokens:
        """Those of the texts at `rows`, in that order; the ids are not copied."""
        chosen = np.asarray(rows, np.int64)
        return replace(self, starts=self.starts[chosen], lengths=self.lengths[chosen])

    def alone(self) -> Tokens:
        """The same without the ids of texts that were not taken."""
        stored = np.minimum(self.lengths, self.max_length)
        starts = np.cumsum(stored) - stored
        places = np.arange(stored.sum()) + np.repeat(self.starts - starts, stored)
        return replace(self, values=self.values[places], starts=starts)

    def serve(self, contract: TextPreprocessing) -> bool:
        """Whether a tokenizer of this contract would give the same ids."""
        return self.rules == rules_of(contract) and contract.max_length <= self.max_length

    def kept(self, max_length: int) -> Integers:
        """The number of tokens that `cut` leaves of each text, int64 (n,)."""
        return np.minimum(self.lengths, min(max_length, self.max_length))

    def cut(self, max_length: int) -> tuple[Integers, Integers]:
        """The ids of texts that are cut to `max_length` tokens before their end token.

        Returns:
            All ids one after the other, int32, and the number of each text's, int64 (n,).
        """
        kept = self.kept(max_length)
        ends = np.cumsum(kept)
        places = np.arange(kept.sum()) + np.repeat(self.starts - (ends - kept), kept)
        stored = np.minimum(self.lengths, self.max_length)
        places[ends - 1] = self.starts + stored - 1
        return self.values[places], kept


@dataclass(frozen=True)
class PairTokens:
    """The token ids of pairs of texts.

    Attributes:
        texts: Those of each text by itself, both of the first pair, then of the next.
        separators: End tokens between the texts of a joined pair; None leaves them apart.
    """

    texts: Tokens
    separators: int | None

    def __len__(self) -> int:
        return len(self.texts) // 2

    @property
    def lengths(self) -> Integers:
        """Tokens of each joined pair before any cut, or of the longer text; int64 (n,)."""
        both = self.texts.lengths.reshape(-1, 2)
        if self.separators is None:
            return both.max(axis=1)
        return both.sum(axis=1) - 2 + self.separators

    def take(self, rows: Sequence[int] | Integers) -> PairTokens:
        """Those of the pairs at `rows`, in that order."""
        both = 2 * np.asarray(rows, np.int64)[:, None] + [0, 1]
        return replace(self, texts=self.texts.take(both.reshape(-1)))

    def alone(self) -> PairTokens:
        """The same without the ids of texts that were not taken."""
        return replace(self, texts=self.texts.alone())

    def serve(self, contract: TextPreprocessing) -> bool:
        """Whether they are what a tokenizer of this contract would give."""
        return self.separators == separators_of(contract) and self.texts.serve(contract)

    def kept(self, max_length: int) -> Integers:
        """The number of tokens that `joined` leaves of each pair, int64 (n,)."""
        first, second, separators = self._parts(max_length)
        return first + second + 2 + separators

    def _parts(self, max_length: int) -> tuple[Integers, Integers, int]:
        """How many tokens are kept of each text without special tokens, and the end tokens between.

        Raises:
            ValueError: The texts are apart.
        """
        if self.separators is None:
            raise ValueError("The texts of these pairs are apart.")
        own = self.texts.lengths.reshape(-1, 2) - 2
        room = max_length - 2 - self.separators
        return (*cut_both(own[:, 0], own[:, 1], room, np), self.separators)

    def joined(self, max_length: int) -> tuple[Integers, Integers, Integers]:
        """The ids of pairs that are joined and cut to `max_length` tokens.

        Returns:
            All ids one after the other, int32; the number of each pair's, int64
            (n,); and how many of them are in the first segment, int64 (n,).

        Raises:
            ValueError: The texts are apart.
        """
        first, second, separators = self._parts(max_length)
        starts = self.texts.starts.reshape(-1, 2)
        stored = np.minimum(self.texts.lengths, self.texts.max_length)
        end = starts[:, 0] + stored.reshape(-1, 2)[:, 0] - 1
        # The start token and the first text, the end tokens, the second text, and its end token.
        counts = np.stack(
            [first + 1, np.full_like(first, separators), second, np.ones_like(first)], axis=1
        )
        begins = np.stack([starts[:, 0], end, starts[:, 1] + 1, end], axis=1).reshape(-1)
        sizes = counts.reshape(-1)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        steps = np.tile([1, 0, 1, 0], len(first))
        places = np.repeat(begins, sizes) + within * np.repeat(steps, sizes)
        kept = counts.sum(axis=1)
        return self.texts.values[places], kept, first_segment(first, kept, separators)


def cut_both(first: Any, second: Any, room: int, library: Any) -> tuple[Any, Any]:
    """How many tokens are kept of each text of pairs that are cut to `room` tokens together.

    The longer text is cut first. Where both are longer than half of the room,
    each keeps half, and the longer one of them what is odd. Source:
    `TruncationStrategy::LongestFirst` of Hugging Face's `tokenizers` 0.22.

    Args:
        first, second: Tokens of the texts without special tokens, integers (n,).
        room: For both, special tokens left out.
        library: `numpy` or `tf` with their names in common.
    """
    shorter = library.minimum(library.minimum(first, second), room // 2)
    too_long = first + second > room
    swapped = first > second
    short = library.where(swapped, second, first)
    long = library.where(swapped, first, second)
    short = library.where(too_long, shorter, short)
    long = library.where(too_long, room - shorter, long)
    return library.where(swapped, long, short), library.where(swapped, short, long)


def first_segment(first: Any, kept: Any, separators: int) -> Any:
    """How many tokens of joined pairs are in the first segment; all where there is no second.

    Args:
        first: Tokens of the first texts that are kept.
        kept: Tokens of the pairs, special tokens included.
        separators: End tokens between the texts.
    """
    return first + 2 if separators == 1 else kept


def separators_of(contract: TextPreprocessing) -> int | None:
    """End tokens between the texts of a pair; None where they are not joined."""
    return contract.separators if contract.pair == "joined" else None


def rules_of(contract: TextPreprocessing) -> str:
    """Digest of all in a contract that decides the ids of a text that is not cut."""
    return contract.model_copy(update={"max_length": 0, "pair": None}).digest()

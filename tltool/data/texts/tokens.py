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
        values: The ids of all texts one after the other, int32.
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

    def take(self, rows: Sequence[int]) -> Tokens:
        """Those of the texts at `rows`, in that order; the ids are not copied."""
        chosen = np.asarray(rows, np.int64)
        return replace(self, starts=self.starts[chosen], lengths=self.lengths[chosen])

    def serve(self, contract: TextPreprocessing) -> bool:
        """Whether a tokenizer of this contract would give the same ids."""
        return self.rules == rules_of(contract) and contract.max_length <= self.max_length

    def cut(self, max_length: int) -> tuple[Integers, Integers]:
        """The ids of texts that are cut to `max_length` tokens before their end token.

        Returns:
            All ids one after the other, int32, and the number of each text's, int64 (n,).
        """
        kept = np.minimum(self.lengths, min(max_length, self.max_length))
        ends = np.cumsum(kept)
        places = np.arange(kept.sum()) + np.repeat(self.starts - (ends - kept), kept)
        stored = np.minimum(self.lengths, self.max_length)
        places[ends - 1] = self.starts + stored - 1
        return self.values[places], kept


def rules_of(contract: TextPreprocessing) -> str:
    """Digest of all in a contract that decides the ids of a text that is not cut."""
    return contract.model_copy(update={"max_length": 0}).digest()

"""Texts tokenized once, and handed on with their examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tltool.errors import DataError
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing

if TYPE_CHECKING:
    from tltool.data.examples import Examples

Integers = npt.NDArray[Any]
_CHUNK = 4096


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
        return self.rules == _rules(contract) and contract.max_length <= self.max_length

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


def tokens_of(examples: Examples, contract: TextPreprocessing) -> Tokens:
    """The tokens that the examples have, or new ones if they are not of this contract.

    Raises:
        DataError: An input that is no text; names its row.
    """
    if examples.tokens is not None and examples.tokens.serve(contract):
        return examples.tokens
    return _tokenize(examples.inputs, examples.origins, contract)


def tokenized(examples: Examples, contract: ImagePreprocessing | TextPreprocessing) -> Examples:
    """The examples with their tokens, to be handed on; images as they are.

    Raises:
        DataError: As `tokens_of`.
    """
    if not isinstance(contract, TextPreprocessing):
        return examples
    return replace(examples, tokens=tokens_of(examples, contract))


def strings(texts: Sequence[Any], origins: Sequence[str]) -> Any:
    """Texts as a string tensor (n,); half surrogate pairs go the way of invalid bytes.

    Raises:
        DataError: An input that is no text; names its row.
    """
    import tensorflow as tf

    for text, origin in zip(texts, origins, strict=True):
        if not isinstance(text, str):
            raise DataError(
                f"{origin}: the input is of type {type(text).__name__}, not a text.",
                hint="fill or leave out empty fields, and check data.input_column",
            )
    return tf.constant([text.encode("utf-8", "surrogatepass") for text in texts], tf.string)


def _tokenize(texts: Sequence[Any], origins: Sequence[str], contract: TextPreprocessing) -> Tokens:
    from tltool.data.tokenizers.choose import tokenizer_for

    tokenizer = tokenizer_for(contract)
    raw = strings(texts, origins)
    values, kept, lengths = [], [], []
    for start in range(0, max(len(texts), 1), _CHUNK):
        pieces = tokenizer.tokenize(raw[start : start + _CHUNK])
        whole = tokenizer.enclose(pieces)
        values.append(whole.flat_values.numpy())
        kept.append(whole.row_lengths().numpy())
        lengths.append(tokenizer.lengths_of(pieces).numpy())
    stored = np.concatenate(kept)
    return Tokens(
        values=np.concatenate(values),
        starts=np.cumsum(stored) - stored,
        lengths=np.concatenate(lengths),
        max_length=contract.max_length,
        rules=_rules(contract),
    )


def _rules(contract: TextPreprocessing) -> str:
    return contract.model_copy(update={"max_length": 0}).digest()

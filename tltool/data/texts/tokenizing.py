"""Tokenizes the texts of examples, once, and hands the tokens on with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tltool.data.examples import Examples, texts_of
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.data.texts.tokens import PairTokens, Tokens, rules_of, separators_of
from tltool.support.errors import DataError

# Rows and characters that are tokenized at a time.
_ROWS, _CHARACTERS = 4096, 1 << 20


def tokens_of(examples: Examples, contract: TextPreprocessing) -> Tokens | PairTokens:
    """The tokens that the examples have, or new ones if they are not of this contract.

    Raises:
        DataError: An input that is no text; names its row.
    """
    if examples.tokens is not None and examples.tokens.serve(contract):
        return examples.tokens
    if examples.modality == "text_pair":
        texts = replace(examples, tokens=None).texts()
        return PairTokens(_tokenize(texts.inputs, texts.origins, contract), separators_of(contract))
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
    """Texts as a string tensor (n,), pairs of them as (n, 2).

    Half surrogate pairs go the way of invalid bytes.

    Raises:
        DataError: An input that is no text; names its row.
    """
    import tensorflow as tf

    if texts and isinstance(texts[0], tuple):
        return tf.reshape(
            strings(texts_of(texts), [at for at in origins for _ in range(2)]), [-1, 2]
        )
    _check_texts(texts, origins)
    return tf.constant([text.encode("utf-8", "surrogatepass") for text in texts], tf.string)


def _check_texts(texts: Sequence[Any], origins: Sequence[str]) -> None:
    for text, origin in zip(texts, origins, strict=True):
        if not isinstance(text, str):
            raise DataError(
                f"{origin}: the input is of type {type(text).__name__}, not a text.",
                hint="fill or leave out empty fields, and check data.input_column",
            )


def chunks(texts: Sequence[str]) -> Iterator[slice]:
    """Neighbouring rows to tokenize together: one at least, then as many as the bounds allow."""
    start, characters = 0, 0
    for row, text in enumerate(texts):
        full = row - start == _ROWS or characters + len(text) > _CHARACTERS
        if full and row > start:
            yield slice(start, row)
            start, characters = row, 0
        characters += len(text)
    yield slice(start, len(texts))


def _tokenize(texts: Sequence[Any], origins: Sequence[str], contract: TextPreprocessing) -> Tokens:
    from tltool.data.texts.tokenizers.choose import tokenizer_for

    tokenizer = tokenizer_for(contract)
    _check_texts(texts, origins)
    values, kept, lengths = [], [], []
    for rows in chunks(texts):
        pieces = tokenizer.tokenize(strings(texts[rows], origins[rows]))
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
        rules=rules_of(contract),
    )

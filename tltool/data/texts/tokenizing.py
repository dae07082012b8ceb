"""Tokenizes the texts of examples, once, and hands the tokens on with them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tltool.data.examples import Examples, texts_of
from tltool.data.packed import Spool
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.data.texts.tokens import PairTokens, Tokens, rules_of, separators_of
from tltool.support.errors import DataError
from tltool.support.progress import Progress

# Rows and characters that are tokenized at a time.
_ROWS, _CHARACTERS = 4096, 1 << 20


def tokens_of(
    examples: Examples, contract: TextPreprocessing, progress: Progress | None = None
) -> Tokens | PairTokens:
    """The tokens that the examples have, or new ones if they are not of this contract.

    Args:
        examples: Texts, or pairs of them.
        contract: The preprocessing contract.
        progress: Is told how many texts are tokenized.

    Raises:
        DataError: An input that is no text; names its row.
    """
    if examples.tokens is not None and examples.tokens.serve(contract):
        return examples.tokens
    if examples.modality == "text_pair":
        texts = replace(examples, tokens=None).texts()
        tokens = _tokenize(texts.inputs, texts.origins, contract, progress)
        return PairTokens(tokens, separators_of(contract))
    return _tokenize(examples.inputs, examples.origins, contract, progress)


def tokenized(
    examples: Examples,
    contract: ImagePreprocessing | TextPreprocessing,
    progress: Progress | None = None,
) -> Examples:
    """The examples with their tokens, to be handed on; images as they are.

    Raises:
        DataError: As `tokens_of`.
    """
    if not isinstance(contract, TextPreprocessing):
        return examples
    return replace(examples, tokens=tokens_of(examples, contract, progress))


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


def _tokenize(
    texts: Sequence[Any],
    origins: Sequence[str],
    contract: TextPreprocessing,
    progress: Progress | None = None,
) -> Tokens:
    from tltool.data.texts.tokenizers.choose import tokenizer_for

    tokenizer = tokenizer_for(contract)
    _check_texts(texts, origins)
    values, kept, lengths = Spool(), array("q"), array("q")
    shape: tuple[int, ...] = ()
    progress = progress or Progress()
    with progress.rows("tokenizing texts", len(texts)) as done:
        for rows in chunks(texts):
            some = texts[rows]
            pieces = tokenizer.tokenize(strings(some, origins[rows]))
            whole = tokenizer.enclose(pieces)
            ids = whole.flat_values.numpy()
            shape = ids.shape[1:]
            values.write(np.asarray(ids, np.int32).tobytes())
            kept.extend(whole.row_lengths().numpy().tolist())
            lengths.extend(tokenizer.lengths_of(pieces).numpy().tolist())
            done(len(some))
    stored = np.array(kept)
    return Tokens(
        values=np.frombuffer(values.finish(), np.int32).reshape(-1, *shape),
        starts=np.cumsum(stored) - stored,
        lengths=np.array(lengths),
        max_length=contract.max_length,
        rules=rules_of(contract),
    )

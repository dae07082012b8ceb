"""Tokenizes the texts of examples, once, and hands the tokens on with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tltool.data.examples import Examples, texts_of
from tltool.data.packed import Spool, new_array
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.data.sharing import ALONE, Sharing
from tltool.data.texts.tokens import Integers, PairTokens, Tokens, rules_of, separators_of
from tltool.support.errors import DataError
from tltool.support.progress import Progress

# Rows and characters that are tokenized at a time.
_ROWS, _CHARACTERS = 4096, 1 << 20


def tokens_of(
    examples: Examples,
    contract: TextPreprocessing,
    progress: Progress | None = None,
    sharing: Sharing = ALONE,
) -> Tokens | PairTokens:
    """The tokens that the examples have, or new ones if they are not of this contract.

    Args:
        examples: Texts, or pairs of them.
        contract: The preprocessing contract.
        progress: Is told how many texts are tokenized.
        sharing: Of the tokenizing.

    Raises:
        DataError: An input that is no text; names its row.
    """
    if examples.tokens is not None and examples.tokens.serve(contract):
        return examples.tokens
    if examples.modality == "text_pair":
        texts = replace(examples, tokens=None).texts()
        tokens = _tokenize(texts.inputs, texts.origins, contract, progress, sharing)
        return PairTokens(tokens, separators_of(contract))
    return _tokenize(examples.inputs, examples.origins, contract, progress, sharing)


def tokenized(
    examples: Examples,
    contract: ImagePreprocessing | TextPreprocessing,
    progress: Progress | None = None,
    sharing: Sharing = ALONE,
) -> Examples:
    """The examples with their tokens, to be handed on; images as they are.

    Raises:
        DataError: As `tokens_of`.
    """
    if not isinstance(contract, TextPreprocessing):
        return examples
    return replace(examples, tokens=tokens_of(examples, contract, progress, sharing))


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
    progress: Progress | None,
    sharing: Sharing,
) -> Tokens:
    from tltool.data.texts.tokenizers.choose import tokenizer_for

    tokenizer = tokenizer_for(contract)
    _check_texts(texts, origins)
    if len(texts) < _ROWS:  # not worth a meeting
        sharing = ALONE
    part = sharing.part(len(texts))
    own, own_origins = texts[part.start : part.stop], origins[part.start : part.stop]
    values = Spool()
    shape: tuple[int, ...] = ()
    # Of each text the tokens that are kept, and all that it has.
    kept, lengths = np.zeros((2, len(texts)), np.int64)
    progress = progress or Progress()
    with progress.rows("tokenizing texts", len(own)) as done:
        for rows in chunks(own):
            some = own[rows]
            pieces = tokenizer.tokenize(strings(some, own_origins[rows]))
            whole = tokenizer.enclose(pieces)
            ids = whole.flat_values.numpy()
            shape = ids.shape[1:]
            values.write(np.asarray(ids, np.int32).tobytes())
            there = slice(part.start + rows.start, part.start + rows.stop)
            kept[there] = whole.row_lengths().numpy()
            lengths[there] = tokenizer.lengths_of(pieces).numpy()
            done(len(some))
    found = np.frombuffer(values.finish(), np.int32).reshape(-1, *shape)
    if len(own) < len(texts):
        found = _of_all(found, part, kept, lengths, sharing)
    return Tokens(
        values=found,
        starts=np.cumsum(kept) - kept,
        lengths=lengths,
        max_length=contract.max_length,
        rules=rules_of(contract),
    )


def _of_all(
    found: Integers, part: range, kept: Integers, lengths: Integers, sharing: Sharing
) -> Integers:
    """The ids of all texts from those of a part of them; completes the numbers of tokens, too."""
    sharing.summed("the texts' tokens", kept)
    sharing.summed("the texts' lengths", lengths)
    values = new_array((int(kept.sum()), *found.shape[1:]), np.int32)
    start = int(kept[: part.start].sum())
    values[start : start + len(found)] = found
    sharing.summed("the tokens", values)
    return values

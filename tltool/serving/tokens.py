"""Checks texts that come as token ids: what a model would answer, and answer wrongly."""

from __future__ import annotations

from collections.abc import Mapping

from tltool.data.preprocessing import WORD_SHAPES, TextPreprocessing
from tltool.serving.limits import RefusedError
from tltool.serving.tensors import Array
from tltool.tasks.tags.word_split import NUM_SHAPES


def checked_tokens(inputs: Mapping[str, Array], preprocessing: TextPreprocessing) -> int:
    """Tokens in each row of inputs that a model can be given.

    Args:
        inputs: By name, integers (rows, tokens).
        preprocessing: Its vocabulary and its longest text are allowed.

    Raises:
        RefusedError: 400: they differ in length, have no token or more than
            the model takes, ids that are in no vocabulary, or a mask that
            hides every token or is neither 0 nor 1.
    """
    lengths = {name: array.shape[1] for name, array in inputs.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise _wrong(f"the inputs of a row must be as long as each other, and have tokens {told}")
    length = next(iter(lengths.values()))
    if not 1 <= length <= preprocessing.max_length:
        raise _wrong(f"rows of {length} tokens; send 1 to {preprocessing.max_length}")
    largest = {
        "token_ids": len(preprocessing.vocabulary) - 1,
        "padding_mask": 1,
        "segment_ids": 1 if preprocessing.pair == "joined" else 0,
        WORD_SHAPES: NUM_SHAPES - 1,
    }
    rows = len(next(iter(inputs.values())))
    if preprocessing.pair == "apart" and rows % 2:
        raise _wrong(f"{rows} rows; send two for each pair, the second text after the first")
    for name, array in inputs.items():
        wrong = (array < 0) | (array > largest[name])
        if wrong.any():
            row = int(wrong.any(1).argmax())
            found = array[row][wrong[row]][0]
            raise _wrong(f"row {row}: {name} has {found}; send 0 to {largest[name]}")
    if "padding_mask" in inputs:
        hidden = ~inputs["padding_mask"].any(1)
        if hidden.any():
            row = int(hidden.argmax())
            raise _wrong(f"row {row}: padding_mask hides every token; send 1 for those of the text")
    return length


def _wrong(message: str) -> RefusedError:
    return RefusedError(400, message)

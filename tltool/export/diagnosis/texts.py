"""Texts prepared as apps prepare them, rightly or with known faults."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from tltool.data.preprocessing import TextPreprocessing
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.data.texts.tokens import cut_both
from tltool.export.feeding import Arrays


@dataclass(frozen=True)
class TextPreparation:
    """How an app makes tensors of a text; the defaults are what the model's contract says.

    Attributes:
        letters, accents: What is done to texts before the tokenizer sees them.
        rules, accent_rules: Fields of the contract that the tokenizer has otherwise.
        whole_words: Whether words are looked up whole, those with spaces around them.
        shift: Added to every token id.
        special: Whether the start and the end token are put around a text.
        longest: Tokens a text is cut to; None: the contract's.
        cut: "end": the last tokens are dropped before the end token is put there; "all": after;
            "start": the first ones.
        left: Whether the padding comes first.
        padding: Token id of the padding; None: the contract's.
        mask: Value of `padding_mask` at padding.
        segments: Value of `segment_ids` everywhere; None: the contract's.
        second_first: Whether the texts of a pair change places.
    """

    letters: Literal["lower", "upper"] | None = None
    accents: Literal["strip"] | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    accent_rules: Mapping[str, Any] = field(default_factory=dict)
    whole_words: bool = False
    shift: int = 0
    special: bool = True
    longest: int | None = None
    cut: Literal["end", "all", "start"] = "end"
    left: bool = False
    padding: int | None = None
    mask: int = 0
    segments: int | None = None
    second_first: bool = False


def text_tensors(
    text: str | Sequence[str], how: TextPreparation, contract: TextPreprocessing, length: int | None
) -> Arrays:
    """What an app feeds of one text, or of a pair.

    Args:
        text: As golden examples have it.
        how: What the app does.
        contract: What it should do.
        length: Tokens that the model takes; None pads nothing, but the texts of a pair to the
            longer one.
    """
    texts = [text] if isinstance(text, str) else list(text)
    if how.second_first:
        texts.reverse()
    pieces = [_pieces(_spelt(one, how), how, contract) for one in texts]
    most = min(how.longest or contract.max_length, length or contract.max_length)
    if contract.pair == "joined":
        joined, second = _joined(pieces, how, contract, most)
        rows, seconds = [joined], [second]
    else:
        rows = [_enclosed(one, how, contract, most) for one in pieces]
        seconds = [len(row) for row in rows]
    width = length or max(map(len, rows))
    return _padded(rows, seconds, width, how, contract)


def _spelt(text: str, how: TextPreparation) -> str:
    if how.letters is not None:
        text = text.lower() if how.letters == "lower" else text.upper()
    if how.accents is not None:
        parts = unicodedata.normalize("NFD", text)
        text = "".join(c for c in parts if unicodedata.category(c) != "Mn")
    return text


def _pieces(text: str, how: TextPreparation, contract: TextPreprocessing) -> list[int]:
    """Token ids without special tokens, uncut."""
    if how.whole_words:
        known = {token: number for number, token in enumerate(contract.vocabulary)}
        unknown = known[contract.unknown_token]
        lower = getattr(contract, "lowercase", False)
        return [known.get(w, unknown) for w in (text.lower() if lower else text).split()]
    return _tokenized(text, contract.one_text.model_copy(update={**how.rules, **how.accent_rules}))


@lru_cache(maxsize=256)
def _tokenized(text: str, contract: TextPreprocessing) -> list[int]:
    found = _tokenizer(contract).tokenize([text])
    return [int(number) for number in found.flat_values.numpy()]


@lru_cache(maxsize=8)
def _tokenizer(contract: TextPreprocessing) -> Any:
    return tokenizer_for(contract)


def _special(contract: TextPreprocessing) -> tuple[int, int]:
    index = contract.vocabulary.index
    return index(contract.start_token), index(contract.end_token)


def _enclosed(
    pieces: list[int], how: TextPreparation, contract: TextPreprocessing, most: int
) -> list[int]:
    start, end = _special(contract)
    around = 2 if how.special else 0
    match how.cut:
        case "end":
            pieces = pieces[: most - around]
        case "start":
            pieces = pieces[max(0, len(pieces) - (most - around)) :]
    return ([start, *pieces, end] if how.special else pieces)[:most]


def _joined(
    pieces: list[list[int]], how: TextPreparation, contract: TextPreprocessing, most: int
) -> tuple[list[int], int]:
    """The tokens of a pair, and where its second segment begins."""
    start, end = _special(contract)
    around = (2 + contract.separators) if how.special else 0
    first, second = pieces
    match how.cut:
        case "end":
            lengths = (np.array(len(first)), np.array(len(second)))
            kept = cut_both(*lengths, most - around, np)
            first, second = first[: int(kept[0])], second[: int(kept[1])]
        case "start":
            over = max(0, len(first) + len(second) + around - most)
            first, second = first[over:], second[max(0, over - len(first)) :]
    ends = [end] * contract.separators
    row = [start, *first, *ends, *second, end] if how.special else [*first, *second]
    begins = len(first) + (2 if how.special else 0)
    return row[:most], begins if contract.separators == 1 else len(row)


def _padded(
    rows: list[list[int]],
    seconds: list[int],
    width: int,
    how: TextPreparation,
    contract: TextPreprocessing,
) -> Arrays:
    padding = contract.vocabulary.index(contract.padding_token)
    padding = padding if how.padding is None else how.padding
    shape = (len(rows), width)
    values = {
        "token_ids": np.full(shape, padding, np.int32),
        "padding_mask": np.full(shape, how.mask, np.int32),
        "segment_ids": np.full(shape, how.segments or 0, np.int32),
    }
    last = len(contract.vocabulary) - 1
    for place, (row, second) in enumerate(zip(rows, seconds, strict=True)):
        begin = width - len(row) if how.left else 0
        inside = slice(begin, begin + len(row))
        values["token_ids"][place, inside] = np.clip(np.array(row, int) + how.shift, 0, last)
        values["padding_mask"][place, inside] = 1
        if how.segments is None:
            values["segment_ids"][place, begin + second : begin + len(row)] = 1
    return {name: values[name] for name in contract.inputs}

"""The tokenizer of an exported model as `tokenizer.json`, which Hugging Face's `tokenizers` reads.

The library is not needed to write it: its format is that of
https://huggingface.co/docs/tokenizers, version 1.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tltool.data.preprocessing import (
    BytePairPreprocessing,
    TextPreprocessing,
    UnigramPreprocessing,
)
from tltool.data.texts.tokenizers.unigram_json import pair_template, unigram_rules

TOKENIZER_FILE = "tokenizer.json"


def tokenizer_json(contract: TextPreprocessing, length: int | None) -> dict[str, Any]:
    """What `tokenizer.json` holds, so that it gives the ids that the contract's tokenizer gives.

    No special token is listed as one, so a text that spells one out is split like any other.

    Args:
        contract: Of any kind that `has_tokenizer_file`.
        length: Tokens a text is cut and padded to; None cuts to the contract's
            `max_length` and pads nothing, or texts of pairs apart to the longer one. What is
            read word by word is neither cut nor padded.

    Raises:
        TypeError: The contract is of another kind.
    """
    if not has_tokenizer_file(contract):
        raise TypeError(f"There is no tokenizer file for a {type(contract).__name__}.")
    ids = {token: number for number, token in enumerate(contract.vocabulary)}
    pads = length is not None or contract.pair == "apart"
    cut = {
        "direction": "Right",
        "max_length": length or contract.max_length,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    return {
        "version": "1.0",
        "truncation": None if contract.by_words else cut,
        "padding": _padding(contract, ids, length) if pads and not contract.by_words else None,
        "added_tokens": [],
        "post_processor": _enclosing(contract, ids),
        **_RULES[type(contract)](contract, ids),
    }


def has_tokenizer_file(contract: TextPreprocessing) -> bool:
    """Whether the tokenizer is written as `tokenizer.json`, and not as a plain vocabulary."""
    return type(contract) in _RULES


def _padding(
    contract: TextPreprocessing, ids: dict[str, int], length: int | None
) -> dict[str, Any]:
    return {
        "strategy": "BatchLongest" if length is None else {"Fixed": length},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": ids[contract.padding_token],
        "pad_type_id": 0,
        "pad_token": contract.padding_token,
    }


def _enclosing(contract: TextPreprocessing, ids: dict[str, int]) -> dict[str, Any]:
    """Puts the start and the end token around a text, or around and between two."""
    start, end = (
        {"SpecialToken": {"id": token, "type_id": 0}}
        for token in (contract.start_token, contract.end_token)
    )
    return {
        "type": "TemplateProcessing",
        "single": [start, {"Sequence": {"id": "A", "type_id": 0}}, end],
        "pair": pair_template(contract),
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]}
            for token in (contract.start_token, contract.end_token)
        },
    }


def _byte_pair(contract: BytePairPreprocessing, ids: dict[str, int]) -> dict[str, Any]:
    level = {
        "type": "ByteLevel",
        "add_prefix_space": contract.add_prefix_space,
        "trim_offsets": True,
        "use_regex": True,
    }
    return {
        "normalizer": None,
        "pre_tokenizer": level,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": ids,
            "merges": [merge.split(" ") for merge in contract.merges],
        },
    }


_RULES: dict[type[TextPreprocessing], Callable[[Any, dict[str, int]], dict[str, Any]]] = {
    BytePairPreprocessing: _byte_pair,
    UnigramPreprocessing: lambda contract, _: unigram_rules(contract),
}
"""How each kind of contract that is written this way splits a text."""

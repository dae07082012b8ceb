"""A Unigram contract as the `tokenizer.json` of Hugging Face's `tokenizers`."""

from __future__ import annotations

from typing import Any

from tltool.data.preprocessing import (
    NormalizationStep,
    TextPreprocessing,
    UnigramPreprocessing,
)

NORMALIZERS: dict[NormalizationStep, tuple[dict[str, Any], ...]] = {
    "quotes": (
        {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
        {"type": "Replace", "pattern": {"String": "''"}, "content": '"'},
    ),
    "strip_accents": ({"type": "NFKD"}, {"type": "StripAccents"}),
    "lowercase": ({"type": "Lowercase"},),
    "nfc": ({"type": "NFC"},),
    "join_white_space": (
        {"type": "Replace", "pattern": {"Regex": r"\s{2,}|[\n\r\t]"}, "content": " "},
    ),
    "strip": ({"type": "Strip", "strip_left": True, "strip_right": True},),
    "strip_right": ({"type": "Strip", "strip_left": False, "strip_right": True},),
    "collapse_spaces": ({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},),
}
"""What each step is there; "character_map" is a `Precompiled` with the map itself."""


def unigram_json(contract: UnigramPreprocessing) -> dict[str, Any]:
    """What `tokenizers.Tokenizer.from_str(json.dumps(...))` takes, as the library writes it.

    It gives the ids of `UnigramTokenizer`, but for special tokens spelt out in
    a text, which `tokenizers` takes for what they name.
    """
    ids = _ids(contract)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(ids[token], token) for token in _special(contract, ids)],
        "post_processor": _post_processor(contract, ids),
        **unigram_rules(contract, contract.vocabulary),
    }


def unigram_rules(
    contract: UnigramPreprocessing, vocabulary: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """The parts that say how a text is split: normalizer, pre_tokenizer, decoder and model.

    Args:
        contract: What they follow.
        vocabulary: Spellings of the tokens; by default special tokens end with a
            space, which no word has, so that a text which spells one out is
            split like any other, as by `UnigramTokenizer`.
    """
    ids = _ids(contract)
    if vocabulary is None:
        special = _special(contract, ids)
        vocabulary = tuple(f"{t} " if t in special else t for t in contract.vocabulary)
    return {
        "normalizer": _normalizer(contract),
        "pre_tokenizer": _pre_tokenizer(contract),
        "decoder": _metaspace(contract),
        "model": {
            "type": "Unigram",
            "unk_id": ids[contract.unknown_token],
            "vocab": list(map(list, zip(vocabulary, contract.scores, strict=True))),
            "byte_fallback": False,
        },
    }


def _ids(contract: UnigramPreprocessing) -> dict[str, int]:
    return {token: index for index, token in enumerate(contract.vocabulary)}


def _special(contract: UnigramPreprocessing, ids: dict[str, int]) -> list[str]:
    return sorted({*contract.special_tokens, *contract.control_tokens}, key=ids.__getitem__)


def _added_token(token_id: int, token: str) -> dict[str, Any]:
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": token, **off, "special": True}


def _normalizer(contract: UnigramPreprocessing) -> dict[str, Any] | None:
    charsmap = {"type": "Precompiled", "precompiled_charsmap": contract.character_map}
    found = [part for step in contract.steps for part in NORMALIZERS.get(step, (charsmap,))]
    return {"type": "Sequence", "normalizers": found} if found else None


def _pre_tokenizer(contract: UnigramPreprocessing) -> dict[str, Any]:
    if contract.split == "spaces":
        return _metaspace(contract)
    both = [{"type": "WhitespaceSplit"}, _metaspace(contract)]
    return {"type": "Sequence", "pretokenizers": both}


def _metaspace(contract: UnigramPreprocessing) -> dict[str, Any]:
    scheme = "always" if contract.dummy_prefix else "never"
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}


def pair_template(contract: TextPreprocessing) -> list[dict[str, Any]]:
    """The tokens around the texts of a pair, as `TemplateProcessing` has them.

    Where two end tokens are between them, there is one segment only.
    """
    second = 1 if contract.separators == 1 else 0

    def part(kind: str, name: str, segment: int) -> dict[str, Any]:
        return {kind: {"id": name, "type_id": segment}}

    end = contract.end_token
    return [
        part("SpecialToken", contract.start_token, 0),
        part("Sequence", "A", 0),
        *[part("SpecialToken", end, 0)] * contract.separators,
        part("Sequence", "B", second),
        part("SpecialToken", end, second),
    ]


def _post_processor(contract: UnigramPreprocessing, ids: dict[str, int]) -> dict[str, Any]:
    start, end = contract.start_token, contract.end_token

    first, last = ({"SpecialToken": {"id": token, "type_id": 0}} for token in (start, end))
    return {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}, last],
        "pair": pair_template(contract),
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (start, end)
        },
    }

"""Contracts from SentencePiece's files, by the rules of each family of the transformers library.

The rules are those of the library's `convert_slow_tokenizer`, with which its
models were published. Its version 5 has others where there is no
`tokenizer.json`: it leaves out DeBERTa's character map (with one, too) and
ALBERT's penalty for commas, and puts ▁ after each of ALBERT's punctuation marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tltool.backbones.formats.tokenizer_files.spm_file import SpmModel
from tltool.data.preprocessing import NormalizationStep, UnigramPreprocessing
from tltool.support.errors import BackboneError

Scored = list[tuple[str, float]]
_COMMA_PENALTY = 100.0


@dataclass(frozen=True)
class SpecialTokens:
    """A tokenizer's special tokens; the defaults are those of XLM-RoBERTa and CamemBERT."""

    start: str = "<s>"
    end: str = "</s>"
    padding: str = "<pad>"
    mask: str = "<mask>"
    unknown: str = "<unk>"

    def named(self, options: Mapping[str, Any]) -> SpecialTokens:
        """These, or what a `tokenizer_config.json` has instead."""
        return SpecialTokens(
            start=token_name(options, "cls_token") or self.start,
            end=token_name(options, "sep_token") or self.end,
            padding=token_name(options, "pad_token") or self.padding,
            mask=token_name(options, "mask_token") or self.mask,
            unknown=token_name(options, "unk_token") or self.unknown,
        )


@dataclass(frozen=True)
class SpmFamily:
    """A row of `SPM_FAMILIES`.

    Attributes:
        file: Name of the SentencePiece file.
        tokens: The special ones where `tokenizer_config.json` does not name them.
        layout: From SentencePiece's pieces to the tokens in the order of their ids.
        steps: What is done to a text.
        split: As in `UnigramPreprocessing`.
        control: Further tokens that no text gives.
        separators: As in `TextPreprocessing`.
    """

    file: str
    tokens: SpecialTokens
    layout: Callable[[SpmModel, SpecialTokens], Scored]
    steps: Callable[[Mapping[str, Any]], tuple[NormalizationStep, ...]]
    split: Literal["whitespace", "spaces"]
    control: tuple[str, ...] = ()
    separators: Literal[1, 2] = 1


def token_name(options: Mapping[str, Any], key: str) -> str | None:
    """A special token, which is text or, in some files, an object with `content`."""
    value = options.get(key)
    return value.get("content") if isinstance(value, dict) else value


def spm_contract(
    model: SpmModel, family: SpmFamily, options: Mapping[str, Any], path: Path
) -> UnigramPreprocessing:
    """The contract of a SentencePiece model; `max_length` and `inputs` are the defaults.

    Args:
        model: What the file holds.
        family: Of `SPM_FAMILIES`.
        options: Of `tokenizer_config.json`.
        path: Of the SentencePiece file, for messages.

    Raises:
        BackboneError: A special token is missing, or an option is not supported.
    """
    if options.get("split_by_punct"):
        raise BackboneError(f"{path}: split_by_punct is not supported.")
    special = family.tokens.named(options)
    tokens = family.layout(model, special)
    vocabulary = tuple(token for token, _ in tokens)
    unknown = special.unknown if special.unknown in vocabulary else model.unknown
    four = (unknown, special.start, special.end, special.padding)
    missing = [token for token in four if token not in vocabulary]
    if missing:
        raise BackboneError(f"{path} lacks the special tokens {missing}.")
    steps = family.steps(options)
    control = {*model.control, *family.control, special.mask} - {*four}
    return UnigramPreprocessing(
        vocabulary=vocabulary,
        scores=tuple(score for _, score in tokens),
        steps=tuple(s for s in steps if s != "character_map" or model.character_map),
        character_map=model.character_map if "character_map" in steps else "",
        split=family.split,
        separators=family.separators,
        dummy_prefix=bool(options.get("add_prefix_space", True)),
        unknown_token=unknown,
        start_token=special.start,
        end_token=special.end,
        padding_token=special.padding,
        control_tokens=tuple(token for token in vocabulary if token in control),
    )


def _albert_layout(model: SpmModel, _: SpecialTokens) -> Scored:
    """ALBERT splits a comma from the digit before it, by a penalty on pieces that don't."""

    def penalty(piece: str) -> float:
        return _COMMA_PENALTY if piece.endswith(",") and piece[-2:-1].isdigit() else 0.0

    return [(piece, score - penalty(piece)) for piece, score in model.pieces]


def _albert_steps(options: Mapping[str, Any]) -> tuple[NormalizationStep, ...]:
    wanted: dict[NormalizationStep, bool] = {
        "quotes": True,
        "strip_accents": not options.get("keep_accents", False),
        "lowercase": bool(options.get("do_lower_case", True)),
        "character_map": True,
    }
    return tuple(step for step, on in wanted.items() if on)


def _xlm_roberta_layout(model: SpmModel, special: SpecialTokens) -> Scored:
    """Fairseq's ids: four special tokens for SentencePiece's three, and the mask at the end."""
    first = (special.start, special.padding, special.end, special.unknown)
    return [*((token, 0.0) for token in first), *model.pieces[3:], (special.mask, 0.0)]


def _camembert_layout(model: SpmModel, special: SpecialTokens) -> Scored:
    """Fairseq's ids, whose first special tokens CamemBERT does not use."""
    first = ("<s>NOTUSED", special.padding, "</s>NOTUSED", special.unknown)
    unused = [*((token, 0.0) for token in first), ("<unk>NOTUSED", -100.0)]
    return [*unused, *model.pieces[1:], (special.mask, 0.0)]


def _map_alone(_: Mapping[str, Any]) -> tuple[NormalizationStep, ...]:
    return ("character_map",)


def _deberta_layout(model: SpmModel, special: SpecialTokens) -> Scored:
    """The ids of the file; version 3 has the mask after them."""
    known = any(piece == special.mask for piece, _ in model.pieces)
    return list(model.pieces) if known else [*model.pieces, (special.mask, 0.0)]


def _deberta_steps(options: Mapping[str, Any]) -> tuple[NormalizationStep, ...]:
    steps: tuple[NormalizationStep, ...] = ("strip", "character_map", "collapse_spaces")
    return ("lowercase", *steps) if options.get("do_lower_case", False) else steps


_BERT_TOKENS = SpecialTokens("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]")
SPM_FAMILIES: dict[str, SpmFamily] = {
    "AlbertTokenizer": SpmFamily(
        file="spiece.model",
        tokens=SpecialTokens("[CLS]", "[SEP]", "<pad>", "[MASK]", "<unk>"),
        layout=_albert_layout,
        steps=_albert_steps,
        split="whitespace",
    ),
    "XLMRobertaTokenizer": SpmFamily(
        file="sentencepiece.bpe.model",
        tokens=SpecialTokens(),
        layout=_xlm_roberta_layout,
        steps=_map_alone,
        split="whitespace",
        separators=2,
    ),
    "CamembertTokenizer": SpmFamily(
        file="sentencepiece.bpe.model",
        tokens=SpecialTokens(),
        layout=_camembert_layout,
        steps=_map_alone,
        split="whitespace",
        control=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
        separators=2,
    ),
    "DebertaV2Tokenizer": SpmFamily(
        file="spm.model",
        tokens=_BERT_TOKENS,
        layout=_deberta_layout,
        steps=_deberta_steps,
        split="spaces",
    ),
}
"""By the class of the tokenizer in the transformers library."""

"""The preprocessing of a KerasHub preset of texts, from its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tltool.backbones.formats.folder_files import read_json
from tltool.backbones.formats.presets.images import class_name, read_config
from tltool.backbones.formats.text_input import checked_length, has_accents, read_vocabulary
from tltool.backbones.formats.tokenizer_files.byte_pair_files import (
    check_byte_pairs,
    ordered_vocabulary,
    read_merges,
)
from tltool.backbones.formats.tokenizer_files.spm_families import (
    SPM_FAMILIES,
    SpecialTokens,
    spm_contract,
)
from tltool.backbones.formats.tokenizer_files.spm_file import SpmModel, read_spm
from tltool.data.preprocessing import (
    BytePairPreprocessing,
    TextPreprocessing,
    UnigramPreprocessing,
    WordPiecePreprocessing,
)
from tltool.support.errors import BackboneError

_INPUTS = ("token_ids", "padding_mask", "segment_ids")
_WITH_SEGMENTS = ("BertBackbone", "AlbertBackbone")


@dataclass(frozen=True)
class _Preset:
    """What the readers of tokenizers are told.

    Attributes:
        assets: Folder of the tokenizer's files.
        options: Configuration of the tokenizer.
        rows: Of the token embedding.
        max_length: Tokens of the longest text.
        inputs: Names of the network's inputs.
        name: Of the backbone, for messages.
    """

    assets: Path
    options: dict[str, Any]
    rows: int
    max_length: int
    inputs: tuple[str, ...]
    name: str


def text_preprocessing(
    folder: Path, config: dict[str, Any], *, name: str, max_length: int | None
) -> TextPreprocessing:
    """The contract that a preset's tokenizer states.

    Args:
        folder: Of the preset.
        config: Its `config.json`.
        name: Of the backbone, for messages.
        max_length: Tokens of the longest text, or None for the preset's own.

    Raises:
        BackboneError: The tokenizer is not of the network's kind, or its
            vocabulary does not fit.
    """
    tokenizer = read_config(folder, "tokenizer.json")
    network = class_name(config)
    read = _READERS[network].get(class_name(tokenizer))
    if read is None:
        raise BackboneError(
            f"Backbone {name!r} is a {network} with a {class_name(tokenizer)}; tltool reads "
            f"{' or '.join(_READERS[network])} with it."
        )
    positions = config["config"]["max_sequence_length"]
    if max_length is None and (folder / "preprocessor.json").is_file():
        stated = read_config(folder, "preprocessor.json")["config"].get("sequence_length")
        max_length = min(stated, positions) if stated else None
    return read(
        _Preset(
            assets=folder / "assets" / "tokenizer",
            options=tokenizer["config"],
            rows=config["config"]["vocabulary_size"],
            max_length=checked_length(max_length, positions, name),
            inputs=_INPUTS if network in _WITH_SEGMENTS else _INPUTS[:2],
            name=name,
        )
    )


def _wordpiece(preset: _Preset) -> WordPiecePreprocessing:
    vocabulary = read_vocabulary(preset.assets / "vocabulary.txt", preset.rows)
    lowercase = bool(preset.options.get("lowercase", False))
    # BERT's own tokenizer strips accents wherever it lower-cases, but KerasHub's
    # presets of it say false; a vocabulary without any accent tells which is meant.
    strip = bool(preset.options.get("strip_accents")) or (lowercase and not has_accents(vocabulary))
    return WordPiecePreprocessing(
        vocabulary=vocabulary,
        lowercase=lowercase,
        strip_accents=strip,
        split_cjk=bool(preset.options.get("split_on_cjk", True)),
        max_length=preset.max_length,
        inputs=preset.inputs,
    )


def _byte_pair(preset: _Preset) -> BytePairPreprocessing:
    path = preset.assets / "vocabulary.json"
    vocabulary = ordered_vocabulary(read_json(path), preset.rows, path)
    merges = read_merges(preset.assets / "merges.txt")
    check_byte_pairs(vocabulary, merges)
    contract = BytePairPreprocessing(
        vocabulary=vocabulary,
        merges=merges,
        add_prefix_space=bool(preset.options.get("add_prefix_space", False)),
        max_length=preset.max_length,
        inputs=preset.inputs,
    )
    special = {*contract.special_tokens, "<mask>"}
    if missing := special.difference(vocabulary):
        raise BackboneError(f"The vocabulary {path} lacks {', '.join(sorted(missing))}.")
    words = set(preset.options.get("unsplittable_tokens") or ()) - special
    if words:
        raise BackboneError(
            f"Backbone {preset.name!r}: its tokenizer splits texts at {', '.join(sorted(words))}, "
            "which tltool cannot do."
        )
    return contract


def _unigram(preset: _Preset, family: str) -> UnigramPreprocessing:
    """As the transformers library reads SentencePiece's file, of which the presets have a copy."""
    path = preset.assets / "vocabulary.spm"
    added = [key for key in ("add_bos", "add_eos") if preset.options.get(key)]
    if added:
        raise BackboneError(
            f"Backbone {preset.name!r}: {added[0]} of its tokenizer is not supported."
        )
    rules, model = SPM_FAMILIES[family], read_spm(path)
    casing = _casing(model, rules.tokens) if family == "AlbertTokenizer" else {}
    contract = spm_contract(model, rules, casing, path)
    if len(contract.vocabulary) > preset.rows:
        raise BackboneError(
            f"{path} makes {len(contract.vocabulary)} tokens, but the model knows {preset.rows}."
        )
    return contract.model_copy(update={"max_length": preset.max_length, "inputs": preset.inputs})


def _casing(model: SpmModel, special: SpecialTokens) -> dict[str, bool]:
    """What ALBERT's own code does to a text first, and KerasHub leaves to its user.

    A vocabulary without capitals, or without accents, tells that it is meant.
    """
    named = {special.start, special.end, special.mask, *model.control}
    pieces = [piece for piece, _ in model.pieces if piece not in named]
    return {
        "do_lower_case": not any(piece != piece.lower() for piece in pieces),
        "keep_accents": has_accents(pieces),
    }


_Readers = dict[str, Callable[[_Preset], TextPreprocessing]]
_WORDPIECE: _Readers = {"BertTokenizer": _wordpiece, "DistilBertTokenizer": _wordpiece}
_READERS: dict[str, _Readers] = {
    "BertBackbone": _WORDPIECE,
    "DistilBertBackbone": _WORDPIECE,
    "RobertaBackbone": {"RobertaTokenizer": _byte_pair},
    "AlbertBackbone": {"AlbertTokenizer": partial(_unigram, family="AlbertTokenizer")},
    "XLMRobertaBackbone": {"XLMRobertaTokenizer": partial(_unigram, family="XLMRobertaTokenizer")},
    "DebertaV3Backbone": {"DebertaV3Tokenizer": partial(_unigram, family="DebertaV2Tokenizer")},
}
"""What reads the tokenizers of each network."""

"""Byte-pair tokenizers of the transformers library, as of RoBERTa.

Read from `tokenizer.json`, which that library prefers too, else from
`vocab.json` and `merges.txt`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltool.backbones.formats.folder_files import read_json, refuse_otherwise
from tltool.backbones.formats.tokenizer_files.byte_pair_files import (
    check_byte_pairs,
    ordered_vocabulary,
    read_merges,
)
from tltool.backbones.formats.tokenizer_files.folder import (
    SENTENCE_FILE,
    TokenizerFolder,
    token_text,
)
from tltool.data.preprocessing import BytePairPreprocessing
from tltool.support.errors import BackboneError

# All their rules are in `tokenizer.json`.
_GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_SPECIAL_TOKENS = {
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}
# With other values `tokenizer.json` would split texts otherwise.
_ONLY = {
    "normalizer": None,
    "pre_tokenizer.type": "ByteLevel",
    "pre_tokenizer.use_regex": True,
    "model.type": "BPE",
    "model.dropout": None,
    "model.continuing_subword_prefix": "",
    "model.end_of_word_suffix": "",
    "model.byte_fallback": False,
    "model.ignore_merges": False,
}


@dataclass(frozen=True)
class _Files:
    """What the files of a tokenizer hold.

    Attributes:
        path: Of the vocabulary.
        ids: Of the trained tokens.
        added: Ids of tokens added to them, and whether each is a special one.
        merges: In order, as "left right".
        around: Start and end token, where they are stated.
        add_prefix_space: Where it is stated.
    """

    path: Path
    ids: dict[str, int]
    added: dict[str, tuple[int, bool]]
    merges: tuple[str, ...]
    around: tuple[str, str] | None = None
    add_prefix_space: bool | None = None


def read_byte_pair(source: TokenizerFolder) -> BytePairPreprocessing:
    """The contract of a folder with a byte-level BPE tokenizer.

    Raises:
        BackboneError: A file is missing or damaged, the tokenizer is of
            another kind, or it asks for something that tltool cannot do.
    """
    settings = _settings(source)
    whole = source.folder / "tokenizer.json"
    _check_class(settings, source, whole)
    files = _whole_file(whole) if whole.is_file() else _two_files(source.folder, settings)
    special = {key: token_text(settings.get(key, _SPECIAL_TOKENS[key])) for key in _SPECIAL_TOKENS}
    vocabulary = ordered_vocabulary(
        _with_added(files, set(special.values())), source.rows, files.path
    )
    check_byte_pairs(vocabulary, files.merges)
    tokens = {
        key: source.special_token(settings, key, _SPECIAL_TOKENS[key], vocabulary)
        for key in ("unk_token", "cls_token", "sep_token", "pad_token")
    }
    if files.around not in {None, (tokens["cls_token"], tokens["sep_token"])}:
        raise BackboneError(
            f"{files.path} puts {files.around} around a text, {source.settings_path.name} "
            f"{(tokens['cls_token'], tokens['sep_token'])}."
        )
    return BytePairPreprocessing(
        vocabulary=vocabulary,
        merges=files.merges,
        add_prefix_space=_prefix_space(settings, files, source),
        max_length=source.max_length(),
        unknown_token=tokens["unk_token"],
        start_token=tokens["cls_token"],
        end_token=tokens["sep_token"],
        padding_token=tokens["pad_token"],
        inputs=source.inputs,
    )


def _settings(source: TokenizerFolder) -> dict[str, Any]:
    """`tokenizer_config.json` over `special_tokens_map.json`; early RoBERTas have neither."""
    sentence = source.folder / SENTENCE_FILE
    if sentence.is_file():
        refuse_otherwise(read_json(sentence), {"do_lower_case": False}, sentence)
    settings: dict[str, Any] = {}
    for path in (source.folder / "special_tokens_map.json", source.settings_path):
        if path.is_file():
            settings |= read_json(path)
    return settings


def _is_generic(settings: dict[str, Any]) -> bool:
    return settings.get("tokenizer_class") in _GENERIC_CLASSES


def _check_class(settings: dict[str, Any], source: TokenizerFolder, whole: Path) -> None:
    own = f"{source.family.tokenizer}Tokenizer"
    kind = settings.get("tokenizer_class") or own
    if kind in {own, f"{own}Fast"} or (_is_generic(settings) and whole.is_file()):
        return
    raise BackboneError(
        f"{source.settings_path}: only a {own} is supported with this network, this is {kind!r}."
    )


def _prefix_space(settings: dict[str, Any], files: _Files, source: TokenizerFolder) -> bool:
    """Whether texts get a space before them; as in the library, not unless the settings say so."""
    default = bool(files.add_prefix_space) if _is_generic(settings) else False
    stated = bool(settings.get("add_prefix_space", default))
    if files.add_prefix_space not in {None, stated}:
        raise BackboneError(
            f"{files.path}: add_prefix_space is {files.add_prefix_space}, but {stated} by "
            f"{source.settings_path.name}.",
            hint="state in both files the one that the model was trained with",
        )
    return stated


def _whole_file(path: Path) -> _Files:
    """What `tokenizer.json` holds."""
    content = read_json(path)
    parts = {key: content.get(key) or {} for key in ("model", "pre_tokenizer", "post_processor")}
    said = {
        f"{part}.{key}": value
        for part, values in parts.items()
        for key, value in values.items()
        if value is not None
    }
    # Only a model's type goes without saying.
    unsaid = {"normalizer": content.get("normalizer"), "pre_tokenizer.type": None}
    refuse_otherwise(unsaid | said, _ONLY, path)
    ids, merges = said.get("model.vocab"), said.get("model.merges")
    if not isinstance(ids, dict) or not isinstance(merges, list):
        raise BackboneError(f"{path} lacks the model's vocab or merges.")
    return _Files(
        path=path,
        ids=ids,
        added={
            token["content"]: (token["id"], bool(token.get("special")))
            for token in content.get("added_tokens") or ()
        },
        merges=tuple(pair if isinstance(pair, str) else " ".join(pair) for pair in merges),
        around=_around(parts["post_processor"], path),
        add_prefix_space=bool(said.get("pre_tokenizer.add_prefix_space", True)),
    )


def _around(processor: dict[str, Any], path: Path) -> tuple[str, str]:
    """The start and the end token that a post-processor puts around one text."""
    match processor:
        case {"type": "RobertaProcessing", "cls": [start, _], "sep": [end, _]}:
            return start, end
        case {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": start}},
                {"Sequence": {"id": "A"}},
                {"SpecialToken": {"id": end}},
            ],
        }:
            return start, end
    raise BackboneError(
        f"{path}: its post_processor ({processor.get('type')}) does not put one token before and "
        "one behind a text, which is all that tltool can do."
    )


def _two_files(folder: Path, settings: dict[str, Any]) -> _Files:
    """What `vocab.json` and `merges.txt` hold, and `added_tokens.json` where it is there."""
    path, more = folder / "vocab.json", folder / "added_tokens.json"
    if not path.is_file():
        raise BackboneError(f"{folder} has neither tokenizer.json nor vocab.json.")
    named = {token_text(token) for token in settings.get("additional_special_tokens") or ()}
    added = {
        token: (number, token in named)
        for token, number in (read_json(more) if more.is_file() else {}).items()
    }
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        added[token["content"]] = (int(number), bool(token.get("special")))
    return _Files(path, read_json(path), added, read_merges(folder / "merges.txt"))


def _with_added(files: _Files, special: set[str]) -> dict[str, int]:
    """The ids of all tokens; a text must not be split at any that was added."""
    ids = dict(files.ids)
    for token, (number, is_special) in files.added.items():
        if not is_special and token not in special:
            raise BackboneError(
                f"{files.path}: the token {token!r} was added to the trained ones, and texts are "
                "split at it, which tltool cannot do."
            )
        if ids.setdefault(token, number) != number:
            raise BackboneError(
                f"{files.path}: the token {token!r} has the ids {ids[token]} and {number}."
            )
    return ids

"""Unigram tokenizers from folders of the transformers library.

They are read from `tokenizer.json`, as the library's fast tokenizers are saved,
or where it is missing from SentencePiece's own file. Both give the same
contract for the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tltool.backbones.formats.folder_files import read_json
from tltool.backbones.formats.spm_families import SPM_FAMILIES, spm_contract, token_name
from tltool.backbones.formats.spm_file import read_spm
from tltool.backbones.formats.unigram_json_file import is_unigram_json, json_contract
from tltool.errors import BackboneError
from tltool.preprocessing import UnigramPreprocessing

# What transformers takes where a folder names no class.
_CLASSES = {
    "albert": "AlbertTokenizer",
    "camembert": "CamembertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
# They say nothing of the kind of a tokenizer.
_ANY = ("PreTrainedTokenizer", "TokenizersBackend")


def has_unigram(folder: Path, tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a folder's tokenizer is a Unigram one.

    Args:
        folder: Of the transformers library.
        tokenizer: Its `tokenizer_config.json`.
        config: Its `config.json`.
    """
    kind = _class(tokenizer, config)
    if kind in SPM_FAMILIES:
        return True
    path = folder / "tokenizer.json"
    return kind in _ANY and path.is_file() and is_unigram_json(read_json(path))


def unigram_preprocessing(
    folder: Path,
    tokenizer: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    max_length: int,
    inputs: tuple[str, ...],
) -> UnigramPreprocessing:
    """The contract of a folder's Unigram tokenizer.

    Args:
        folder: Of the transformers library, with `tokenizer.json`, or
            `spiece.model` (ALBERT), `sentencepiece.bpe.model` (XLM-RoBERTa,
            CamemBERT) or `spm.model` (DeBERTa).
        tokenizer: Its `tokenizer_config.json`.
        config: Its `config.json`.
        max_length, inputs: As in the contract.

    Raises:
        BackboneError: A file is missing or damaged, the tokenizer does something
            that tltool does not, or has more tokens than the model knows.
    """
    kind = _class(tokenizer, config)
    family = SPM_FAMILIES.get(kind)
    path = folder / "tokenizer.json"
    if path.is_file():
        content = read_json(path)
        if not is_unigram_json(content):
            raise BackboneError(f"{path} is of a {kind}, but holds no Unigram model.")
        padding = token_name(tokenizer, "pad_token")
        if padding is None and family is not None:
            padding = family.tokens.padding
        contract = json_contract(content, padding, path)
    elif family is None:
        raise BackboneError(f"{folder} has no tokenizer.json, and its tokenizer is a {kind!r}.")
    else:
        path = folder / family.file
        contract = spm_contract(read_spm(path), family, tokenizer, path)
        _refuse_added(folder, tokenizer, len(contract.vocabulary), path)
    if len(contract.vocabulary) > config["vocab_size"]:
        raise BackboneError(
            f"{path} has {len(contract.vocabulary)} tokens, but the model knows "
            f"{config['vocab_size']}."
        )
    return contract.model_copy(update={"max_length": max_length, "inputs": inputs})


def _class(tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The class of the tokenizer, without "Fast"."""
    named = tokenizer.get("tokenizer_class") or config.get("tokenizer_class")
    found = named or _CLASSES.get(str(config.get("model_type")), "")
    return str(found).removesuffix("Fast")


def _refuse_added(folder: Path, tokenizer: Mapping[str, Any], known: int, path: Path) -> None:
    """Sees that no tokens were added that SentencePiece's file does not tell of."""
    added = {int(i): str(token) for i, token in tokenizer.get("added_tokens_decoder", {}).items()}
    if (folder / "added_tokens.json").is_file():
        added |= {i: token for token, i in read_json(folder / "added_tokens.json").items()}
    beyond = [token for i, token in added.items() if i >= known]
    if beyond:
        raise BackboneError(
            f"{folder}: the tokens {beyond} were added to those of {path.name}.",
            hint="save its fast tokenizer beside it, which writes a tokenizer.json",
        )

"""Unigram tokenizers from folders of the transformers library.

They are read from `tokenizer.json`, as the library's fast tokenizers are saved,
or where it is missing from SentencePiece's own file. Both give the same
contract for the same model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tltool.backbones.formats.folder_files import read_json
from tltool.backbones.formats.tokenizer_files.folder import SETTINGS_FILE, TokenizerFolder
from tltool.backbones.formats.tokenizer_files.spm_families import (
    SPM_FAMILIES,
    spm_contract,
    token_name,
)
from tltool.backbones.formats.tokenizer_files.spm_file import read_spm
from tltool.backbones.formats.tokenizer_files.unigram_json_file import (
    is_unigram_json,
    json_contract,
)
from tltool.data.preprocessing import UnigramPreprocessing
from tltool.support.errors import BackboneError

# They say nothing of the kind of a tokenizer.
_ANY = ("PreTrainedTokenizer", "TokenizersBackend")


def read_unigram(source: TokenizerFolder) -> UnigramPreprocessing:
    """The contract of a folder with a Unigram tokenizer; as `unigram_preprocessing`."""
    return unigram_preprocessing(
        source.folder,
        class_name=tokenizer_class(source),
        rows=source.rows,
        max_length=source.max_length(),
        inputs=source.inputs,
    )


def unigram_preprocessing(
    folder: Path, *, class_name: str, rows: int, max_length: int, inputs: tuple[str, ...]
) -> UnigramPreprocessing:
    """The contract of a folder's Unigram tokenizer.

    Args:
        folder: Of the transformers library, with `tokenizer.json`, or
            `spiece.model` (ALBERT), `sentencepiece.bpe.model` (XLM-RoBERTa,
            CamemBERT) or `spm.model` (DeBERTa).
        class_name: Of the tokenizer, without "Fast".
        rows: Of the token embedding; a vocabulary may not be longer.
        max_length, inputs: As in the contract.

    Raises:
        BackboneError: A file is missing or damaged, the tokenizer does something
            that tltool does not, or has more tokens than there are rows.
    """
    settings = tokenizer_settings(folder)
    family = SPM_FAMILIES.get(class_name)
    path = folder / "tokenizer.json"
    if path.is_file():
        content = read_json(path)
        if not is_unigram_json(content):
            raise BackboneError(f"{path} is of a {class_name}, but holds no Unigram model.")
        padding = token_name(settings, "pad_token")
        if padding is None and family is not None:
            padding = family.tokens.padding
        contract = json_contract(content, padding, path)
    elif family is None:
        raise BackboneError(
            f"{folder} has no tokenizer.json, and its tokenizer is a {class_name!r}."
        )
    else:
        path = folder / family.file
        contract = spm_contract(read_spm(path), family, settings, path)
        _refuse_added(folder, settings, len(contract.vocabulary), path)
    if len(contract.vocabulary) > rows:
        raise BackboneError(
            f"{path} has {len(contract.vocabulary)} tokens, but the model knows {rows}."
        )
    return contract.model_copy(update={"max_length": max_length, "inputs": inputs})


def has_unigram(source: TokenizerFolder) -> bool:
    """Whether a folder's tokenizer is a Unigram one, whatever its network."""
    name = tokenizer_class(source)
    if name in SPM_FAMILIES:
        return True
    path = source.folder / "tokenizer.json"
    return name in _ANY and path.is_file() and is_unigram_json(read_json(path))


def tokenizer_class(source: TokenizerFolder) -> str:
    """The class that a folder names for its tokenizer, else its family's; without "Fast"."""
    named = tokenizer_settings(source.folder).get("tokenizer_class")
    return str(named or f"{source.family.tokenizer}Tokenizer").removesuffix("Fast")


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json` over `special_tokens_map.json`; either may be missing."""
    settings: dict[str, Any] = {}
    for path in (folder / "special_tokens_map.json", folder / SETTINGS_FILE):
        if path.is_file():
            settings |= read_json(path)
    return settings


def _refuse_added(folder: Path, settings: dict[str, Any], known: int, path: Path) -> None:
    """Sees that no tokens were added that SentencePiece's file does not tell of."""
    added = {int(i): str(token) for i, token in settings.get("added_tokens_decoder", {}).items()}
    if (folder / "added_tokens.json").is_file():
        added |= {i: token for token, i in read_json(folder / "added_tokens.json").items()}
    beyond = [token for i, token in added.items() if i >= known]
    if beyond:
        raise BackboneError(
            f"{folder}: the tokens {beyond} were added to those of {path.name}.",
            hint="save its fast tokenizer beside it, which writes a tokenizer.json",
        )

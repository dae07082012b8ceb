"""What the readers of tokenizers are told of a folder of the transformers library."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltool.backbones.formats.folder_files import read_json
from tltool.backbones.formats.text_input import checked_length
from tltool.backbones.formats.transformers.names import EncoderNames
from tltool.support.errors import BackboneError

SETTINGS_FILE = "tokenizer_config.json"
SENTENCE_FILE = "sentence_bert_config.json"


@dataclass(frozen=True)
class TokenizerFolder:
    """A folder whose tokenizer is to be read.

    Attributes:
        folder: Of the model.
        family: What its network is called.
        rows: Of the token embedding; a vocabulary may not be longer.
        positions: Tokens of the longest text that the network takes.
        inputs: Names of the network's inputs.
        wanted_length: Tokens of the longest text, or None for the folder's own.
        name: Of the backbone, for messages.
    """

    folder: Path
    family: EncoderNames
    rows: int
    positions: int
    inputs: tuple[str, ...]
    wanted_length: int | None
    name: str

    @property
    def settings_path(self) -> Path:
        """Where the tokenizer's settings are."""
        return self.folder / SETTINGS_FILE

    def max_length(self) -> int:
        """What was wanted, else what `sentence_bert_config.json` says, else a default.

        Raises:
            BackboneError: The network has fewer positions.
        """
        wanted, sentence = self.wanted_length, self.folder / SENTENCE_FILE
        if wanted is None and sentence.is_file():
            wanted = read_json(sentence).get("max_seq_length")
        return checked_length(wanted, self.positions, self.name)

    def special_token(
        self, settings: Mapping[str, Any], key: str, default: str, vocabulary: Container[str]
    ) -> str:
        """A special token, which is text or, in older files, an object with `content`.

        Raises:
            BackboneError: The vocabulary lacks it.
        """
        token = token_text(settings.get(key, default))
        if token not in vocabulary:
            raise BackboneError(f"{self.settings_path}: {key} {token!r} is not in the vocabulary.")
        return token


def token_text(value: Any) -> str:
    """The text of a token that may be an object with `content`."""
    return str(value.get("content") if isinstance(value, dict) else value)

"""Reads SentencePiece's own model files."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from tltool.support.errors import BackboneError

_UNIGRAM = 1
_CONTROL = 3


@dataclass(frozen=True)
class SpmModel:
    """What a file of SentencePiece says of a Unigram tokenizer.

    Attributes:
        pieces: The pieces and their scores; the position is SentencePiece's id.
        unknown: The piece of unknown characters.
        control: Pieces that no text gives.
        character_map: Base64, empty where there is none.
    """

    pieces: tuple[tuple[str, float], ...]
    unknown: str
    control: tuple[str, ...]
    character_map: str


def read_spm(path: Path) -> SpmModel:
    """Reads a model file.

    Raises:
        BackboneError: It is missing, damaged, or not of the Unigram kind.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    message = sentencepiece_model_pb2.ModelProto()
    try:
        message.ParseFromString(path.read_bytes())
    except OSError as error:
        raise BackboneError(f"{path} cannot be read: {error.strerror}.") from error
    except DecodeError as error:
        raise BackboneError(f"{path} is no model of SentencePiece: {error}.") from error
    trained = message.trainer_spec
    unsupported = {
        "no Unigram model": trained.model_type != _UNIGRAM,
        "one that spells unknown characters in bytes": trained.byte_fallback,
        "one that ends words with ▁": trained.treat_whitespace_as_suffix,
        "one without pieces": not 0 <= trained.unk_id < len(message.pieces),
    }
    for what, found in unsupported.items():
        if found:
            raise BackboneError(f"{path} is {what}, which tltool cannot read.")
    charsmap = message.normalizer_spec.precompiled_charsmap
    return SpmModel(
        pieces=tuple((piece.piece, piece.score) for piece in message.pieces),
        unknown=message.pieces[trained.unk_id].piece,
        control=tuple(piece.piece for piece in message.pieces if piece.type == _CONTROL),
        character_map=base64.b64encode(charsmap).decode(),
    )

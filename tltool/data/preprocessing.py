"""The preprocessing contract: one value that says how raw input becomes model input.

It is taken from the backbone's card, saved with every run and beside every
artifact, and hashed. Training, evaluation, prediction and export all apply
it through the same functions (`tltool.data.images.preprocessor`, `tltool.data.texts.preprocessor`).
This module holds the values only and imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self, TypeGuard

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

WORD_SHAPES = "word_shapes"
"""The input that says what the word of each token looks like, where texts are read word by word."""


class _Contract(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON form; equal contracts have equal digests."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class ImagePreprocessing(_Contract):
    """How an encoded image becomes the model's input tensor.

    Decode to RGB in 0..255 (first frame, EXIF orientation applied, alpha
    dropped), resize, crop, then `(x - mean) / std` per channel.

    Attributes:
        size_px: Height and width of the model's input.
        resize_px: Length in pixels the shorter side is resized to before the
            centre crop (`fit="crop"`); at least the larger of `size_px`.
        fit: "crop" keeps the aspect ratio and crops the centre; "stretch"
            resizes straight to `size_px`, ignoring the aspect ratio.
        interpolation: Resize filter.
        antialias: Whether the filter is widened when shrinking.
        mean: Per-channel mean, in 0..255 units, R G B.
        std: Per-channel divisor, in 0..255 units, R G B.
        channel_order: Order of the channels the model expects.
    """

    kind: Literal["image"] = "image"
    size_px: tuple[PositiveInt, PositiveInt]
    resize_px: PositiveInt
    fit: Literal["crop", "stretch"] = "crop"
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    antialias: bool = True
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"

    @model_validator(mode="after")
    def _consistent(self) -> ImagePreprocessing:
        if self.fit == "crop" and self.resize_px < max(self.size_px):
            raise ValueError(
                f"resize_px is {self.resize_px}, but must be at least the larger side of size_px, "
                f"{self.size_px}"
            )
        return self


PairForm = Literal["joined", "apart"]


class TextPreprocessing(_Contract):
    """How a text becomes token ids, whatever its tokenizer; each kind is a class of its own.

    Attributes:
        vocabulary: The tokens; the position is the token id.
        max_length: Longest sequence in tokens, special tokens included;
            longer texts are cut at the end.
        unknown_token, start_token, end_token, padding_token: Special tokens.
        inputs: Names of the model's input tensors, all int32 (batch, tokens).
        by_words: Whether each word is tokenized by itself, for tasks that give each
            a tag; words are those of `tltool.tasks.tags.word_split`.
        pair: How a pair of texts is put in: "joined" as one sequence of two
            segments, "apart" as two rows, the second after the first. None
            takes single texts.
        separators: End tokens between the texts of a joined pair: one, as BERT
            has it, which calls all after it the second segment; or two, as
            RoBERTa has it, which knows no segments.
    """

    vocabulary: tuple[str, ...] = Field(repr=False)
    max_length: PositiveInt = 128
    unknown_token: str = "[UNK]"
    start_token: str = "[CLS]"
    end_token: str = "[SEP]"
    padding_token: str = "[PAD]"
    inputs: tuple[str, ...] = ("token_ids", "padding_mask", "segment_ids")
    by_words: bool = False
    pair: PairForm | None = None
    separators: Literal[1, 2] = 1

    def read_by_words(self) -> Self:
        """The contract for a task that gives each word a tag."""
        inputs = (*self.inputs, WORD_SHAPES)
        return self.model_copy(update={"by_words": True, "inputs": inputs})

    @property
    def one_text(self) -> Self:
        """The contract by which each text of a pair is prepared by itself."""
        return self.model_copy(update={"pair": None})

    @property
    def special_tokens(self) -> tuple[str, str, str, str]:
        """The unknown, the start, the end and the padding token."""
        return self.unknown_token, self.start_token, self.end_token, self.padding_token


class WordPiecePreprocessing(TextPreprocessing):
    """BERT's basic tokenizer followed by WordPiece.

    Source: Devlin et al. 2018 (arXiv:1810.04805) and its `tokenization.py`.

    Attributes:
        lowercase: Whether text is lower-cased.
        strip_accents: Whether combining marks are dropped after NFD.
        split_cjk: Whether CJK characters are set apart as words of their own.
        max_word_characters: A longer word becomes one unknown token.
    """

    kind: Literal["wordpiece"] = "wordpiece"
    lowercase: bool = True
    strip_accents: bool = True
    split_cjk: bool = True
    max_word_characters: int = 100


class BytePairPreprocessing(TextPreprocessing):
    """Byte-level byte-pair encoding, as of GPT-2 and RoBERTa.

    Sources: Radford et al. 2019, "Language Models are Unsupervised Multitask
    Learners", and its `encoder.py`; Liu et al. 2019 (arXiv:1907.11692).

    Attributes:
        merges: Pairs of tokens that are joined, as "left right", the first
            before the others. They are spelt as the vocabulary is: a character
            stands for a byte (`tltool.data.texts.tokenizers.merges.byte_characters`).
        add_prefix_space: Whether a text that begins with no space is given one.
    """

    kind: Literal["byte_pair"] = "byte_pair"
    merges: tuple[str, ...] = Field(repr=False)
    add_prefix_space: bool = False
    unknown_token: str = "<unk>"
    start_token: str = "<s>"
    end_token: str = "</s>"
    padding_token: str = "<pad>"
    inputs: tuple[str, ...] = ("token_ids", "padding_mask")
    separators: Literal[1, 2] = 2


NormalizationStep = Literal[
    "quotes",
    "strip_accents",
    "lowercase",
    "nfc",
    "join_white_space",
    "strip",
    "character_map",
    "strip_right",
    "collapse_spaces",
]


class UnigramPreprocessing(TextPreprocessing):
    """SentencePiece's Unigram tokenizer as Hugging Face's `tokenizers` computes it.

    A text goes through `steps`, is split into words, and each word into the
    pieces of the vocabulary with the largest sum of scores. A character that
    no piece has scores 10 less than the lowest score of all; neighbouring ones
    become one unknown token. Source: Kudo 2018 (arXiv:1804.10959).

    Attributes:
        scores: Logarithm of each token's probability, as many as tokens.
        steps: What is done to a text, in this order. "quotes": `` and '' become
            ". "strip_accents": NFKD, then combining marks are dropped. "nfc":
            Unicode's form NFC. "join_white_space": several characters of white
            space become one space, and so does a line break or a tab. "strip",
            "strip_right": white space is dropped at both ends, or at the end.
            "character_map": see `character_map`. "collapse_spaces": of several
            spaces one stays.
        character_map: SentencePiece's `precompiled_charsmap` in base64; empty
            where no step needs it.
        split: "whitespace" splits at all of Unicode's white space, which is
            dropped; "spaces" at spaces alone, each of which becomes the ▁ that
            its word begins with. Words are split before each ▁ in any case.
        dummy_prefix: Whether ▁ is put before each word ("spaces": before each
            text) that does not begin with it.
        control_tokens: Tokens that no text gives, besides the special ones.
    """

    kind: Literal["unigram"] = "unigram"
    scores: tuple[float, ...] = Field(repr=False)
    steps: tuple[NormalizationStep, ...] = ()
    character_map: str = Field(default="", repr=False)
    split: Literal["whitespace", "spaces"] = "whitespace"
    dummy_prefix: bool = True
    control_tokens: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> UnigramPreprocessing:
        if len(self.scores) != len(self.vocabulary):
            raise ValueError(f"{len(self.scores)} scores for {len(self.vocabulary)} tokens")
        if ("character_map" in self.steps) != bool(self.character_map):
            raise ValueError("a step `character_map` and a `character_map` need each other")
        return self


_Preprocessing = (
    ImagePreprocessing | WordPiecePreprocessing | BytePairPreprocessing | UnigramPreprocessing
)
Preprocessing = Annotated[_Preprocessing, Field(discriminator="kind")]


def is_apart(
    contract: ImagePreprocessing | TextPreprocessing,
) -> TypeGuard[TextPreprocessing]:
    """Whether a model gets the texts of a pair in two rows."""
    return isinstance(contract, TextPreprocessing) and contract.pair == "apart"


_ADAPTER: TypeAdapter[_Preprocessing] = TypeAdapter(Preprocessing)


def preprocessing_from_json(text: str | bytes) -> ImagePreprocessing | TextPreprocessing:
    """Reads a contract written by `model_dump_json`; raises pydantic's error on a bad one."""
    return _ADAPTER.validate_json(text)

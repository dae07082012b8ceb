"""WordPiece tokenizers of the transformers library: `vocab.txt` and `tokenizer_config.json`."""

from __future__ import annotations

from tltool.backbones.formats.folder_files import read_json
from tltool.backbones.formats.text_input import read_vocabulary
from tltool.backbones.formats.tokenizer_files.folder import TokenizerFolder
from tltool.data.preprocessing import WordPiecePreprocessing
from tltool.support.errors import BackboneError


def read_wordpiece(source: TokenizerFolder) -> WordPiecePreprocessing:
    """The contract of a folder with a WordPiece tokenizer.

    Raises:
        BackboneError: A file is missing, the tokenizer is of another kind, or
            its vocabulary does not fit the network.
    """
    path = source.settings_path
    settings = read_json(path)
    kind = settings.get("tokenizer_class", "BertTokenizer")
    # They are all WordPiece with the same rules.
    stems = ("Bert", source.family.tokenizer)
    known = {f"{stem}Tokenizer{fast}" for stem in stems for fast in ("", "Fast")}
    if kind not in known or settings.get("never_split"):
        raise BackboneError(f"{path}: only a plain BertTokenizer is supported, this is {kind!r}.")
    # Defaults as in the transformers library; there, null means "as lower-casing says".
    lowercase = bool(settings.get("do_lower_case", True))
    strip = settings.get("strip_accents")
    max_length = source.max_length()
    vocabulary = read_vocabulary(source.folder / "vocab.txt", source.rows)
    return WordPiecePreprocessing(
        vocabulary=vocabulary,
        lowercase=lowercase,
        strip_accents=lowercase if strip is None else bool(strip),
        split_cjk=bool(settings.get("tokenize_chinese_chars", True)),
        max_length=max_length,
        unknown_token=source.special_token(settings, "unk_token", "[UNK]", vocabulary),
        start_token=source.special_token(settings, "cls_token", "[CLS]", vocabulary),
        end_token=source.special_token(settings, "sep_token", "[SEP]", vocabulary),
        padding_token=source.special_token(settings, "pad_token", "[PAD]", vocabulary),
        inputs=source.inputs,
    )

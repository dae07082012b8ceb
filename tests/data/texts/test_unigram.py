from __future__ import annotations

import base64
import json
import subprocess
import sys
import unicodedata
from functools import cache

import numpy as np
import pytest
import tensorflow as tf
import unigrams
from odd_texts import ODD_TEXTS
from pydantic import ValidationError
from real_data import banking77_texts
from unigrams import STEPS, nasty_contract, nasty_texts, reference, train_spm

from tltool.data.preprocessing import UnigramPreprocessing, preprocessing_from_json
from tltool.data.texts.preprocessor import TextPreprocessor
from tltool.data.texts.tokenizers.character_map import read_character_map
from tltool.data.texts.tokenizers.composition import Compose
from tltool.data.texts.tokenizers.unigram import UnigramTokenizer
from tltool.data.texts.tokenizers.unigram_json import unigram_json, unigram_rules
from tltool.support.errors import BackboneError

# As the models of each kind split; "none" both ways.
KINDS = [
    ("albert", "whitespace"),
    ("xlm-roberta", "whitespace"),
    ("none", "whitespace"),
    ("deberta", "spaces"),
    ("later deberta", "spaces"),
    ("later xlm-roberta", "spaces"),
    ("none", "spaces"),
]


@cache
def tokenizer(contract):
    """Shared by tests, since a graph takes a second to be traced."""
    return UnigramTokenizer(contract)


@cache
def trained_contract(kind, split="whitespace", **changes):
    """The vocabulary of a SentencePiece model of the odd texts."""
    model = train_spm()
    return UnigramPreprocessing(
        vocabulary=tuple(piece.piece for piece in model.pieces),
        scores=tuple(piece.score for piece in model.pieces),
        steps=STEPS[kind],
        character_map=unigrams.charsmap() if "character_map" in STEPS[kind] else "",
        split=split,
        unknown_token="<unk>",
        start_token="<s>",
        end_token="</s>",
        padding_token="</s>",
        max_length=20_000,
        **changes,
    )


def assert_equal(ours, theirs, texts):
    for text, ids, encoding in zip(texts, ours, theirs.encode_batch(list(texts)), strict=True):
        assert ids == encoding.ids, repr(text[:60])


@pytest.mark.parametrize(("kind", "split"), KINDS)
def test_nasty_strings_equal_the_reference(kind, split):
    contract = nasty_contract(kind, split)
    texts = [*nasty_texts(4000), *ODD_TEXTS]
    assert_equal(tokenizer(contract)(texts).to_list(), reference(contract), texts)


@pytest.mark.parametrize(("kind", "split"), [("albert", "whitespace"), ("deberta", "spaces")])
def test_odd_texts_equal_the_reference_with_a_trained_vocabulary(kind, split):
    contract = trained_contract(kind, split)
    ours = tokenizer(contract)(list(ODD_TEXTS)).to_list()
    assert_equal(ours, reference(contract), ODD_TEXTS)


@pytest.mark.parametrize("split", ["whitespace", "spaces"])
def test_without_a_dummy_prefix_equals_the_reference(split):
    contract = nasty_contract("deberta", split, dummy_prefix=False)
    texts = nasty_texts(500)
    assert_equal(tokenizer(contract)(texts).to_list(), reference(contract), texts)


def test_every_character_is_mapped_as_the_reference_maps_it():
    contract = nasty_contract("xlm-roberta")
    mapped = read_character_map(contract.character_map)
    # One piece for each character, so that no two texts give the same ids.
    everything = sorted({*"".join(mapped.values()), *"".join(mapped), "▁"} - {" "})
    contract = contract.model_copy(
        update={
            "vocabulary": (*unigrams.SPECIAL, *everything),
            "scores": (0.0,) * 5 + (-1.0,) * len(everything),
        }
    )
    keys = [f"a{key}b" for key in mapped]
    assert len(keys) > 7000
    assert_equal(tokenizer(contract)(keys).to_list(), reference(contract), keys)


def test_nfc_is_pythons():
    letters = "ao\u0327\u0323\u0302\u0301\u0345\u0344\u1100\u1161\u11a8\uac00\u09c7\u09be\u0b47"
    letters += "\u0f71\u0f72\u1e0b\u1ed9\u212b\u2adc\ufb1d\u0dd9\u0dcf\u0dca\U000110a5\U000110ba"
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(letters), rng.integers(1, 9))) for _ in range(5000)]
    texts += [f"a{chr(code)}" for code in range(0x80, 0xFB50) if not 0xD800 <= code < 0xE000]
    found = Compose()(tf.strings.unicode_decode(texts, "UTF-8"))
    own = tf.strings.unicode_encode(found, "UTF-8").numpy()
    for text, result in zip(texts, own, strict=True):
        assert result.decode() == unicodedata.normalize("NFC", text), ascii(text)


def test_small_clusters_become_what_their_shortest_key_does(tmp_path):
    # Keys that the real map does not have: of three characters, and inside of clusters.
    keys = ["a", "b\u0301\u0302", "\u0600c", "\u2122", "\r\n", "d\u0308"]
    rules = [(key, chr(ord("A") + number)) for number, key in enumerate(keys)]
    lines = [f"{' '.join(f'{ord(c):X}' for c in key)}\t{ord(new):X}\n" for key, new in rules]
    (tmp_path / "rules.tsv").write_text("".join(lines))
    table = unigrams.charsmap(normalization_rule_tsv=str(tmp_path / "rules.tsv"))
    assert read_character_map(table) == dict(rules)
    letters = sorted({*"".join(keys), *"ABCDEF", *"▁\u200d\U0001f468\xa9\u0915 "} - {" "})
    contract = UnigramPreprocessing(
        vocabulary=(*unigrams.SPECIAL, *letters),
        scores=(0.0,) * 5 + (-1.0,) * len(letters),
        steps=("character_map",),
        character_map=table,
        split="spaces",
        unknown_token="<unk>",
        padding_token="<pad>",
    )
    texts = [*keys, *(f"{key}{mark}" for key in keys for mark in "\u0301\u0302\u0308\u200d")]
    # A pictograph joined to one that is a key, which alone would lose its accent, and not joined.
    joined = ["\U0001f468\u200d\u2122\u0301", "\xa9\u0301\u200d\u2122\u0301", "a\u200d\u2122\u0301"]
    broken = ["\u200d\u2122\u0301", "\U0001f468 \u200d\u2122\u0301", "\u2122\u0301"]
    texts += [
        *joined,
        *broken,
        "c\u0600\u0600c",
        "b\u0302\u0301",
        "\r\u0301",
        "\u0600a",
        "\u0600\r\n",
    ]
    assert_equal(tokenizer(contract)(texts).to_list(), reference(contract), texts)
    shuffled = np.random.default_rng(0).choice(letters, (3000, 5))
    texts = ["".join(row) for row in shuffled]
    assert_equal(tokenizer(contract)(texts).to_list(), reference(contract), texts)


def test_neighbouring_unknown_characters_are_one_token():
    contract = nasty_contract("none").model_copy(update={"vocabulary": (*unigrams.SPECIAL, *"ab▁")})
    contract = contract.model_copy(update={"scores": (0.0,) * 5 + (-1.0,) * 3})
    unknown, a, b, space = 1, 5, 6, 7
    ids = tokenizer(contract).tokenize(["axyzb xx x", "▁x"]).to_list()
    assert ids[0] == [space, a, unknown, b, space, unknown, space, unknown]
    # Of two words they stay two, also where not even a known ▁ is between them.
    bare = contract.model_copy(update={"dummy_prefix": False})
    assert tokenizer(bare).tokenize(["xx x"]).to_list() == [[unknown, unknown]]


def test_special_tokens_in_a_text_are_text():
    pieces = (*unigrams.SPECIAL, "[EXTRA]", "▁", *"[]<>", *"abcdefghijklmnopqrstuvwxyz")
    contract = nasty_contract("none").model_copy(
        update={"vocabulary": pieces, "scores": (0.0,) * 6 + (-1.0,) * (len(pieces) - 6)}
    )
    texts = ["[CLS] a[MASK] <pad>", "[EXTRA] <unk>"]
    extra = pieces.index("[EXTRA]")
    assert tokenizer(contract).tokenize(texts[1:]).to_list()[0][:2] == [6, extra]
    contract = contract.model_copy(update={"control_tokens": ("[MASK]", "[EXTRA]")})
    ids = tokenizer(contract).tokenize([text.lower() for text in texts])
    assert min(ids.flat_values.numpy()) > extra
    unknown = tokenizer(contract).tokenize(texts[1:]).to_list()[0]
    assert unknown[:4] == [6, pieces.index("["), 1, pieces.index("]")]


def test_a_long_word_among_others_equals_the_reference():
    contract = trained_contract("albert")
    texts = ["ab" * 5000 + "漢" * 3, "unaffable", "abé" * 700]
    assert_equal(tokenizer(contract)(texts).to_list(), reference(contract), texts)


def test_a_text_means_the_same_in_any_batch():
    ours = tokenizer(nasty_contract("albert"))
    texts = [*nasty_texts(200, seed=3), "", "ab", "``"]
    together = ours(texts).to_list()
    assert together == [ours([text]).to_list()[0] for text in texts]


def test_empty_batch_and_empty_text():
    ours = tokenizer(nasty_contract("deberta", "spaces"))
    assert ours(tf.constant([], tf.string)).to_list() == []
    assert ours(["", "\t "]).to_list() == [[2, 3], [2, 3]]


def test_invalid_utf8_is_dropped():
    ours = tokenizer(nasty_contract("xlm-roberta"))
    clean, broken = ours([b"aab b\xcc\x81", b"a\xffab\xc3 b\xcc\x81\xe2\x82"]).to_list()
    assert broken == clean


_SERVE = """
import sys, json
import tensorflow as tf
assert not [name for name in sys.modules if name.startswith(("tltool", "tokenizers", "keras_hub"))]
serve = tf.saved_model.load(sys.argv[1]).serve
texts = json.load(open(sys.argv[2], encoding="utf-8"))
print(json.dumps({k: v.numpy().tolist() for k, v in serve(tf.constant(texts)).items()}))
"""


@pytest.mark.slow
def test_a_saved_model_tokenizes_in_plain_tensorflow(tmp_path):
    contract = nasty_contract("albert", inputs=("token_ids", "padding_mask"))
    module = tf.Module()
    module.preprocessor = TextPreprocessor(contract)
    module.serve = tf.function(
        module.preprocessor, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    texts = [*nasty_texts(300, seed=5), *(text[:500] for text in ODD_TEXTS)]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    command = [sys.executable, "-c", _SERVE, str(tmp_path / "saved"), str(tmp_path / "texts.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = np.array(found["token_ids"]), np.array(found["padding_mask"])
    ids = [row[: mask.sum()].tolist() for row, mask in zip(*rows, strict=True)]
    assert_equal(ids, reference(contract), texts)


def test_it_works_in_a_pipeline():
    contract = nasty_contract("xlm-roberta")
    texts = nasty_texts(64, seed=7)
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(16).map(tokenizer(contract))
    assert_equal([row for b in batches for row in b.to_list()], reference(contract), texts)


@pytest.mark.data
def test_banking77_equals_the_reference():
    texts = banking77_texts()
    for kind, split in (("albert", "whitespace"), ("deberta", "spaces")):
        contract = trained_contract(kind, split)
        assert_equal(tokenizer(contract)(texts).to_list(), reference(contract), texts)


@pytest.mark.parametrize(("kind", "split"), KINDS)
def test_the_json_gives_the_same_ids_in_tokenizers(kind, split):
    from tokenizers import Tokenizer

    contract = nasty_contract(kind, split)
    texts = [*nasty_texts(300), *(text[:100] for text in ODD_TEXTS)]
    theirs = Tokenizer.from_str(json.dumps(unigram_json(contract)))
    ours = tokenizer(contract)(texts).to_list()
    assert_equal(ours, theirs, texts)
    # The contract as a whole is told from another one.
    other = contract.model_copy(update={"scores": contract.scores[::-1]})
    theirs = Tokenizer.from_str(json.dumps(unigram_json(other)))
    assert ours != [encoding.ids for encoding in theirs.encode_batch(texts)]


def test_special_tokens_in_a_text_are_text_in_tokenizers_too():
    from tokenizers import Tokenizer

    contract = trained_contract("xlm-roberta")
    ours = tokenizer(contract)
    texts = ["<s> a</s><unk>", "</s>"]
    rules = {**unigram_json(contract), "added_tokens": [], **unigram_rules(contract)}
    theirs = Tokenizer.from_str(json.dumps(rules))
    assert_equal(ours(texts).to_list(), theirs, texts)
    assert_equal(ours(list(ODD_TEXTS)).to_list(), theirs, ODD_TEXTS)
    # As they are listed usually, they are found.
    listed = Tokenizer.from_str(json.dumps(unigram_json(contract)))
    assert listed.encode("</s>").ids != ours(["</s>"]).to_list()[0]


def test_the_contract_survives_json():
    contract = trained_contract("albert")
    again = preprocessing_from_json(contract.model_dump_json())
    assert again == contract
    assert again.digest() == contract.digest()
    assert contract.model_copy(update={"scores": contract.scores[::-1]}).digest() != again.digest()


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValidationError, match="1 scores for 2 tokens"):
        UnigramPreprocessing(vocabulary=("a", "b"), scores=(0.0,))
    with pytest.raises(ValidationError, match="need each other"):
        UnigramPreprocessing(vocabulary=("a",), scores=(0.0,), steps=("character_map",))


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: base64.b64encode(blob[:40]).decode(),
        lambda blob: base64.b64encode(blob[:-1]).decode(),
        lambda blob: base64.b64encode(blob[:4] + blob[4:][::-1]).decode(),
        lambda blob: "?" + base64.b64encode(blob).decode(),
    ],
)
def test_a_damaged_character_map_is_refused(damage):
    blob = base64.b64decode(unigrams.charsmap())
    contract = trained_contract("xlm-roberta")
    broken = contract.model_copy(update={"character_map": damage(blob)})
    with pytest.raises(BackboneError, match="character map is damaged"):
        UnigramTokenizer(broken)

"""Two texts as one sequence: the ids and segments of Hugging Face's `tokenizers`, cut as there."""

from __future__ import annotations

import json
from itertools import pairwise

import byte_pairs
import numpy as np
import pytest
import tensorflow as tf
import unigrams
from odd_texts import ODD_TEXTS
from test_wordpiece import reference_tokenizer
from tiny import TINY_TEXT

from tltool.data.batches.pipeline import make_dataset
from tltool.data.examples import Examples
from tltool.data.texts.preprocessor import TextPreprocessor
from tltool.data.texts.tokenizing import strings, tokens_of
from tltool.export.sidecars.tokenizer_file import tokenizer_json

SOME = [text for text in ODD_TEXTS if len(text) < 1000]
PAIRS = [*zip(SOME, reversed(SOME), strict=True), *pairwise(SOME)]
THREE = ("token_ids", "padding_mask", "segment_ids")


def wordpiece():
    """BERT: one end token between the texts, and two segments."""
    from tokenizers import processors

    theirs = reference_tokenizer(TINY_TEXT.vocabulary, True, True, True)
    ids = {token: i for i, token in enumerate(TINY_TEXT.vocabulary)}
    theirs.post_processor = processors.BertProcessing(
        *((token, ids[token]) for token in ("[SEP]", "[CLS]"))
    )
    return TINY_TEXT, theirs


def byte_pair():
    """RoBERTa: two end tokens, and no segments."""
    contract = byte_pairs.trained_contract()
    return contract, byte_pairs.reference(contract)


def unigram():
    """ALBERT: one end token and two segments, in SentencePiece's Unigram."""
    from tokenizers import processors

    contract = unigrams.nasty_contract("albert", inputs=THREE)
    theirs = unigrams.reference(contract)
    start, end = contract.start_token, contract.end_token
    theirs.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(token, contract.vocabulary.index(token)) for token in (start, end)],
    )
    return contract, theirs


@pytest.mark.parametrize(
    "kind", [wordpiece, byte_pair, pytest.param(unigram, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("length", [5, 12, 40])
def test_pairs_equal_the_reference_at_any_length(kind, length):
    contract, theirs = kind()
    contract = contract.model_copy(update={"pair": "joined", "max_length": length})
    theirs.enable_truncation(length, strategy="longest_first")
    theirs.no_padding()
    expected = [theirs.encode(*pair) for pair in PAIRS]
    rows = Examples(
        "text_pair", PAIRS, *[[None] * len(PAIRS)] * 2, [f"item {i}" for i in range(len(PAIRS))]
    )
    in_graph = tf.function(TextPreprocessor(contract))(strings(PAIRS, rows.origins))
    (stored,) = make_dataset(rows, contract, targets=None, batch_size=1000, training=False)
    for tensors in (in_graph, stored):
        inputs = {name: tensor.numpy() for name, tensor in tensors.items()}
        assert set(inputs) == set(contract.inputs)
        for row, encoding in enumerate(expected):
            real = inputs["padding_mask"][row] == 1
            ids = inputs["token_ids"][row][real].tolist()
            assert ids == encoding.ids, PAIRS[row]
            if "segment_ids" in inputs:
                assert inputs["segment_ids"][row][real].tolist() == encoding.type_ids
                assert not inputs["segment_ids"][row][~real].any()


@pytest.mark.parametrize("kind", [byte_pair, unigram])
def test_the_tokenizer_file_joins_them_as_well(kind):
    from tokenizers import Tokenizer

    contract = kind()[0].model_copy(update={"pair": "joined"})
    beside = Tokenizer.from_str(json.dumps(tokenizer_json(contract, 13)))
    ours = TextPreprocessor(contract)(tf.constant(PAIRS), length=13)
    found = beside.encode_batch(PAIRS)
    np.testing.assert_array_equal(ours["token_ids"], [encoding.ids for encoding in found])
    if "segment_ids" in ours:
        np.testing.assert_array_equal(ours["segment_ids"], [one.type_ids for one in found])


def test_tokens_follow_their_rows_and_serve_one_form():
    contract = TINY_TEXT.model_copy(update={"pair": "joined"})
    pairs = [("good film", "bad"), ("nice", "the food is ugly"), ("a", "a")]
    rows = Examples("text_pair", pairs, *[[None] * 3] * 2, ["x"] * 3)
    tokens = tokens_of(rows, contract)
    assert tokens.lengths.tolist() == [6, 8, 5]
    picked = tokens.take([2, 0])
    values, kept, first = picked.joined(16)
    assert (kept.tolist(), first.tolist()) == ([5, 6], [3, 4])
    assert len(values) == 11
    apart = contract.model_copy(update={"pair": "apart"})
    assert tokens.serve(contract)
    assert not tokens.serve(apart)
    assert tokens_of(rows, apart).lengths.tolist() == [4, 6, 3]

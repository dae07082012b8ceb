"""An exported model's tokenizer.json gives the ids that its own tokenizer gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
from byte_pairs import trained_contract
from odd_texts import ODD_TEXTS

from tltool.data.texts.preprocessor import TextPreprocessor
from tltool.export.sidecars.tokenizer_file import has_tokenizer_file, tokenizer_json

TEXTS = (*ODD_TEXTS, "<s> spelt out </s><pad>", " It's  10% \n\n off", "'ll")


def read(contract, length):
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(tokenizer_json(contract, length)))


@pytest.mark.parametrize("prefix", [False, True])
def test_ids_and_mask_are_the_models_inputs(prefix):
    contract = trained_contract().model_copy(update={"add_prefix_space": prefix})
    ours = TextPreprocessor(contract)(list(TEXTS), length=24)
    theirs = read(contract, 24).encode_batch(list(TEXTS))
    np.testing.assert_array_equal([e.ids for e in theirs], ours["token_ids"])
    np.testing.assert_array_equal([e.attention_mask for e in theirs], ours["padding_mask"])


def test_without_a_length_nothing_is_padded_and_the_contract_cuts():
    contract = trained_contract().model_copy(update={"max_length": 10})
    theirs = read(contract, None)
    assert len(theirs.encode("word " * 50).ids) == 10
    assert len(theirs.encode("a").ids) == 3


def test_words_are_neither_cut_nor_padded():
    contract = trained_contract().read_by_words()
    theirs = read(contract, 8)
    assert len(theirs.encode("a", add_special_tokens=False).ids) == 1
    assert len(theirs.encode("word " * 50).ids) > 50


def test_a_wordpiece_vocabulary_has_no_such_file():
    assert not has_tokenizer_file(tiny.TINY_TEXT)
    with pytest.raises(TypeError, match="WordPiecePreprocessing"):
        tokenizer_json(tiny.TINY_TEXT, 8)

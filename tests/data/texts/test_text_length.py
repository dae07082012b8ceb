from __future__ import annotations

import numpy as np
import pytest
from tiny import TINY_TEXT, texts

from tltool.data.examples import Examples
from tltool.data.texts import tokenizing
from tltool.data.texts.text_length import choose_length, fit_length
from tltool.data.texts.tokenizers.wordpiece import WordPieceTokenizer
from tltool.data.texts.tokenizing import tokenized, tokens_of
from tltool.support.errors import DataError

CONTRACT = TINY_TEXT.model_copy(update={"max_length": 40})


def table(lengths: dict[str, list[int]]) -> Examples:
    """Texts of so many tokens, the two special ones included, by split."""
    rows = [(split, n) for split, numbers in lengths.items() for n in numbers]
    splits, counts = zip(*rows, strict=True)
    inputs = [" ".join(["good"] * (n - 2)) for n in counts]
    return Examples(
        "text", inputs, [None] * len(rows), splits, [f"row {i}" for i in range(len(rows))]
    )


# Tokens ------------------------------------------------------------------------------------


def ragged(tokens, max_length: int) -> list[list[int]]:
    values, lengths = tokens.cut(max_length)
    return [part.tolist() for part in np.split(values, np.cumsum(lengths)[:-1])]


def test_one_long_text_among_short_ones_takes_no_more_memory_than_its_characters():
    """As rows times the longest, these would take 1.3 GB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    inputs = ["good"] * 300 + ["good " * 100_000]
    found = tokens_of(Examples("text", inputs, inputs, [None] * 301, inputs), CONTRACT)
    assert found.lengths.tolist() == [3] * 300 + [100_002]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500_000


def test_texts_are_tokenized_in_pieces_of_so_many_characters(monkeypatch):
    data = table({"train": [3, 9, 30, 3, 3, 12, 3]})
    whole = tokens_of(data, CONTRACT)
    monkeypatch.setattr(tokenizing, "_CHARACTERS", 60)
    assert [len(range(7)[rows]) for rows in tokenizing.chunks(data.inputs)] == [2, 1, 3, 1]
    assert ragged(tokens_of(data, CONTRACT), 40) == ragged(whole, 40)


@pytest.mark.parametrize("limit", [4, 8, 16, 40])
def test_tokens_cut_later_are_those_the_tokenizer_cuts(limit):
    inputs = [*texts(30)[0], "", "good " * 60, "good " * 38, "filming"]
    data = Examples("text", inputs, [None] * 34, [None] * 34, inputs)
    tokens = tokens_of(data, CONTRACT)
    tokenizer = WordPieceTokenizer(CONTRACT)
    assert ragged(tokens, limit) == tokenizer(inputs, max_length=limit).to_list()
    assert tokens.lengths.tolist() == tokenizer.lengths(inputs).numpy().tolist()
    rows = [31, 0, 32, 5, 5]
    chosen = tokenizer([inputs[i] for i in rows], max_length=limit).to_list()
    assert ragged(tokens.take(rows), limit) == chosen


def test_tokens_go_with_their_rows():
    data = tokenized(table({"train": [4, 9], "test": [30, 5]}), CONTRACT)
    assert data.split("test").tokens.lengths.tolist() == [30, 5]
    assert data.take([3, 0]).tokens.lengths.tolist() == [5, 4]


def test_a_text_is_tokenized_once_for_contracts_that_differ_in_length_only(monkeypatch):
    data = tokenized(table({"train": [4, 9], "test": [30]}), CONTRACT)
    monkeypatch.setattr(WordPieceTokenizer, "tokenize", None)
    shorter = CONTRACT.model_copy(update={"max_length": 12})
    assert tokens_of(data, shorter) is data.tokens
    assert ragged(tokens_of(data, shorter).take([2]), 12) == [[2, *[5] * 10, 3]]


@pytest.mark.parametrize("change", [{"max_length": 50}, {"lowercase": False}])
def test_tokens_of_another_contract_are_made_anew(change):
    data = tokenized(table({"train": [4, 60]}), CONTRACT)
    other = CONTRACT.model_copy(update=change)
    tokens = tokens_of(data, other)
    assert tokens is not data.tokens
    assert tokens.max_length == other.max_length
    assert ragged(tokens, other.max_length) == WordPieceTokenizer(other)(data.inputs).to_list()


def test_a_text_that_is_none_is_named():
    data = Examples("text", ["good", None], [None] * 2, [None] * 2, ["a.csv:2", "a.csv:3"])
    with pytest.raises(DataError, match=r"a\.csv:3"):
        tokenized(data, CONTRACT)


# Length ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "chosen"),
    [
        ([5] * 99 + [100], 8),  # one of a hundred may be cut
        ([5] * 98 + [30] * 2, 32),  # two may not
        ([9] * 100, 12),
        ([32] * 100, 32),
        ([33] * 100, 40),
        ([7], 8),
        ([], 64),
        ([60] * 100, 64),
        ([65] * 100, 64),  # never past the limit
    ],
)
def test_the_length_leaves_99_per_cent_whole_and_is_a_bucket_size(lengths, chosen):
    assert choose_length(np.array(lengths, np.int64), limit=64)[0] == chosen


def test_only_the_training_texts_choose_and_cuts_are_counted_by_split():
    data = table({"train": [6] * 200 + [30], "validation": [8, 9, 12], "test": [39] * 5})
    contract, found = fit_length(data, CONTRACT, None)
    assert contract == CONTRACT.model_copy(update={"max_length": 8})
    assert found.longer == {"train": 1, "validation": 2, "test": 5}
    assert str(found) == (
        "texts are cut at 8 tokens (99th percentile of the training texts): "
        "1 of 201 training, 2 of 3 validation, 5 of 5 test texts are longer"
    )
    assert found.to_json()["tokens"]["max"] == 39


def test_texts_longer_than_the_limit_are_counted_with_their_true_lengths():
    contract, found = fit_length(table({"train": [60] * 10 + [5]}), CONTRACT, None)
    assert contract.max_length == 40
    assert found.longer == {"train": 10}
    assert found.tokens["max"] == 60
    assert "percentile is 60" in str(found)


def test_a_given_length_is_taken_as_it_is():
    wanted = CONTRACT.model_copy(update={"max_length": 11})
    contract, found = fit_length(table({"train": [4] * 9, "test": [12]}), wanted, 11)
    assert contract == wanted
    assert found.longer == {"train": 0, "test": 1}
    assert "backbone.max_length" in str(found)


def test_nothing_cut_is_said_too():
    found = fit_length(table({"train": [4] * 9}), CONTRACT, None)[1]
    assert not found.cuts
    assert str(found).endswith("none is longer")

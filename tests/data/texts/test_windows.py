from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tiny
from byte_pairs import trained_contract

from tltool.data.examples import Examples
from tltool.data.texts.preprocessor import TextPreprocessor
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.data.texts.windows import cut_in_windows, windowed, windowed_examples, word_tensors
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.tags.tagged import Tagged
from tltool.tasks.tags.word_split import words_of
from tltool.training.data import at_first_tokens

WORDS = ["good", "bad", "movie", "a.b.c", "(x)", "Hello", "O'Neil", "5€"]
ODD = "Ada (B) met\u00a0O'Neil,\nU.S. 5€ \U0001f600 北京 e\u0301t\u00e9"


def contract(max_length=8):
    return tiny.TINY_TEXT.read_by_words().model_copy(update={"max_length": max_length})


def some_texts(seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=n)) for n in (0, 1, 3, 6, 7, 9, 30, 61)]


def test_words_in_graphs_are_those_of_python():
    texts = [ODD, "", " ", *some_texts()]
    words = tokenizer_for(contract()).words(tf.constant(texts))
    pairs = zip(words.starts.to_list(), words.ends.to_list(), strict=True)
    for text, (starts, ends) in zip(texts, pairs, strict=True):
        assert list(zip(starts, ends, strict=True)) == words_of(text)


def test_shapes_say_how_words_are_written():
    tokenizer = tokenizer_for(contract())
    texts = ["movie", "Movie", "MOVIE", "A", "McA", "12", "b2b", "!", "ß"]
    shapes = [row[0][1] for row in tokenizer.tokenize(tf.constant(texts)).to_list()]
    assert shapes == [2, 3, 4, 5, 6, 7, 8, 9, 2]


@pytest.mark.parametrize("length", [8, 11, 32])
@pytest.mark.parametrize("tokens", ["words", "byte pairs"])
def test_windows_are_texts_whose_tokens_are_those_of_the_whole(length, tokens):
    texts, chosen = some_texts(), contract(length)
    if tokens == "byte pairs":
        # Their tokens of a word depend on whether a space stands before it.
        texts = [*texts, "!" * 60, "it's(a)\u00a0\u2028b," * 9]
        chosen = trained_contract().read_by_words().model_copy(update={"max_length": length})
    tokenizer = tokenizer_for(chosen)
    found = windowed(texts, texts, chosen)
    words = tokenizer.words(tf.constant(texts))
    inner = cut_in_windows(words, length - 2)
    ids = tokenizer(tf.constant(found.inputs)).to_list()
    assert [row[1:-1] for row in ids] == inner.tokens.to_list()
    whole, firsts = words.tokens.to_list(), words.first.to_list()
    for number, placed in enumerate(found.words):
        assert len(placed) == len(firsts[number])
        for (_, _, window, place), first in zip(placed.tolist(), firsts[number], strict=True):
            assert ids[window][place] == whole[number][first]


def test_each_word_comes_from_the_window_where_it_has_most_context():
    text = " ".join(["good"] * 40)
    found = windowed([text], [text], contract(12))
    (words,) = found.words
    # Far from the ends of the text no word is taken from the end of a window.
    inner = words[5:-5, 3]
    assert inner.min() >= 3
    assert inner.max() <= 8


def test_a_graph_gives_what_windows_put_together_give():
    texts, chosen = some_texts(), contract()
    preprocessor = TextPreprocessor(chosen)

    def run(inputs):
        shown = tf.cast(inputs["token_ids"], tf.float32)[..., None] * tf.constant([1.0, 2.0])
        place = tf.cast(tf.range(tf.shape(shown)[1]), tf.float32)
        return shown + place[None, :, None] / 64

    graph = tf.function(lambda t: word_tensors(t, preprocessor, run).logits, autograph=False)
    logits = graph(tf.constant(texts)).to_list()
    found = windowed(texts, texts, chosen)
    values = run(preprocessor(tf.constant(found.inputs))).numpy()
    for row, expected in zip(found.merged(values), logits, strict=True):
        np.testing.assert_allclose(row.values, np.reshape(expected, (-1, 2)))


def test_tags_stand_at_the_first_tokens_of_words():
    rows = [Tagged((0, 7), (6, 11), ("B-name", "O"))]
    target = TagsTarget.fit([*rows, Tagged((0,), (4,), ("O",))])
    examples = Examples("text", ["O'Neil good"], rows, [None], ["item 0"], kind=TagsTarget)
    encoded = target.encode(target.truth(rows))
    tags, weights = at_first_tokens(examples, contract(16), encoded, target.weights(rows, None))
    # Start token, O, ', Neil, good, end token.
    assert tags.to_list() == [[-1, 1, 2, 2, 0, -1]]
    assert weights.to_list() == [[0, 1, 1, 1, 1, 0]]


def test_long_examples_are_trained_on_in_windows():
    words = ["good"] * 20
    starts = tuple(range(0, 100, 5))
    row = Tagged(starts, tuple(s + 4 for s in starts), ("B-name",) * 20)
    examples = Examples("text", [" ".join(words)], [row], [None], ["item 0"], kind=TagsTarget)
    cut = windowed_examples(examples, contract(10))
    assert len(cut) > 2
    for text, target in zip(cut.inputs, cut.targets, strict=True):
        for start, end in zip(target.starts, target.ends, strict=True):
            assert text[start:end] == "good"

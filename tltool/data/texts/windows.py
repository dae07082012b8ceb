"""Long texts in overlapping windows, and each word from the one where it has most context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.data.texts.preprocessor import TextPreprocessor
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.data.texts.tokenizers.rows import last_place
from tltool.data.texts.tokenizing import chunks, strings
from tltool.data.texts.words import MOST_TOKENS, Words, WordsTokenizer
from tltool.tasks.tags.graph import WordTensors
from tltool.tasks.tags.tagged import WordScores
from tltool.tasks.tags.word_split import GAP, character_kind

Integers = np.ndarray[Any, Any]


class Windows(NamedTuple):
    """Windows of texts, in a graph or not.

    Attributes:
        tokens: Ids and shapes without special tokens, ragged int32 (m, tokens, 2).
        rows: The text of each window, int32 (m,), ascending.
        starts, ends: Its first character, and that after its last word, int32 (m,).
        window: The window that each word is taken from, int32 (words,), flat; -1
            where none has its first token.
        place: The place of its first token there, after the start token, int32 (words,).
    """

    tokens: Any
    rows: Any
    starts: Any
    ends: Any
    window: Any
    place: Any


def cut_in_windows(words: Words, length: int) -> Windows:
    """Cuts texts with more than `length` tokens into windows that begin with a word.

    Neighbouring windows share half of their tokens at least, so that a word
    near the end of one is in the middle of the other.

    Args:
        words: Of texts.
        length: Most tokens of a window, special tokens not counted.
    """
    step = max(1, length // 2)
    splits = tf.cast(words.tokens.row_splits, tf.int32)
    sizes = splits[1:] - splits[:-1]
    # A window may begin a word before its step, and the last one reaches the end all the same.
    more = (tf.maximum(sizes - length + MOST_TOKENS - 1, 0) + step - 1) // step
    counts = 1 + tf.where(sizes > length, more, 0)
    rows = tf.repeat(tf.range(tf.size(counts)), counts)
    bounds = tf.concat([[0], tf.cumsum(counts)], 0)
    steps = tf.range(tf.size(rows)) - tf.gather(bounds, rows)
    row_start, row_end = tf.gather(splits, rows), tf.gather(splits, rows + 1)
    # One word more, so that texts without any have a place to begin at.
    word_rows = tf.cast(words.first.value_rowids(), tf.int32)
    firsts = tf.gather(splits, word_rows) + words.first.flat_values
    total = splits[-1]
    is_first = tf.scatter_nd(firsts[:, None], tf.ones_like(firsts), [total + 1]) > 0
    nearest = tf.cast(last_place(is_first), tf.int32)
    begin = tf.minimum(row_start + steps * step, tf.maximum(row_end - 1, row_start))
    begin = tf.maximum(tf.gather(nearest, begin), row_start)
    end = tf.minimum(begin + length, row_end)
    word_at = tf.cumsum(tf.cast(is_first, tf.int32)) - 1
    some = end > begin

    def character(places: Any, of: Any) -> Any:
        chosen = tf.where(some, tf.gather(word_at, places), 0)
        return tf.where(some, tf.gather(tf.concat([of, [0]], 0), tf.maximum(chosen, 0)), 0)

    window, place = _most_context(
        firsts, words.first.flat_values, word_rows, bounds, begin, end, step, length
    )
    tokens = tf.ragged.range(begin, end)
    return Windows(
        tokens.with_flat_values(tf.gather(words.tokens.flat_values, tokens.flat_values)),
        rows,
        character(begin, words.starts.flat_values),
        character(tf.maximum(end - 1, begin), words.ends.flat_values),
        window,
        place,
    )


def _most_context(
    firsts: Any, in_text: Any, rows: Any, bounds: Any, begin: Any, end: Any, step: int, length: int
) -> tuple[Any, Any]:
    """The window of each word in which most tokens stand before or after it, the less of both."""
    reach = (length + MOST_TOKENS) // step + 2
    steps = (in_text // step)[:, None] + tf.range(1 - reach, 2)[None]
    lowest, highest = tf.gather(bounds, rows)[:, None], tf.gather(bounds, rows + 1)[:, None] - 1
    windows = tf.clip_by_value(lowest + steps, lowest, highest)
    before = firsts[:, None] - tf.gather(begin, windows)
    after = tf.gather(end, windows) - 1 - firsts[:, None]
    context = tf.minimum(before, after)
    best = tf.argmax(context, axis=1, output_type=tf.int32)
    chosen = tf.gather(windows, best, batch_dims=1)
    covered = tf.gather(context, best, batch_dims=1) >= 0
    place = 1 + tf.gather(before, best, batch_dims=1)
    return tf.where(covered, chosen, -1), tf.where(covered, place, -1)


def word_tensors(texts: Any, preprocessor: TextPreprocessor, run: Any) -> WordTensors:
    """What a model gives for the words of texts, in a graph.

    Args:
        texts: Strings (n,).
        preprocessor: Of a contract with `by_words`.
        run: From model inputs, dense (m, tokens) by name, to raw outputs (m, tokens, tags).
    """
    tokenizer = preprocessor.tokenizer
    words = tokenizer.words(texts)
    windows = cut_in_windows(words, tokenizer.max_length - 2)
    raw = run(preprocessor.pad(tokenizer.enclose(windows.tokens)))
    covered = windows.window >= 0
    kept = words.starts.with_flat_values(covered)
    starts, ends = (tf.ragged.boolean_mask(part, kept) for part in (words.starts, words.ends))
    at = tf.stack([windows.window, windows.place], axis=1)
    logits = tf.gather_nd(raw, tf.boolean_mask(at, covered))
    return WordTensors(words.codes, starts, ends, starts.with_flat_values(logits))


@dataclass(frozen=True)
class WindowedTexts:
    """Texts, their windows as texts of their own, and where each word is in them.

    Attributes:
        texts: The texts.
        inputs: The windows, each with the space before it, which some tokenizers count; a text
            that is short enough is one itself.
        rows: The text of each, int (m,).
        offsets: Its first character in that text, int (m,).
        words: For each text the start and end of its words in characters, the
            window and the place of each one's first token, int (words, 4).
    """

    texts: Sequence[str]
    inputs: Sequence[str]
    rows: Integers
    offsets: Integers
    words: Sequence[Integers]

    def merged(self, values: Sequence[Any]) -> list[WordScores]:
        """What a model gives for the words of each text.

        Args:
            values: For each window its outputs, (tokens, tags), the start token first.
        """
        found = []
        for text, words in zip(self.texts, self.words, strict=True):
            picked = [values[window][place] for window, place in words[:, 2:].tolist()]
            width = np.shape(values[0])[-1] if len(values) else 0
            scores = np.array(picked, np.float32).reshape(len(picked), width)
            found.append(WordScores(text, words[:, 0], words[:, 1], scores))
        return found


def windowed(
    texts: Sequence[Any],
    origins: Sequence[str],
    contract: TextPreprocessing,
    length: int | None = None,
) -> WindowedTexts:
    """Cuts texts as `cut_in_windows` does.

    Args:
        texts: The texts.
        origins: Where they come from, for messages.
        contract: With `by_words`.
        length: Most tokens of a window in place of the contract's, special tokens included.

    Raises:
        DataError: An input that is no text; names its row.
    """
    parts = [
        _part(list(texts[rows]), strings(texts[rows], origins[rows]), contract, length)
        for rows in chunks(texts)
    ]
    inputs: list[str] = []
    rows, offsets, words, texts_before = [], [], [], 0
    for part in parts:
        shift = np.array([0, 0, len(inputs), 0], np.int32)
        words += [some + shift for some in part.words]
        rows.append(part.rows + texts_before)
        offsets.append(part.offsets)
        inputs += part.inputs
        texts_before += len(part.texts)
    return WindowedTexts(texts, inputs, np.concatenate(rows), np.concatenate(offsets), words)


def _part(
    texts: list[str], encoded: Any, contract: TextPreprocessing, length: int | None
) -> WindowedTexts:
    tokenizer = tokenizer_for(contract)
    if not isinstance(tokenizer, WordsTokenizer):
        raise TypeError("The contract does not read texts word by word.")
    found = tokenizer.words(encoded)
    most = min(length or contract.max_length, contract.max_length) - 2
    windows = cut_in_windows(found, most)
    rows, starts, ends = (part.numpy() for part in windows[1:4])
    starts = np.array(
        [_with_space(texts[row], start) for row, start in zip(rows, starts, strict=True)]
    )
    alone = np.bincount(rows, minlength=len(texts))[rows] == 1
    inputs = [
        texts[row] if whole else texts[row][start:end]
        for row, whole, start, end in zip(rows, alone, starts, ends, strict=True)
    ]
    columns = [found.starts.flat_values, found.ends.flat_values, windows.window, windows.place]
    flat = np.stack([column.numpy() for column in columns], axis=1)
    by_text = np.split(flat, found.starts.row_splits.numpy()[1:-1])
    words = [some[some[:, 2] >= 0] for some in by_text]
    return WindowedTexts(texts, inputs, rows, np.where(alone, 0, starts), words)


def _with_space(text: str, start: int) -> int:
    """Where a window begins: at the space before its first word, where there is one."""
    return start - (start > 0 and character_kind(text[start - 1]) == GAP)


def windowed_examples(
    examples: Examples, contract: ImagePreprocessing | TextPreprocessing
) -> Examples:
    """Examples whose texts are read word by word with windows in their place; others as they are.

    Targets are those of the words in each window.
    """
    if not (isinstance(contract, TextPreprocessing) and contract.by_words):
        return examples
    found = windowed(examples.inputs, examples.origins, contract)
    if len(found.inputs) == len(examples):
        return examples
    cut = examples.take(found.rows.tolist())
    targets = [
        target if text == whole else target.between(int(offset), int(offset) + len(text))
        for target, text, whole, offset in zip(
            cut.targets, found.inputs, cut.inputs, found.offsets, strict=True
        )
    ]
    return replace(cut, inputs=found.inputs, targets=targets, tokens=None, contents=None)


def first_tokens(
    examples: Examples, contract: TextPreprocessing
) -> tuple[list[Integers], Integers]:
    """Where the words of short texts have their first tokens.

    Args:
        examples: As `windowed_examples` gives them.
        contract: With `by_words`.

    Returns:
        For each text the start of each word in characters and the place of its
        first token, int (words, 2); and the number of each text's tokens,
        special tokens included, int (n,).
    """
    places: list[Integers] = []
    lengths: list[Integers] = []
    tokenizer: Any = tokenizer_for(contract)
    for rows in chunks(examples.inputs):
        found = tokenizer.words(strings(examples.inputs[rows], examples.origins[rows]))
        pairs = np.stack([found.starts.flat_values.numpy(), found.first.flat_values.numpy() + 1], 1)
        sizes = np.minimum(found.tokens.row_lengths().numpy() + 2, contract.max_length)
        by_text = np.split(pairs, found.starts.row_splits.numpy()[1:-1])
        places += [some[some[:, 1] < size - 1] for some, size in zip(by_text, sizes, strict=True)]
        lengths.append(sizes)
    return places, np.concatenate(lengths)

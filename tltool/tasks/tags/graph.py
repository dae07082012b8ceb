"""Entities in TensorFlow graphs: what a SavedModel of tags gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tltool.tasks.tags.decoding import decode_in_graph, transitions
from tltool.tasks.tags.schemes import prefix_of


class WordTensors(NamedTuple):
    """What a model gives for the words of texts, in a graph.

    Attributes:
        codes: The characters of each text, ragged int32 (n, characters).
        starts, ends: Of each word in characters, ragged int32 (n, words).
        logits: Raw outputs, ragged float32 (n, words, tags).
    """

    codes: Any
    starts: Any
    ends: Any
    logits: Any


def served_entities(raw: WordTensors, labels: Sequence[str], entities: bool) -> dict[str, Any]:
    """Entities and words of texts, padded; see `TagsTarget.contents`.

    Args:
        raw: What the model gives.
        labels: The tags.
        entities: Whether they are IOB2; else each word is one entity.
    """
    counts = raw.starts.row_lengths()
    probabilities = tf.nn.softmax(raw.logits.flat_values)
    dense = raw.logits.with_flat_values(probabilities).to_tensor(
        shape=tf.stack([-1, tf.reduce_max(tf.concat([counts, [0]], 0)), len(labels)])
    )
    tags = decode_in_graph(dense, counts, *transitions(labels))
    inside = tf.sequence_mask(counts, tf.shape(tags)[1])
    flat = tf.boolean_mask(tags, inside)
    likely = tf.gather(probabilities, flat, batch_dims=1)
    rows = tf.cast(raw.starts.value_rowids(), tf.int32)
    begins, within, kinds = _parts(flat, rows, labels, entities)
    # Words of one entity have one number; those outside of all are left out.
    number = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    total = tf.reduce_sum(tf.cast(begins, tf.int32))
    inner, which = tf.boolean_mask(number, within), tf.where(begins)[:, 0]
    score = tf.math.unsorted_segment_mean(tf.boolean_mask(likely, within), inner, total)
    starts = tf.gather(raw.starts.flat_values, which)
    ends = tf.math.unsorted_segment_max(tf.boolean_mask(raw.ends.flat_values, within), inner, total)
    of = tf.gather(rows, which)
    splits = tf.searchsorted(of, tf.range(raw.starts.nrows(tf.int32) + 1))
    names = tf.constant([prefix_of(label)[1] for label in labels])

    def by_row(values: Any, default: Any) -> Any:
        ragged = tf.RaggedTensor.from_row_splits(values, splits, validate=False)
        return ragged.to_tensor(default)

    return {
        "entity_text": by_row(_texts(raw.codes, of, starts, ends), ""),
        "entity_start": by_row(starts, -1),
        "entity_end": by_row(ends, -1),
        "entity_type": by_row(tf.gather(names, tf.gather(kinds, which)), ""),
        "entity_score": by_row(score, 0.0),
        "word_start": raw.starts.to_tensor(-1),
        "word_end": raw.ends.to_tensor(-1),
        "word_probabilities": dense,
    }


def _parts(flat: Any, rows: Any, labels: Sequence[str], entities: bool) -> tuple[Any, Any, Any]:
    """Which words begin an entity and which are in one, and their tags, all (words,)."""
    if not entities:
        every = tf.ones_like(flat, tf.bool)
        return every, every, flat
    pairs = [prefix_of(label) for label in labels]
    types = sorted({kind for prefix, kind in pairs if prefix})
    kinds = tf.gather([types.index(k) + 1 if p else 0 for p, k in pairs], flat)
    marked = tf.gather([prefix == "B" for prefix, _ in pairs], flat)
    before = tf.concat([[0], kinds[:-1]], 0)
    first = tf.concat([[True], ~tf.equal(rows[1:], rows[:-1])], 0)[: tf.size(rows)]
    within = kinds > 0
    return within & (marked | first | ~tf.equal(kinds, before[: tf.size(kinds)])), within, flat


def _texts(codes: Any, rows: Any, starts: Any, ends: Any) -> Any:
    """The characters from `starts` to before `ends` of the texts `rows`, as strings."""
    first = tf.gather(tf.cast(codes.row_splits, tf.int32), rows)
    places = tf.ragged.range(first + starts, first + ends)
    found = places.with_flat_values(tf.gather(codes.flat_values, places.flat_values))
    return tf.strings.unicode_encode(found, "UTF-8")

"""Words to the pieces with the largest sum of scores (Viterbi), for all words at once, in graphs.

Equal to the Unigram model of Hugging Face's `tokenizers`: sums in float64, made
from left to right, and of equal ones the one with the longer last piece.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tltool.data.texts.tokenizers.base import lookup_table
from tltool.data.texts.tokenizers.rows import before, row_numbers, row_starts

_UNKNOWN_PENALTY = 10.0
_CODES = 1 << 21


class BestPieces(tf.Module):
    """Splits words into pieces.

    Args:
        vocabulary: The tokens; the position is the id.
        scores: Of each token.
        unknown_id: Of the token for characters that no piece has.
        unmatched: Tokens that no word gives.
    """

    def __init__(
        self,
        vocabulary: tuple[str, ...],
        scores: tuple[float, ...],
        unknown_id: int,
        unmatched: frozenset[str],
    ) -> None:
        super().__init__()
        trie = _make_trie(vocabulary, unmatched)
        self._children = lookup_table(trie.edges, trie.nodes, tf.int64)
        self._ids = tf.constant(trie.ids)
        self._longest = trie.longest
        self._unknown, self._nothing = unknown_id, len(vocabulary)
        known = np.array([*scores, -np.inf], np.float64)
        known[unknown_id] = min(scores) - _UNKNOWN_PENALTY
        self._scores = tf.constant(known)

    def __call__(self, words: Any) -> Any:
        """Token ids of strings (m,), none of them empty: RaggedTensor int32 (m, pieces)."""
        lengths = tf.strings.length(words, unit="UTF8_CHAR")
        # Longest first: at each place of a word, those that go on are the first ones.
        order = tf.argsort(lengths, direction="DESCENDING", stable=True)
        codes = tf.strings.unicode_decode(tf.gather(words, order), "UTF-8")
        pieces = self._pieces(codes)
        sizes = self._best_sizes(pieces, codes)
        ids = self._follow(pieces, sizes, codes)
        return tf.gather(ids, tf.math.invert_permutation(order))

    def _pieces(self, codes: Any) -> Any:
        """The id of each piece that begins at each character, by its length.

        Returns:
            int32 (characters, longest); `self._nothing` where no piece is.
        """
        values, count = codes.flat_values, tf.size(codes.flat_values, tf.int64)
        limits = tf.gather(codes.row_splits, row_numbers(codes) + 1)
        places = tf.range(count, dtype=tf.int64)
        none = tf.zeros([0], tf.int64)
        state = (places, tf.zeros([count], tf.int32), tf.constant(0, tf.int64), none, none[:0])

        def step(places: Any, nodes: Any, size: Any, cells: Any, ids: Any) -> tuple[Any, ...]:
            letters = tf.cast(tf.gather(values, places + size), tf.int64)
            nodes = self._children.lookup(tf.cast(nodes, tf.int64) * _CODES + letters)
            places, nodes = places[nodes >= 0], nodes[nodes >= 0]
            found = tf.gather(self._ids, nodes)
            cells = tf.concat([cells, (places * self._longest + size)[found >= 0]], 0)
            ids = tf.concat([ids, tf.cast(found[found >= 0], tf.int64)], 0)
            size += 1
            more = places + size < tf.gather(limits, places)
            return places[more], nodes[more], size, cells, ids

        many = tf.TensorShape([None])
        *_, cells, ids = tf.while_loop(
            lambda places, *_: tf.size(places) > 0,
            step,
            state,
            shape_invariants=(many, many, tf.TensorShape([]), many, many),
        )
        table = tf.fill([count * self._longest], tf.constant(self._nothing, tf.int32))
        table = tf.tensor_scatter_nd_update(table, cells[:, None], tf.cast(ids, tf.int32))
        table = tf.reshape(table, [-1, self._longest])
        single = tf.where(tf.equal(table[:, :1], self._nothing), self._unknown, table[:, :1])
        return tf.concat([single, table[:, 1:]], 1)

    def _best_sizes(self, pieces: Any, codes: Any) -> Any:
        """The length of the last piece on the best path to the end of each character.

        Goes through the words from left to right, all at once. The state is
        the best sum for the end of each of the next characters, as far as a
        piece reaches, and the length of its last piece.

        Returns:
            int32 (characters,).
        """
        starts, lengths = codes.row_splits[:-1], tf.cast(codes.row_lengths(), tf.int32)
        steps = tf.reduce_max(tf.concat([lengths, [0]], 0))
        # Of the words, longest first, so many have a character at each place.
        shorter = tf.searchsorted(lengths[::-1], tf.range(steps), side="right")
        active = tf.size(lengths) - shorter
        reach = tf.range(1, self._longest + 1)[None]
        beyond = tf.constant([[-np.inf]], tf.float64)
        best = tf.concat([[[0.0]], tf.repeat(beyond, self._longest - 1, axis=1)], 1)
        best = tf.repeat(best, tf.size(lengths), axis=0)
        found = tf.TensorArray(tf.int32, steps, element_shape=[None], infer_shape=False)
        state = (tf.constant(0), best, tf.zeros_like(best, tf.int32), found)

        def step(place: Any, best: Any, sizes: Any, found: Any) -> tuple[Any, ...]:
            count = active[place]
            best, sizes = best[:count], sizes[:count]
            here = tf.gather(pieces, starts[:count] + tf.cast(place, tf.int64))
            sums = best[:, :1] + tf.gather(self._scores, here)
            known = tf.concat([best[:, 1:], tf.repeat(beyond, count, axis=0)], 1)
            better = sums > known
            older = tf.concat([sizes[:, 1:], tf.zeros_like(sizes[:, :1])], 1)
            sizes = tf.where(better, reach, older)
            return place + 1, tf.where(better, sums, known), sizes, found.write(place, sizes[:, 0])

        table = tf.TensorShape([None, self._longest])
        *_, found = tf.while_loop(
            lambda place, *_: place < steps,
            step,
            state,
            shape_invariants=(tf.TensorShape([]), table, table, tf.TensorShape(None)),
        )
        within = tf.range(tf.size(codes.flat_values, tf.int64), dtype=tf.int64)
        within -= tf.gather(starts, row_numbers(codes))
        order = tf.argsort(within, stable=True)
        return tf.scatter_nd(order[:, None], found.concat(), tf.shape(order))

    def _follow(self, pieces: Any, sizes: Any, codes: Any) -> Any:
        """The ids of the pieces on the best paths: ragged int32 (m, pieces).

        A path is followed from the end of its word, by twice as many pieces at
        each step, so that few steps suffice for any word.
        """
        count = tf.size(sizes)
        first, places = row_starts(codes), tf.range(count)
        outside = places - sizes
        starts = tf.cast(tf.gather(codes.row_splits, row_numbers(codes)), tf.int32)
        jumps = tf.where(outside < starts, count, outside)
        last = tf.concat([first, [True]], 0)[1:]

        def step(jumps: Any, on_path: Any) -> tuple[Any, Any]:
            reached = tf.math.unsorted_segment_max(on_path, jumps, count + 1)
            further = tf.gather(tf.concat([jumps, count[None]], 0), jumps)
            return further, tf.maximum(on_path, reached[:-1])

        _, on_path = tf.while_loop(
            lambda jumps, _: tf.reduce_any(jumps < count), step, (jumps, tf.cast(last, tf.int32))
        )
        ends = tf.where(on_path > 0)[:, 0]
        size = tf.gather(sizes, ends)
        begins = tf.cast(ends, tf.int32) - size + 1
        ids = tf.gather_nd(pieces, tf.stack([begins, size - 1], 1))
        unknown = tf.equal(ids, self._unknown)
        fused = unknown & before(unknown, False) & ~tf.gather(first, begins)
        ids, ends = ids[~fused], ends[~fused]
        shape = tf.cast(count[None] + 1, tf.int64)
        marks = tf.scatter_nd(ends[:, None] + 1, tf.ones_like(ends), shape)
        splits = tf.gather(tf.cumsum(marks), codes.row_splits)
        return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)


class _Trie(NamedTuple):
    """The pieces of a vocabulary by their beginnings.

    Attributes:
        edges: A node's number and a character, as one number, int64.
        nodes: The node that each edge leads to, int32; 0 is the root.
        ids: Of the piece that ends at each node, int32, or -1.
        longest: Characters of the longest piece.
    """

    edges: np.ndarray
    nodes: np.ndarray
    ids: np.ndarray
    longest: int


@lru_cache(maxsize=2)
def _make_trie(vocabulary: tuple[str, ...], unmatched: frozenset[str]) -> _Trie:
    edges: dict[int, int] = {}
    ids: dict[int, int] = {}
    longest = 1
    for token_id, token in enumerate(vocabulary):
        if not token or token in unmatched:
            continue
        node = 0
        for character in token:
            node = edges.setdefault(node * _CODES + ord(character), len(edges) + 1)
        ids[node] = token_id
        longest = max(longest, len(token))
    by_node = np.full(len(edges) + 1, -1, np.int32)
    by_node[list(ids)] = list(ids.values())
    keys = np.fromiter(edges, np.int64, len(edges))
    return _Trie(keys, np.fromiter(edges.values(), np.int32, len(edges)), by_node, longest)

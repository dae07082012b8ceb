"""From the probabilities of words' tags to the most probable tags that make sense together.

In IOB2 an `I-` goes on with an entity of its type, so not every sequence is
possible; the most probable of the possible ones is found by Viterbi 1967.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tltool.tasks.tags.schemes import prefix_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SMALLEST = 1e-30
_FORBIDDEN = -1e9


def transitions(labels: Sequence[str]) -> tuple[Array, Array]:
    """What a step from tag to tag costs, (tags, tags), and to begin with one, (tags,).

    0 where it is possible, else a large negative number.
    """
    import numpy as np

    pairs = [prefix_of(label) for label in labels]
    steps = np.zeros((len(labels), len(labels)), np.float32)
    begin = np.zeros(len(labels), np.float32)
    for to, (prefix, kind) in enumerate(pairs):
        if prefix == "I":
            begin[to] = _FORBIDDEN
            steps[[place for place, pair in enumerate(pairs) if pair[1] != kind], to] = _FORBIDDEN
    return steps, begin


def decode(probabilities: Array, steps: Array, begin: Array) -> Array:
    """The most probable possible tags of one row's words.

    Args:
        probabilities: (words, tags).
        steps, begin: As `transitions` gives them.

    Returns:
        Numbers of tags, int32 (words,).
    """
    import numpy as np

    count = len(probabilities)
    best = np.zeros(count, np.int32)
    if not count:
        return best
    scores = np.log(np.maximum(probabilities, SMALLEST))
    total = scores[0] + begin
    back = np.zeros(probabilities.shape, np.int32)
    for word in range(1, count):
        candidates = total[:, None] + steps
        back[word] = candidates.argmax(axis=0)
        total = candidates.max(axis=0) + scores[word]
    best[-1] = total.argmax()
    for word in range(count - 1, 0, -1):
        best[word - 1] = back[word, best[word]]
    return best


def decode_in_graph(probabilities: Any, counts: Any, steps: Array, begin: Array) -> Any:
    """The same of several rows, in TensorFlow.

    Args:
        probabilities: float32 (n, words, tags), padded.
        counts: Words of each row, (n,).
        steps, begin: As `transitions` gives them.

    Returns:
        int32 (n, words); 0 beyond a row's words.
    """
    import tensorflow as tf

    tags = probabilities.shape[-1]
    scores = tf.math.log(tf.maximum(probabilities, SMALLEST))
    width = tf.shape(scores)[1]
    keep = tf.range(tags)
    moves, first = tf.constant(steps), tf.constant(begin)

    def forward(state: Any, step: Any) -> Any:
        total, _ = state
        word, inside = step
        candidates = total[:, :, None] + moves
        new = tf.reduce_max(candidates, axis=1) + word
        back = tf.argmax(candidates, axis=1, output_type=tf.int32)
        # Beyond the end of a row its total stays, each tag coming from itself.
        return tf.where(inside[:, None], new, total), tf.where(inside[:, None], back, keep)

    # Two words that are always there: no graph can stack what a scan of no words gives.
    scores = tf.pad(scores, [[0, 0], [0, tf.maximum(0, 2 - width)], [0, 0]])
    inside = tf.sequence_mask(counts, tf.shape(scores)[1])
    start = scores[:, 0] + first
    places = tf.transpose(scores[:, 1:], [1, 0, 2]), tf.transpose(inside[:, 1:])
    back = tf.zeros_like(start, tf.int32)
    totals, backs = tf.scan(forward, places, (start, back))
    last = tf.concat([start[None], totals], 0)[-1]
    end = tf.argmax(last, axis=-1, output_type=tf.int32)

    def backward(tag: Any, back: Any) -> Any:
        return tf.gather(back, tag, axis=1, batch_dims=1)

    earlier = tf.scan(backward, backs, end, reverse=True)
    found = tf.transpose(tf.concat([earlier, end[None]], 0))
    return tf.where(inside, found, 0)[:, :width]

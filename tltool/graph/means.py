"""Raw outputs that mean the average of what several others mean, in the graph.

All takes operations that LiteRT has in 8 bits, on tensors of the models' own rank:
`ops.log_softmax` would have steps of 1/16 there, and others need newer runtimes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from keras import ops


def mean_of(raws: Sequence[Any]) -> Any:
    """The mean of tensors of one shape."""
    return reduce(ops.add, raws) * (1.0 / len(raws))


def mean_of_softmaxes(raws: Sequence[Any]) -> Any:
    """Logits whose softmax is the mean of those of several, computed without leaving logarithms.

    Args:
        raws: Logits of each model, (…, classes).

    Returns:
        log(sum(softmax(raw))) over the models, (…, classes).
    """
    return _log_of_sum([_log_softmax(raw) for raw in raws])


def mean_of_sigmoids(raws: Sequence[Any]) -> Any:
    """Logits whose sigmoid is the mean of those of several.

    Args:
        raws: Logits of each model, (…).

    Returns:
        log(p / (1 - p)) of the mean p of sigmoid(raw), (…).
    """
    yes = [_log_sigmoid(raw) for raw in raws]
    # sigmoid(-x) = sigmoid(x) / exp(x)
    no = [one - raw for one, raw in zip(yes, raws, strict=True)]
    return _log_of_sum(yes) - _log_of_sum(no)


def _log_softmax(raw: Any) -> Any:
    shifted = raw - ops.max(raw, axis=-1, keepdims=True)
    return shifted - ops.log(ops.sum(ops.exp(shifted), axis=-1, keepdims=True))


def _log_sigmoid(raw: Any) -> Any:
    # min(x, 0) - max(x, 0) is -|x|, whose exponential overflows for no x.
    low, high = ops.minimum(raw, 0.0), ops.maximum(raw, 0.0)
    return low - ops.log(ops.exp(low - high) + 1.0)


def _log_of_sum(logarithms: Sequence[Any]) -> Any:
    """The logarithm of the sum of what these are logarithms of."""
    highest = reduce(ops.maximum, logarithms)
    return highest + ops.log(reduce(ops.add, [ops.exp(one - highest) for one in logarithms]))

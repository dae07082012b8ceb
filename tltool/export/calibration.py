"""The rows by which the ranges of activations are measured for full 8-bit quantisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tltool.data.examples import Examples
from tltool.data.pipeline import model_inputs
from tltool.data.text import TextPreprocessor
from tltool.data.tokens import strings
from tltool.errors import ExportError
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing

_AT_ONCE = 32


def balanced_rows(examples: Examples, count: int) -> Examples:
    """At most `count` rows, as many of each class as there are, spread over each class's rows.

    Numbers (regression) are taken evenly over their sorted values, so that
    rare large ones are among them.
    """
    if all(isinstance(target, str) for target in examples.targets):
        return examples.take(_by_class(examples, count))
    order = sorted(range(len(examples)), key=lambda row: float(examples.targets[row] or 0.0))
    few = min(count, len(order))
    return examples.take([order[i * len(order) // few] for i in range(few)])


def _by_class(examples: Examples, count: int) -> list[int]:
    """Row numbers: one of each class in turn until there are enough."""
    rows: dict[Any, list[int]] = {}
    for row, target in enumerate(examples.targets):
        rows.setdefault(target, []).append(row)
    share = -(-count // len(rows)) if rows else 0
    chosen = [_spread(of_class, share) for _, of_class in sorted(rows.items())]
    turns = [of_class[i] for i in range(share) for of_class in chosen if i < len(of_class)]
    return turns[:count]


def _spread(rows: list[int], count: int) -> list[int]:
    few = min(count, len(rows))
    return [rows[i * len(rows) // few] for i in range(few)]


def calibration_inputs(
    examples: Examples,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    length: int | None,
) -> Callable[[], Iterator[list[Any]]]:
    """What the LiteRT converter calls for its representative data set.

    Args:
        examples: From `balanced_rows`.
        preprocessing: Of the model.
        length: Tokens that texts are padded or cut to.

    Returns:
        A function that gives the model's inputs, one row at a time, in the
        order of `tf.nest.flatten`.

    Raises:
        ExportError: There is no row.
    """
    if len(examples) == 0:
        raise ExportError(
            "Full 8-bit quantisation needs training rows to measure ranges on, and there are none.",
            hint="export dynamic_int8, which needs none, or give labelled data",
        )

    def inputs() -> Iterator[list[Any]]:
        for start in range(0, len(examples), _AT_ONCE):
            batch = examples.take(range(start, min(start + _AT_ONCE, len(examples))))
            tensors = tf.nest.flatten(_batch(batch, preprocessing, length))
            for row in range(len(batch)):
                yield [tensor[row : row + 1] for tensor in tensors]

    return inputs


def _batch(
    examples: Examples, preprocessing: ImagePreprocessing | TextPreprocessing, length: int | None
) -> Any:
    if isinstance(preprocessing, ImagePreprocessing):
        return model_inputs(examples.inputs, preprocessing)
    texts = strings(examples.inputs, examples.origins)
    return TextPreprocessor(preprocessing)(texts, length=length)

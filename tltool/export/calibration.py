"""The rows by which the ranges of activations are measured for full 8-bit quantisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tltool.data.examples import Examples
from tltool.errors import ExportError
from tltool.export.feeding import BATCH_SIZE, prepared_inputs
from tltool.export.gate.check import evenly_spaced
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing


def balanced_rows(examples: Examples, count: int) -> Examples:
    """At most `count` rows, as many of each class as there are, spread over each class's rows.

    Numbers (regression) are taken evenly over their sorted values, so that
    rare large ones are among them.
    """
    if all(isinstance(target, str) for target in examples.targets):
        return examples.take(_by_class(examples, count))
    order = sorted(range(len(examples)), key=lambda row: float(examples.targets[row] or 0.0))
    return examples.take(_spread(order, count))


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
    return [rows[i] for i in evenly_spaced(len(rows), count)]


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

    inputs_of = prepared_inputs(preprocessing, length)

    def inputs() -> Iterator[list[Any]]:
        for start in range(0, len(examples), BATCH_SIZE):
            batch = examples.inputs[start : start + BATCH_SIZE]
            tensors = tf.nest.flatten(inputs_of(batch))
            for row in range(len(batch)):
                yield [tensor[row : row + 1] for tensor in tensors]

    return inputs

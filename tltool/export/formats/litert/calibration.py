"""The rows by which the ranges of activations are measured for full 8-bit quantisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tltool.data.examples import Examples, evenly_spaced
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.feeding import BATCH_SIZE, single_inputs
from tltool.support.errors import ExportError


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


def without_probe(examples: Examples, most: int = 64) -> tuple[Examples, Examples]:
    """Rows to measure ranges on, and a quarter of the rows, `most` at most, to try the result on.

    Of fewer than four rows all are in both.

    Args:
        examples: From `balanced_rows`; both parts are as balanced.
        most: Rows in the second part.
    """
    count = min(len(examples) // 4, most)
    if count == 0:
        return examples, examples
    # Classes are in turn, so that the last rows are of all of them; numbers are sorted.
    labels = all(isinstance(target, str) for target in examples.targets)
    rows = list(range(len(examples)))
    probe = set(rows[-count:] if labels else _spread(rows, count))
    return examples.take([r for r in rows if r not in probe]), examples.take(sorted(probe))


def calibration_inputs(
    examples: Examples,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    length: int | None,
    *,
    takes: str = "normalized_image",
) -> Callable[[], Iterator[dict[str, Any]]]:
    """What the LiteRT converter calls for its representative data set.

    By name, since the converter puts the inputs of a model into an order of
    its own, and would measure the mask on token ids without a word.

    Args:
        examples: From `balanced_rows`.
        preprocessing: Of the model.
        length: Tokens that texts are padded or cut to.
        takes: What an image means, a key of `tltool.export.contract.CONTENTS`;
            levels 0..255 are given as float32.

    Returns:
        A function that gives the model's inputs by name, one row at a time.

    Raises:
        ExportError: There is no row.
    """
    if len(examples) == 0:
        raise ExportError(
            "Full 8-bit quantisation needs training rows to measure ranges on, and there are none.",
            hint="export dynamic_int8, which needs none, or give labelled data",
        )

    inputs_of = single_inputs(preprocessing, length, takes)

    def inputs() -> Iterator[dict[str, Any]]:
        for start in range(0, len(examples), BATCH_SIZE):
            batch = examples.inputs[start : start + BATCH_SIZE]
            for row, one in enumerate(inputs_of(batch)):
                if takes == "resized_image":
                    yield {n: _levels(t, whole_range=start + row == 0) for n, t in one.items()}
                else:
                    yield one

    return inputs


def _levels(image: Any, *, whole_range: bool) -> Any:
    """An image as numbers; with the ends of the range in a corner, so that a level is a step."""
    levels = image.astype(np.float32)
    if whole_range:
        levels[0, 0, 0], levels[0, 0, 1] = 0.0, 255.0
    return levels

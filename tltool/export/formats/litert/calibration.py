"""The rows by which the ranges of activations are measured for full 8-bit quantisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.feeding import BATCH_SIZE, single_inputs
from tltool.support.errors import ExportError


def balanced_rows(examples: Examples, count: int) -> Examples:
    """At most `count` rows that stand for all, as their kind of target chooses them."""
    return examples.take(examples.kind.spread(examples.targets, count))


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
    rows = list(range(len(examples)))
    return examples.take(rows[:-count]), examples.take(rows[-count:])


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

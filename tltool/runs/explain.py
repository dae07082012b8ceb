"""What in inputs a run's answers rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing
from tltool.evaluation.explaining import curves, words
from tltool.evaluation.explaining.explanation import Explanation
from tltool.runs.run import Run
from tltool.support.errors import RunError

Array = np.ndarray[Any, Any]


MOST_ROWS = 12
MOST_PASSES = 400
"""Forward passes of the network that `explain_rows` takes, about."""
_PARTS = 32
_BATCH = 4


def explain(
    run: Run, inputs: Sequence[Any], origins: Sequence[str], label: str | None = None
) -> list[Explanation]:
    """Explains what a run says of inputs, and checks each explanation.

    Args:
        run: Of a task whose answer is one output: classes, several labels or numbers.
        inputs: As `Examples.inputs`.
        origins: Of each.
        label: The output to explain; None takes what was answered.

    Raises:
        RunError: The task is another one.
        DataError: There is no such label, or an input cannot be read.
    """
    _chosen(run, run.task.target.blank, label)
    if isinstance(run.preprocessing, ImagePreprocessing):
        return _pictures(run, inputs, origins, label, check=True)
    return _texts(run, inputs, origins, label, check=True)


def explain_rows(run: Run, examples: Examples, rows: Sequence[int]) -> dict[int, Explanation]:
    """Explains what a run says of rows, with little work and without a check.

    The first `MOST_ROWS` of them, or so many as `MOST_PASSES` are enough for; of texts with more
    than 32 words several stand together.

    Args:
        run: Of any task.
        examples: The rows.
        rows: Numbers of some.

    Returns:
        By row; empty where the task has no single output to explain.

    Raises:
        DataError: An input cannot be read.
    """
    if run.task.target.explained(run.task.target.blank) is None:
        return {}
    some = list(rows[: min(MOST_ROWS, MOST_PASSES // _passes(run))])
    inputs, origins = ([column[row] for row in some]
                       for column in (examples.inputs, examples.origins))  # fmt: skip
    if isinstance(run.preprocessing, ImagePreprocessing):
        found = _pictures(run, inputs, origins, None, check=False)
    else:
        found = _texts(run, inputs, origins, None, check=False, most=_PARTS)
    return dict(zip(some, found, strict=True))


def _passes(run: Run) -> int:
    """That an explanation takes, without a check."""
    if not isinstance(run.preprocessing, ImagePreprocessing):
        return _PARTS + 1
    from tltool.evaluation.explaining.pictures import passes

    return passes(run.model)


def _chosen(run: Run, output: Any, label: str | None) -> tuple[str, int]:
    """The output to explain: its name and number."""
    chosen = run.task.target.explained(output, label)
    if chosen is None:
        raise RunError(
            f"An answer of the task {run.task.spec.name} is no single output to explain.",
            hint="explained are answers that are a class, one of several labels, or a number",
        )
    return chosen


def _said(run: Run, raw: Array, number: int) -> Array:
    """One output as a user reads it, float64 (n,), of raw ones."""
    outputs = np.asarray(run.task.outputs(raw), np.float64).reshape(len(raw), -1)
    return outputs[:, number]


def _pictures(
    run: Run, values: Sequence[Any], origins: Sequence[str], label: str | None, *, check: bool
) -> list[Explanation]:
    found: list[Explanation] = []
    for start in range(0, len(values), _BATCH):
        part = slice(start, start + _BATCH)
        found += _some_pictures(run, values[part], origins[part], label, check=check)
    return found


def _some_pictures(
    run: Run, values: Sequence[Any], origins: Sequence[str], label: str | None, *, check: bool
) -> list[Explanation]:
    from tltool.data.images.preprocessor import normalize
    from tltool.data.images.store import ImageStore
    from tltool.evaluation.explaining.pictures import picture_maps, resized

    contract = cast("ImagePreprocessing", run.preprocessing)
    pictures = ImageStore(values, origins, contract).load_all()
    inputs = np.asarray(normalize(pictures, contract))
    raw = np.asarray(run.model(inputs, training=False))
    outputs = np.asarray(run.task.outputs(raw))
    chosen = [_chosen(run, output, label) for output in outputs]
    maps, method = picture_maps(run.model, inputs, np.array([number for _, number in chosen]))
    whole = resized(maps, inputs.shape[1:3])

    def checked(row: int, number: int) -> curves.Faithfulness:
        def said(some: Array) -> Array:
            return _said(run, np.asarray(run.model(some, training=False)), number)

        return curves.of_picture(said, inputs[row], maps[row])

    return [
        Explanation(
            origins[row],
            run.task.target.prediction(outputs[row]).value,
            name,
            float(_said(run, raw, number)[row]),
            method,
            checked(row, number) if check else None,
            picture=pictures[row],
            map=whole[row],
        )
        for row, (name, number) in enumerate(chosen)
    ]


def _texts(
    run: Run,
    values: Sequence[words.Value],
    origins: Sequence[str],
    label: str | None,
    *,
    check: bool,
    most: int = words.MOST_PARTS,
) -> list[Explanation]:
    def raw_of(some: Sequence[words.Value]) -> Array:
        unknown, told = [None] * len(some), [f"text {i}" for i in range(len(some))]
        modality = run.task.spec.modality
        return np.asarray(run.raw_outputs(Examples(modality, some, unknown, unknown, told)))

    if not values:
        return []
    found = []
    parts = [tuple(words.parts_of(value, most)) for value in values]
    variants = [words.variants_of(*pair) for pair in zip(values, parts, strict=True)]
    # All together, since the model then sees few shapes.
    raw = raw_of([text for some in variants for text in some])
    for row, value in enumerate(values):
        own, raw = raw[: len(variants[row])], raw[len(variants[row]) :]
        output = np.asarray(run.task.outputs(own[:1]))[0]
        name, number = _chosen(run, output, label)
        weights = words.word_weights(own, number)

        def said(texts: Sequence[words.Value], number: int = number) -> Array:
            return _said(run, raw_of(texts), number)

        found.append(
            Explanation(
                origins[row],
                run.task.target.prediction(output).value,
                name,
                float(_said(run, own[:1], number)[0]),
                "leaving out each word",
                curves.of_text(said, value, parts[row], weights) if check else None,
                text=value,
                parts=parts[row],
                weights=weights,
            )
        )
    return found

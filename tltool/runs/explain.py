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


def explain(
    run: Run, inputs: Sequence[Any], origins: Sequence[str], label: str | None = None
) -> list[Explanation]:
    """Explains what a run says of inputs.

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
    explained = _picture if isinstance(run.preprocessing, ImagePreprocessing) else _text
    pairs = zip(inputs, origins, strict=True)
    return [explained(run, value, origin, label) for value, origin in pairs]


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


def _picture(run: Run, value: Any, origin: str, label: str | None) -> Explanation:
    from tltool.data.images.preprocessor import normalize
    from tltool.data.images.store import ImageStore
    from tltool.evaluation.explaining.pictures import picture_maps, resized

    contract = cast("ImagePreprocessing", run.preprocessing)
    picture = ImageStore([value], [origin], contract).load_all()
    inputs = np.asarray(normalize(picture, contract))
    raw = np.asarray(run.model(inputs, training=False))
    output = np.asarray(run.task.outputs(raw))[0]
    name, number = _chosen(run, output, label)
    maps, method = picture_maps(run.model, inputs, np.array([number]))
    whole = resized(maps, inputs.shape[1:3])[0]

    def said(pictures: Array) -> Array:
        return _said(run, np.asarray(run.model(pictures, training=False)), number)

    return Explanation(
        origin,
        run.task.target.prediction(output).value,
        name,
        float(_said(run, raw, number)[0]),
        method,
        curves.of_picture(said, inputs[0], maps[0]),
        picture=picture[0],
        map=whole,
    )


def _text(run: Run, value: words.Value, origin: str, label: str | None) -> Explanation:
    def raw_of(values: Sequence[words.Value]) -> Array:
        count = len(values)
        unknown = [None] * count
        return run.raw_outputs(
            Examples(run.task.spec.modality, values, unknown, unknown, [origin] * count)
        )

    raw = raw_of([value])
    output = np.asarray(run.task.outputs(raw))[0]
    name, number = _chosen(run, output, label)
    parts, weights = words.word_weights(raw_of, value, number)
    return Explanation(
        origin,
        run.task.target.prediction(output).value,
        name,
        float(_said(run, raw, number)[0]),
        "leaving out each word",
        curves.of_text(lambda texts: _said(run, raw_of(texts), number), value, parts, weights),
        text=value,
        parts=tuple(parts),
        weights=weights,
    )

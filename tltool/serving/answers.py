"""Predict answers: from arrays to JSON, as TensorFlow Serving writes them.

Numbers are written as `tensorflow_serving/util/json_tensor.cc` does: with the
fewest digits of 6 and 9 that give the same float32 again, with a decimal point
or an exponent, and NaN, Infinity and -Infinity where they are not finite.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tltool.serving.limits import RefusedError
from tltool.serving.tensors import Array, Form

# Names of tensors that hold bytes, not text, end so.
_BYTES_SUFFIX = "_bytes"
_FULL_DIGITS = {"float16": 5, "float32": 9, "float64": 17}


def write_answer(outputs: Mapping[str, Array], form: Form) -> bytes:
    """The body of an answer.

    Args:
        outputs: By name, at least one; strings are arrays of bytes objects.
        form: "row": `predictions`, one value or one object a row; "column":
            `outputs`, one tensor or an object of tensors. A single output is
            not named.

    Raises:
        RefusedError: 400 where rows are asked for and the outputs differ in their number.
    """
    if form == "column":
        tensors = {name: _tensor(name, outputs[name]) for name in sorted(outputs)}
        value = _object(tensors) if len(tensors) > 1 else next(iter(tensors.values()))
        return f'{{"outputs": {value}}}'.encode()
    sizes = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(sizes) > 1 or None in sizes:
        raise RefusedError(400, "the outputs have no common number of rows; ask with 'inputs'")
    (rows,) = sizes
    columns = {name: _rows(name, outputs[name]) for name in sorted(outputs)}
    if len(columns) == 1:
        predictions = next(iter(columns.values()))
    else:
        predictions = [
            _object({name: column[row] for name, column in columns.items()})
            for row in range(rows or 0)
        ]
    return f'{{"predictions": [{", ".join(predictions)}]}}'.encode()


def _object(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in members.items()) + "}"


def _tensor(name: str, array: Array) -> str:
    return _nested(_leaves(name, array), array.shape)[0]


def _rows(name: str, array: Array) -> list[str]:
    return _nested(_leaves(name, array), array.shape[1:])


def _nested(texts: list[str], shape: tuple[int, ...]) -> list[str]:
    """Groups values into lists, the innermost axis first."""
    for axis in range(len(shape) - 1, -1, -1):
        size = shape[axis]
        count = len(texts) // size if size else math.prod(shape[:axis])
        texts = [f"[{', '.join(texts[i * size : (i + 1) * size])}]" for i in range(count)]
    return texts


def _leaves(name: str, array: Array) -> list[str]:
    flat = array.reshape(-1)
    if flat.dtype.kind == "f":
        return _decimals(flat)
    if flat.dtype.kind == "O":
        write = _base64 if name.endswith(_BYTES_SUFFIX) else _text
        return [write(value) for value in flat]
    return [json.dumps(value) for value in flat.tolist()]


def _text(value: bytes) -> str:
    return json.dumps(value.decode("utf-8", "replace"))


def _base64(value: bytes) -> str:
    return json.dumps({"b64": base64.b64encode(value).decode("ascii")})


def _decimals(values: Array) -> list[str]:
    digits = _FULL_DIGITS[values.dtype.name]
    short = [f"{value:.6g}" for value in values.tolist()]
    same = np.array(short, np.float64).astype(values.dtype) == values
    return [
        _decimal(text if equal else f"{value:.{digits}g}", value)
        for text, equal, value in zip(short, same.tolist(), values.tolist(), strict=True)
    ]


def _decimal(text: str, value: Any) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return text if "." in text or "e" in text else f"{text}.0"

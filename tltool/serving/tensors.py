"""Predict requests: from JSON to arrays, as TensorFlow Serving reads them.

The rules are those of https://www.tensorflow.org/tfx/serving/api_rest, and of
`tensorflow_serving/util/json_tensor.cc` where the page is silent.
"""

from __future__ import annotations

import base64
import binascii
import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np

from tltool.data.images.signatures import image_format
from tltool.export.contract import MAIN_SIGNATURE
from tltool.serving.limits import RefusedError
from tltool.support.files import distinct

Array = np.ndarray[Any, Any]
Form = Literal["row", "column"]
_SHOWN = 80
# The largest whole number up to which a float32 holds every one.
_LARGEST_WHOLE = 2**24 - 1


@dataclass(frozen=True)
class Spec:
    """One input or output of a signature.

    Attributes:
        dtype: Such as "float32"; "string" for texts and bytes.
        shape: None in place of a length where any will do.
    """

    dtype: str
    shape: tuple[int | None, ...]


Signatures = Mapping[str, Mapping[str, Spec]]
"""The inputs of each signature, by name."""


@dataclass(frozen=True)
class PredictRequest:
    """A request that was understood.

    Attributes:
        signature: Its name.
        form: The answer has the same.
        inputs: Arrays by input name; strings are arrays of bytes objects.
        rows: Length of their first axis.
    """

    signature: str
    form: Form
    inputs: dict[str, Array]
    rows: int


def read_request(body: bytes, signatures: Signatures, *, max_rows: int) -> PredictRequest:
    """Understands the body of a predict request.

    Args:
        body: JSON, with `instances` or `inputs`.
        signatures: Of the model.
        max_rows: More are refused.

    Raises:
        RefusedError: 400 where it does not fit the model, 413 for too many rows.
    """
    values = _parsed(body)
    signature = _signature_of(values, signatures)
    specs = signatures[signature]
    if "instances" in values and "inputs" in values:
        raise _wrong("expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in values:
        form: Form = "row"
        instances = values["instances"]
        if not isinstance(instances, list):
            raise _wrong("expecting 'instances' to be a list")
        if not instances:
            raise _wrong("no values in 'instances'")
        _check_rows(len(instances), max_rows)
        columns = _columns_of_rows(instances, specs)
    elif "inputs" in values:
        form = "column"
        columns = _columns(values["inputs"], specs)
    else:
        raise _wrong("Missing 'inputs' or 'instances' key")
    inputs = {name: _array(name, columns[name], spec) for name, spec in specs.items()}
    rows = {name: len(array) for name, array in inputs.items()}
    if len(set(rows.values())) != 1:
        sizes = ", ".join(f"{name}: {count}" for name, count in rows.items())
        raise _wrong(f"inputs have different numbers of rows: {sizes}")
    (count,) = set(rows.values())
    if not count:
        raise _wrong("no values in 'inputs'")
    _check_rows(count, max_rows)
    return PredictRequest(signature, form, inputs, count)


def _parsed(body: bytes) -> dict[str, Any]:
    if not body:
        raise _no_json("The document is empty")
    try:
        values = json.loads(body.decode("utf-8"), object_pairs_hook=distinct)
    except RecursionError as error:
        raise _no_json("nested too deeply") from error
    except ValueError as error:  # also of text that is not UTF-8, and of numbers of many digits
        found = next((name for sign, name in _NO_JSON.items() if body.startswith(sign)), None)
        found = found or image_format(body)
        what = f" (it looks like {found})" if found else ""
        raise _no_json(_cut(str(error)) + what) from error
    if not isinstance(values, dict):
        raise _wrong(f"JSON Value: {_shown(values)} Is not object; {_SEND}")
    return values


_SEND = 'send {"instances": [...]} as JSON, files in it as {"b64": "their content in base64"}'
_NO_JSON = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a ZIP file",
    b"--": "multipart form data",
    b"instances=": "form data",
    b"inputs=": "form data",
}
"""First bytes of what is sent in place of JSON."""


def _no_json(reason: str) -> RefusedError:
    return _wrong(f"JSON Parse error: {reason}; {_SEND}")


def _signature_of(values: Mapping[str, Any], signatures: Signatures) -> str:
    signature = values.get("signature_name", MAIN_SIGNATURE)
    if not isinstance(signature, str):
        raise _wrong("'signature_name' key must be a string value")
    signature = signature or MAIN_SIGNATURE
    if signature not in signatures:
        known = ", ".join(sorted(signatures))
        raise _wrong(
            f'Serving signature name: "{_cut(signature)}" not found in signature def; '
            f"there are: {known}"
        )
    return signature


def _columns_of_rows(instances: list[Any], specs: Mapping[str, Spec]) -> dict[str, Any]:
    """The list of each input's values, from one value or one object a row."""
    named = _is_named(instances[0])
    if not named and len(specs) > 1:
        raise _wrong(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            f"are required: {', '.join(specs)}"
        )
    if not named:
        for number, value in enumerate(instances):
            if _is_named(value):
                raise _wrong(f"Expecting value/list but got object at item {number} of input list")
        return {next(iter(specs)): instances}
    for number, row in enumerate(instances):
        if not _is_named(row):
            raise _wrong(f"Expecting object but got list at item {number} of input list")
        if row.keys() != specs.keys():
            raise _wrong(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{_shown(row)} keys must be equal to: {','.join(specs)}"
            )
    return {name: [row[name] for row in instances] for name in specs}


def _columns(inputs: Any, specs: Mapping[str, Spec]) -> dict[str, Any]:
    """The tensors of a column request, which may name them or, where there is one, not."""
    if _is_named(inputs):
        if missing := [name for name in specs if name not in inputs]:
            raise _wrong(f"Missing named input: {missing[0]} in 'inputs' object.")
        return dict(inputs)
    if len(specs) > 1:
        raise _wrong(
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            f"are required: {', '.join(specs)}"
        )
    return {next(iter(specs)): inputs}


def _is_named(value: Any) -> bool:
    """Whether a value is an object with inputs by name, not one that holds base64."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _array(name: str, value: Any, spec: Spec) -> Array:
    shape, leaves = _flattened(name, value)
    if len(shape) != len(spec.shape) or any(
        wanted is not None and size != wanted
        for size, wanted in zip(shape, spec.shape, strict=False)
    ):
        found = _cut(",".join(map(str, shape)))
        wanted = ",".join("?" if size is None else str(size) for size in spec.shape)
        raise _wrong(f"input {name} has shape [{found}], the model takes [{wanted}]")
    return _LEAVES[spec.dtype](name, leaves, spec.dtype).reshape(shape)


def _flattened(name: str, value: Any) -> tuple[list[int], list[Any]]:
    """Shape and leaves of nested lists, which must be as long as their neighbours."""
    shape: list[int] = []
    level = [value]
    while level and any(isinstance(item, list) for item in level):
        if not all(isinstance(item, list) for item in level):
            raise _wrong(f"input {name} mixes lists and values in one list")
        sizes = set(map(len, level))
        if len(sizes) > 1:
            raise _wrong(f"Encountered list at unexpected size in input {name}: {sorted(sizes)}")
        shape += sizes
        level = list(chain.from_iterable(level))
    return shape, level


def _floats(name: str, leaves: list[Any], dtype: str) -> Array:
    _check_types(name, leaves, {int, float}, dtype)
    for number in leaves:
        if type(number) is int and abs(number) > _LARGEST_WHOLE:
            raise _lossy(number, dtype)
    exact = np.array(leaves, np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(dtype)
    if (lost := np.isfinite(exact) & ~np.isfinite(rounded)).any():
        raise _lossy(exact[lost][0].item(), dtype)
    return rounded


def _wholes(name: str, leaves: list[Any], dtype: str) -> Array:
    _check_types(name, leaves, {int}, dtype)
    limits = np.iinfo(dtype)
    for number in leaves:
        if not limits.min <= number <= limits.max:
            raise _type_error(name, number, dtype)
    return np.array(leaves, dtype)


def _truths(name: str, leaves: list[Any], dtype: str) -> Array:
    _check_types(name, leaves, {bool}, dtype)
    return np.array(leaves, dtype)


def _strings(name: str, leaves: list[Any], dtype: str) -> Array:
    found = np.empty(len(leaves), object)
    for position, leaf in enumerate(leaves):
        if isinstance(leaf, str):
            found[position] = _utf8(leaf)
        elif isinstance(leaf, dict):
            found[position] = _bytes(leaf)
        else:
            raise _type_error(name, leaf, dtype)
    return found


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _wrong("JSON Parse error: The surrogate pair in string is invalid") from error


def _bytes(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise _wrong(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(f"Unable to base64 decode: {error}") from error


_LEAVES = {
    "string": _strings,
    "bool": _truths,
    **dict.fromkeys(("float32", "float64"), _floats),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"), _wholes),
}
DTYPES = frozenset(_LEAVES)
"""Types of inputs that JSON can give."""


def _check_types(name: str, leaves: list[Any], allowed: set[type], dtype: str) -> None:
    if set(map(type, leaves)) <= allowed:
        return
    raise _type_error(name, next(leaf for leaf in leaves if type(leaf) not in allowed), dtype)


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise RefusedError(413, f"the request has {rows} rows; at most {most} are allowed")


def _type_error(name: str, value: Any, dtype: str) -> RefusedError:
    return _wrong(f"JSON Value: {_shown(value)} of input {name} is not of expected type: {dtype}")


def _lossy(value: Any, dtype: str) -> RefusedError:
    return _wrong(
        f"Cannot convert JSON value: {_shown(value)} to {dtype} without loss of precision."
    )


def _shown(value: Any) -> str:
    """A value in an error message, cut short, however deep it is."""
    return reprlib.repr(value)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _wrong(message: str) -> RefusedError:
    return RefusedError(400, message)

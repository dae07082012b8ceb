"""What is in a `.keras` file, read without building the model or importing its layers.

The file is a zip archive: `config.json`, `metadata.json` and `model.weights.h5`.
Source: https://keras.io/guides/serialization_and_saving/
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from tltool.export.formats.inspection import Inspection
from tltool.export.signatures import Signature, TensorInfo
from tltool.support.errors import DamagedError, first_line
from tltool.support.files import parse_json, read_packed, size_of
from tltool.support.machine import known_error

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"


def read_keras(path: Path) -> Inspection:
    """Reads a file that `model.save` wrote; its operators are classes of layers, nested ones too.

    Of outputs the file has the names alone.

    Raises:
        DamagedError: It is none, or is cut off or overwritten.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = parse_json(read_packed(archive, _CONFIG))
            weights = read_packed(archive, _WEIGHTS)
        with h5py.File(io.BytesIO(weights)) as file:
            sizes = _weights(file)
        signature, layers = (
            _signature(config),
            [part for part in _objects(config) if "build_config" in part or "name" in part],
        )
    except Exception as error:  # what a damaged file makes its readers raise is not told anywhere
        if known_error(error) is not None:
            raise
        reason = first_line(error)
        raise DamagedError(f"it cannot be read as a Keras model: {reason}") from error
    return Inspection(
        path=path,
        form="Keras",
        size_bytes=size_of(path),
        signatures=(signature,),
        operators=dict(Counter(part["class_name"] for part in layers).most_common()),
        not_built_in=tuple(
            sorted({part["class_name"] for part in layers if not _is_keras(part.get("module"))})
        ),
        weights=sizes,
    )


def modules_in(path: Path) -> dict[str, str]:
    """Names of everything in a `.keras` file that Keras looks up, and the modules they name."""
    with zipfile.ZipFile(path) as archive:
        config = parse_json(read_packed(archive, _CONFIG))
    return {
        str(part.get("registered_name") or part["class_name"]): str(part.get("module") or "")
        for part in _objects(config)
    }


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialized object in a config, nested ones too."""
    left = [config]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if isinstance(part.get("class_name"), str):
                yield part
            part = list(part.values())
        if isinstance(part, list):
            left += reversed(part)


def _is_keras(module: Any) -> bool:
    return str(module or "").partition(".")[0] in {"keras", "builtins"}


def _signature(config: dict[str, Any]) -> Signature:
    inner = config.get("config") or {}
    layers = {layer.get("name"): layer for layer in inner.get("layers") or []}

    def input_of(name: str) -> TensorInfo:
        held = (layers.get(name) or {}).get("config") or {}
        shape = held.get("batch_shape")
        dtype = held.get("dtype")
        return TensorInfo(name, str(dtype), None if shape is None else tuple(shape))

    inputs = tuple(input_of(name) for name in _names(inner.get("input_layers")))
    outputs = tuple(
        TensorInfo(name, "float32", None) for name in _names(inner.get("output_layers"))
    )
    return Signature("", inputs, outputs)


def _names(ends: Any) -> list[str]:
    """Layer names in a functional model's list, tree or single entry of `[name, node, tensor]`."""
    if isinstance(ends, dict):
        return [name for value in ends.values() for name in _names(value)]
    if not isinstance(ends, list) or not ends:
        return []
    if isinstance(ends[0], str):
        return [ends[0]]
    return [name for value in ends for name in _names(value)]


def _weights(file: h5py.File) -> dict[str, int]:
    totals: Counter[str] = Counter()

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "vars/" in f"{name}/":
            totals[item.dtype.name] += item.nbytes

    file.visititems(add)
    return dict(totals.most_common())

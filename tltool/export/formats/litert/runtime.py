"""The oldest TensorFlow Lite that runs a .tflite file.

LiteRT counts anew: ai-edge-litert 1.0 is TensorFlow Lite 2.18, 1.4 is 2.20.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tltool.export.formats.litert.file import (
    dtype_of,
    metadata_buffers,
    model_table,
    operator_kinds,
)
from tltool.export.formats.litert.flatbuffer import Table
from tltool.export.formats.runtime import Runtime, version_key
from tltool.support.errors import DamagedError

NAME = "TensorFlow Lite"
# The converter writes what `FindMinimumRuntimeVersionForOp` says of each operator's version:
# tensorflow/lite/tools/versioning/runtime_version.cc. `make test-runtimes` found it to be right
# but for DIV, whose kernel came to 8 bits later and under the same version.
_LATER_IN_8_BITS = {"DIV": "2.20", "LOG": "2.15"}
NEWER_HINT = "set export.litert_runtime to that version, or write the layers otherwise"
_WRITTEN = "min_runtime_version"


def oldest_runtime(content: bytes) -> Runtime | None:
    """The oldest runtime that has every operator of a file; None where the converter said nothing.

    Raises:
        DamagedError: It is no .tflite file, or is damaged.
    """
    model = model_table(content)
    written = bytes(metadata_buffers(content, model).get(_WRITTEN, b"")).rstrip(b"\0")
    if not written:
        return None
    try:
        numbers = version_key(written.decode("ascii"))
    except ValueError as error:
        raise DamagedError(f"its {_WRITTEN} is {written!r}") from error
    oldest = max([numbers[:2], *map(version_key, _later(model))])
    return Runtime(NAME, ".".join(map(str, oldest)))


def newer_needed(content: bytes, runtime: str) -> str | None:
    """What a file needs that a runtime has not, in words; None where it runs there."""
    oldest = oldest_runtime(content)
    if oldest is None or version_key(oldest.oldest) <= version_key(runtime):
        return None
    return f"it needs {oldest}, and export.litert_runtime is {runtime}"


def without_8_bits(runtime: str) -> frozenset[str]:
    """The kinds of operators that a converter gives 8-bit numbers and this runtime cannot take."""
    wanted = version_key(runtime)
    return frozenset(
        kind for kind, since in _LATER_IN_8_BITS.items() if wanted < version_key(since)
    )


def _later(model: Table) -> Iterator[str]:
    kinds, _ = operator_kinds(model)
    for graph in model["subgraphs"] or []:
        tensors: list[Any] = graph["tensors"] or []
        for operator in graph["operators"] or []:
            since = _LATER_IN_8_BITS.get(kinds[operator["opcode_index"]])
            if since and dtype_of(tensors[operator["outputs"][0]]) == "int8":
                yield since

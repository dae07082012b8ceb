"""What is in an ONNX file, read without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from tltool.export.formats.inspection import Inspection
from tltool.export.formats.onnx.extras import import_onnx
from tltool.export.formats.runtime import Runtime
from tltool.export.signatures import Signature, TensorInfo
from tltool.support.errors import DamagedError
from tltool.support.files import size_of

OPSET = 17
"""Of the exports: the newest that every onnxruntime of the last years runs."""
# `make test-runtimes` runs exports in it; its own table says as much of this opset and this version
# of the format: https://onnxruntime.ai/docs/reference/compatibility.html
_OLDEST, _IR_VERSION = "1.15", 8


def read_onnx(path: Path) -> Inspection:
    """Reads a file's graph, subgraphs too; weights in files of their own are not looked for.

    Raises:
        DamagedError: It is no ONNX file, or is cut off.
        ExportError: The package onnx is not installed.
    """
    onnx = import_onnx("onnx")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise DamagedError("it cannot be decoded as an ONNX model") from error
    graph = model.graph
    if not graph.node or not graph.output:
        raise DamagedError("it has no graph")
    constants = {tensor.name for tensor in graph.initializer}
    nodes = list(_nodes(graph))
    unknown = {node.op_type for node in nodes if not onnx.defs.has(node.op_type, node.domain)}
    signature = Signature(
        "",
        tuple(_tensor(onnx, t) for t in graph.input if t.name not in constants),
        tuple(_tensor(onnx, t) for t in graph.output),
    )
    return Inspection(
        path=path,
        form="ONNX",
        size_bytes=size_of(path),
        signatures=(signature,),
        operators=dict(Counter(node.op_type for node in nodes).most_common()),
        not_built_in=tuple(sorted(unknown)),
        weights=_weights(onnx, graph),
        runtime=_runtime(model),
    )


def _runtime(model: Any) -> Runtime | None:
    """The oldest onnxruntime that exports are tried in, where a file asks for no newer one."""
    opsets = [opset.version for opset in model.opset_import if opset.domain in {"", "ai.onnx"}]
    known = model.ir_version <= _IR_VERSION and max(opsets, default=0) <= OPSET
    return Runtime("onnxruntime", _OLDEST) if known else None


def _nodes(graph: Any) -> Iterator[Any]:
    """The operators of a graph and of those inside it, such as the branches of an If."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensor(onnx: Any, value: Any) -> TensorInfo:
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim
        )
    return TensorInfo(value.name, _dtype(onnx, kind.elem_type), shape)


def _dtype(onnx: Any, number: int) -> str:
    name: str = onnx.TensorProto.DataType.Name(number)
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())


def _weights(onnx: Any, graph: Any) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for tensor in graph.initializer:
        totals[_dtype(onnx, tensor.data_type)] += tensor.ByteSize()
    return dict(totals.most_common())

"""What is in a .tflite file, read with every offset checked and without an interpreter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tltool.export.formats.litert.flatbuffer import Schema, Table, read_root
from tltool.export.signatures import Quantisation, Signature, TensorInfo
from tltool.support.errors import DamagedError

IDENTIFIER = b"TFL3"
# Of schema.fbs in https://github.com/google-ai-edge/LiteRT (schema version 3): every field of
# Model, of the other tables as far as they are read here.
SCHEMA = Schema(
    tables={
        "Model": {
            "version": "uint",
            "operator_codes": "[OperatorCode]",
            "subgraphs": "[SubGraph]",
            "description": "string",
            "buffers": "[Buffer]",
            "metadata_buffer": "[int]",
            "metadata": "[Metadata]",
            "signature_defs": "[SignatureDef]",
            "external_buffer_groups": "[ExternalBufferGroup]",
            "external_buffers": "[ExternalBuffer]",
        },
        "OperatorCode": {
            "deprecated_builtin_code": "byte",
            "custom_code": "string",
            "version": "int",
            "builtin_code": "int",
        },
        "SubGraph": {
            "tensors": "[Tensor]",
            "inputs": "[int]",
            "outputs": "[int]",
            "operators": "[Operator]",
        },
        "Tensor": {
            "shape": "[int]",
            "type": "byte",
            "buffer": "uint",
            "name": "string",
            "quantization": "QuantizationParameters",
            "is_variable": "bool",
            "sparsity": "SparsityParameters",
            "shape_signature": "[int]",
        },
        "QuantizationParameters": {
            "min": "[float]",
            "max": "[float]",
            "scale": "[float]",
            "zero_point": "[long]",
        },
        "Operator": {"opcode_index": "uint", "inputs": "[int]", "outputs": "[int]"},
        "Buffer": {"data": "[ubyte]", "offset": "ulong", "size": "ulong"},
        "Metadata": {"name": "string", "buffer": "uint"},
        "SignatureDef": {
            "inputs": "[TensorMap]",
            "outputs": "[TensorMap]",
            "signature_key": "string",
            "deprecated_tag": "string",
            "subgraph_index": "uint",
        },
        "TensorMap": {"name": "string", "tensor_index": "uint"},
    },
    unions={},
)
_CUSTOM = 32  # BuiltinOperator.CUSTOM


@dataclass(frozen=True)
class TfliteFile:
    """What is in a .tflite file.

    Attributes:
        signatures: Ways to call it by name; where the file has none, one with
            an empty name and the tensors' own.
        operators: Name to how often it occurs, in all subgraphs, most often first.
        not_built_in: The operators that the LiteRT runtime lacks: `Flex…` of
            TensorFlow, and custom ones.
        weights: Bytes of the constant tensors by dtype, largest first.
        subgraphs: How many there are.
    """

    signatures: tuple[Signature, ...]
    operators: dict[str, int]
    not_built_in: tuple[str, ...]
    weights: dict[str, int]
    subgraphs: int

    @property
    def main(self) -> Signature:
        """The first signature."""
        return self.signatures[0]


def model_table(content: bytes) -> Table:
    """The outermost table of a .tflite file.

    Raises:
        DamagedError: It is none, or the beginning is damaged.
    """
    return read_root(content, SCHEMA, "Model", IDENTIFIER)


def metadata_buffers(content: bytes, model: Table) -> dict[str, bytes]:
    """The named pieces of metadata in a model, undecoded."""
    buffers = model["buffers"] or []
    return {
        entry["name"] or "": _content_of(content, _at(buffers, entry["buffer"]))
        for entry in model["metadata"] or []
    }


def read_tflite(content: bytes) -> TfliteFile:
    """Reads what a file says of its model; every weight is seen to be there.

    Raises:
        DamagedError: It is no .tflite file, or is cut off or overwritten.
    """
    model = model_table(content)
    subgraphs = model["subgraphs"] or []
    if not subgraphs:
        raise DamagedError("it has no graph")
    operators, custom = _operators(model, subgraphs)
    return TfliteFile(
        signatures=_signatures(model, subgraphs),
        operators=dict(operators.most_common()),
        not_built_in=tuple(sorted(custom)),
        weights=_weights(content, model, subgraphs),
        subgraphs=len(subgraphs),
    )


def operator_kinds(model: Table) -> tuple[list[str], set[str]]:
    """The name of each of a model's operator codes, and those of them that are custom."""
    names, custom = [], set()
    for code in model["operator_codes"] or []:
        # Numbers past 127 are in the newer field only.
        number = max(code["deprecated_builtin_code"], code["builtin_code"])
        name = _operator_names().get(number, f"operator {number}")
        if number == _CUSTOM:
            name = code["custom_code"] or "a custom operator without a name"
            custom.add(name)
        names.append(name)
    return names, custom


def _operators(model: Table, subgraphs: list[Table]) -> tuple[Counter[str], set[str]]:
    names, custom = operator_kinds(model)
    used = [
        _at(names, operator["opcode_index"])
        for graph in subgraphs
        for operator in graph["operators"] or []
    ]
    return Counter(used), custom & set(used)


def _signatures(model: Table, subgraphs: list[Table]) -> tuple[Signature, ...]:
    found = []
    for signature in model["signature_defs"] or []:
        graph = _at(subgraphs, signature["subgraph_index"])
        name = signature["signature_key"] or ""
        inputs, outputs = (_named(graph, signature, way) for way in ("inputs", "outputs"))
        found.append(Signature(name, inputs, outputs))
    if found:
        return tuple(found)
    inputs, outputs = (_named(subgraphs[0], None, way) for way in ("inputs", "outputs"))
    return (Signature("", inputs, outputs),)


def _named(graph: Table, signature: Table | None, way: str) -> tuple[TensorInfo, ...]:
    """The tensors that go in or come out, in the graph's order."""
    tensors, numbers = graph["tensors"] or [], graph[way]
    wanted = [] if numbers is None else numbers.tolist()
    entries = signature[way] or [] if signature is not None else []
    names = {int(entry["tensor_index"]): entry["name"] or "" for entry in entries}
    return tuple(_tensor(_at(tensors, number), names.get(number)) for number in wanted)


def _tensor(tensor: Table, name: str | None) -> TensorInfo:
    shape = tensor["shape_signature"]
    if shape is None or not len(shape):
        shape = tensor["shape"]
    sizes = [] if shape is None else shape.tolist()
    return TensorInfo(
        name=(tensor["name"] or "") if name is None else name,
        dtype=dtype_of(tensor),
        shape=tuple(None if size < 0 else size for size in sizes),
        quantisation=_quantisation(tensor["quantization"]),
    )


def _quantisation(parameters: Table | None) -> Quantisation | None:
    if parameters is None or parameters["scale"] is None or not len(parameters["scale"]):
        return None
    zero_point = parameters["zero_point"]
    return Quantisation(
        tuple(parameters["scale"].tolist()),
        (0,) if zero_point is None else tuple(zero_point.tolist()),
    )


def _weights(content: bytes, model: Table, subgraphs: list[Table]) -> dict[str, int]:
    sizes = [len(_content_of(content, buffer)) for buffer in model["buffers"] or []]
    dtypes: dict[int, str] = {}
    for graph in subgraphs:
        for tensor in graph["tensors"] or []:
            number = tensor["buffer"]
            if _at(sizes, number):
                dtypes.setdefault(number, dtype_of(tensor))
    totals: Counter[str] = Counter()
    for number, dtype in dtypes.items():
        totals[dtype] += sizes[number]
    return dict(totals.most_common())


def _content_of(content: bytes, buffer: Table) -> Any:
    """A buffer's bytes; those of a model past 2 GB lie behind the FlatBuffer."""
    if buffer["offset"] > 1:
        if buffer["offset"] + buffer["size"] > len(content):
            raise DamagedError("it ends before its content does")
        return memoryview(content)[buffer["offset"] :][: buffer["size"]]
    data = buffer["data"]
    return b"" if data is None else memoryview(data)


def _at(items: Sequence[Any], number: int) -> Any:
    if not 0 <= number < len(items):
        raise DamagedError(f"it names item {number} of {len(items)}")
    return items[number]


def dtype_of(tensor: Table) -> str:
    """The name of a tensor's dtype: `float32`, `int8` …"""
    return _dtype_names().get(tensor["type"], f"type {tensor['type']}")


@cache
def _operator_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return _constants(BuiltinOperator)


@cache
def _dtype_names() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import TensorType

    return {number: name.lower() for number, name in _constants(TensorType).items()}


def _constants(numbers: type) -> dict[int, str]:
    return {value: name for name, value in vars(numbers).items() if isinstance(value, int)}

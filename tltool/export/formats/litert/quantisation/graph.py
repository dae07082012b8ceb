"""The operators of a .tflite model: their kinds, what they compute on, and their names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tltool.export.formats.litert.file import dtype_of, model_table, operator_kinds
from tltool.export.formats.litert.flatbuffer import Table

# Where the int8 and the float part of a graph meet.
_BORDERS = {"QUANTIZE", "DEQUANTIZE"}
# What makes probabilities of logits.
_PROBABILITIES = {"SOFTMAX", "LOGISTIC"}
TABLES = frozenset({"EMBEDDING_LOOKUP", "GATHER"})
# Those that read a whole tensor of weights: in float they make the file larger.
WEIGHTED = frozenset(
    {
        "CONV_2D",
        "CONV_3D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "TRANSPOSE_CONV",
        *TABLES,
    }
)


@dataclass(frozen=True)
class Operator:
    """One operator of a graph.

    Attributes:
        kind: As LiteRT names it: "CONV_2D", "SOFTMAX" …
        name: Of its first output, which comes from the Keras layer's path.
        tensors: Numbers of the float tensors that go in and come out.
        source: Number of the first tensor that goes in.
        takes, gives: Numbers of all tensors that go in, and that come out.
        in_float: Whether it gives float numbers.
        weights: How many numbers its kernel or table holds; of other operators
            its second input.
    """

    kind: str
    name: str
    tensors: tuple[int, ...]
    source: int
    in_float: bool
    weights: int
    takes: tuple[int, ...] = ()
    gives: tuple[int, ...] = ()


def read_operators(content: bytes) -> tuple[Operator, ...]:
    """The operators of a model's graphs in the order in which they run.

    Raises:
        DamagedError: It is no .tflite file.
    """
    model = model_table(content)
    kinds, _ = operator_kinds(model)
    found = []
    for graph in model["subgraphs"] or []:
        tensors = graph["tensors"] or []
        floats = {i for i, tensor in enumerate(tensors) if dtype_of(tensor) == "float32"}
        for operator in graph["operators"] or []:
            ways = (operator["inputs"], operator["outputs"])
            into, out = ([] if way is None else way.tolist() for way in ways)
            found.append(
                Operator(
                    kind=kinds[operator["opcode_index"]],
                    name=tensors[out[0]]["name"] or "",
                    tensors=tuple(number for number in (*into, *out) if number in floats),
                    source=into[0] if into else -1,
                    in_float=bool(floats & set(out)),
                    weights=_weights(kinds[operator["opcode_index"]], into, tensors),
                    takes=tuple(into),
                    gives=tuple(out),
                )
            )
    return tuple(found)


def _weights(kind: str, inputs: Sequence[int], tensors: Sequence[Table]) -> int:
    place = 0 if kind == "GATHER" else 1
    if len(inputs) <= place or inputs[place] < 0:
        return 0
    shape = tensors[inputs[place]]["shape"]
    return 0 if shape is None else math.prod(shape.tolist())


def logits_tensor(content: bytes, result: str) -> int | None:
    """Number of the tensor that the softmax or sigmoid of an output takes; None where it has none.

    Args:
        content: The .tflite file.
        result: Name of the output.
    """
    tensor = _output_tensor(content, result)
    for operator in reversed(read_operators(content)):
        if tensor not in operator.gives:
            continue
        if operator.kind in _PROBABILITIES:
            return operator.source
        if operator.kind not in _BORDERS:
            return None
        tensor = operator.source
    return None


def beside(content: bytes, result: str) -> frozenset[str]:
    """Names of the operators that an output does not need, but others do.

    Args:
        content: The .tflite file.
        result: Name of the output.
    """
    needed, found = {_output_tensor(content, result)}, set()
    for operator in reversed(read_operators(content)):
        if needed.isdisjoint(operator.gives):
            found.add(operator.name)
        else:
            needed.update(operator.takes)
    return frozenset(found)


def _output_tensor(content: bytes, name: str) -> int:
    """Number of the tensor of an output; of the first where there is none of that name."""
    model = model_table(content)
    for signature in model["signature_defs"] or []:
        for entry in signature["outputs"] or []:
            if entry["name"] == name:
                return int(entry["tensor_index"])
    return int(model["subgraphs"][0]["outputs"].tolist()[0])


def kinds_in_float(content: bytes) -> dict[str, int]:
    """The operators of a model that compute in float: kind to how many, by name."""
    operators = read_operators(content)
    return dict(
        sorted(Counter(o.kind for o in operators if o.in_float and o.kind not in _BORDERS).items())
    )

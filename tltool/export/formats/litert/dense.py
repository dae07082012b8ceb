"""Dense layers of 8-bit weights with a scale for each output, in operators that old runtimes have.

FULLY_CONNECTED takes such weights, where the rest of the layer is in float, from TensorFlow Lite
2.17 on. With one scale for all outputs it runs in every runtime, and costs accuracy: of MiniLM with
77 classes 4 % of the answers changed in place of 1 %. Here the weights keep a scale for each
output, told to FULLY_CONNECTED as 1, and a MUL by the true scales follows: the same numbers.
"""

from __future__ import annotations

import copy
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

from tltool.export.formats.litert.file import IDENTIFIER
from tltool.support.errors import ExportError

_BIAS = 2  # Place among the inputs of a FULLY_CONNECTED, after what comes in and the weights.


def with_scales_outside(plain: bytes, channelled: bytes) -> bytes:
    """A model with the weights of another, a MUL by their scales after each dense layer.

    Args:
        plain: Its dense layers of 8-bit weights have one scale for all outputs; what the
            converter says of its operators' versions stays true.
        channelled: The same model, with a scale for each output.

    Raises:
        ExportError: They are not the same model.
    """
    model, other = (read_model_from_bytearray(bytes(file)) for file in (plain, channelled))
    if [len(graph.operators) for graph in model.subgraphs] != [
        len(graph.operators) for graph in other.subgraphs
    ]:
        raise ExportError("The converter gave two graphs for one model.")
    for graph, source in zip(model.subgraphs, other.subgraphs, strict=True):
        operators = []
        for operator, twin in zip(graph.operators, source.operators, strict=True):
            operators.append(operator)
            if _is_dense(model, operator) and len(scales := _scales(source, twin)) > 1:
                _take_weights(model, other, graph, source, operator, twin)
                operators.append(_multiply(model, graph, operator, scales))
        graph.operators = operators
    _drop_unread(model)
    builder = _Builder()
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """Puts what buffers hold where the schema of .tflite wants it: `force_align: 16`."""

    def CreateNumpyVector(self, x: Any) -> int:  # noqa: N802
        self.Prep(16, x.nbytes)
        start: int = super().CreateNumpyVector(x)
        return start


def _drop_unread(model: Any) -> None:
    """Empties the buffers that no tensor and no metadata names any more."""
    named = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    named |= {entry.buffer for entry in model.metadata or []}
    for number, buffer in enumerate(model.buffers):
        if number not in named:
            buffer.data = None


def _is_dense(model: Any, operator: Any) -> bool:
    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    return bool(code == schema.BuiltinOperator.FULLY_CONNECTED)


def _scales(graph: Any, operator: Any) -> np.ndarray[Any, Any]:
    """Of the weights, (outputs,); (1,) where all have one, (0,) where they are in float."""
    weights = graph.tensors[operator.inputs[1]]
    if weights.type != schema.TensorType.INT8 or weights.quantization is None:
        return np.zeros(0, np.float32)
    scales = np.asarray(weights.quantization.scale, np.float32)
    # An output without weights has any scale.
    return np.where(scales > 0, scales, np.float32(1))


def _take_weights(
    model: Any, other: Any, graph: Any, source: Any, operator: Any, twin: Any
) -> None:
    scales = _scales(source, twin)
    theirs = other.buffers[source.tensors[twin.inputs[1]].buffer].data
    weights = _given(model, graph, operator, 1, theirs)
    weights.quantization.scale, weights.quantization.zeroPoint = [1.0], [0]
    if len(operator.inputs) > _BIAS and operator.inputs[_BIAS] >= 0:
        bias = model.buffers[graph.tensors[operator.inputs[_BIAS]].buffer].data
        values = np.asarray(bias, np.uint8).view(np.float32) / scales
        _given(model, graph, operator, _BIAS, values.view(np.uint8))


def _multiply(model: Any, graph: Any, dense: Any, scales: np.ndarray[Any, Any]) -> Any:
    """The operator that follows: what the layer gave before, and its activation."""
    (output,) = dense.outputs
    raw, factors = copy.deepcopy(graph.tensors[output]), copy.deepcopy(graph.tensors[output])
    raw.name = _named(raw, "/unscaled")
    factors.name = _named(factors, "/scales")
    factors.shape, factors.shapeSignature = [len(scales)], None
    factors.buffer = _buffer(model, scales.view(np.uint8))
    dense.outputs = [len(graph.tensors)]
    options = schema.MulOptionsT()
    options.fusedActivationFunction = dense.builtinOptions.fusedActivationFunction
    dense.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    made = schema.OperatorT()
    made.opcodeIndex = _mul(model)
    made.inputs, made.outputs = [len(graph.tensors), len(graph.tensors) + 1], [output]
    made.builtinOptionsType, made.builtinOptions = schema.BuiltinOptions.MulOptions, options
    graph.tensors += [raw, factors]
    return made


def _mul(model: Any) -> int:
    """The number of MUL in its first version among a model's operator codes."""
    for number, code in enumerate(model.operatorCodes):
        if code.builtinCode == schema.BuiltinOperator.MUL and code.version <= 1:
            return number
    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = schema.BuiltinOperator.MUL
    made.version = 1
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1


def _given(model: Any, graph: Any, operator: Any, place: int, data: Any) -> Any:
    """Gives an operator another constant, and returns its tensor."""
    number = operator.inputs[place]
    tensor = graph.tensors[number]
    if sum(list(other.inputs).count(number) for other in graph.operators) > 1:
        tensor = copy.deepcopy(tensor)
        operator.inputs[place] = len(graph.tensors)
        graph.tensors.append(tensor)
    # The converter lets tensors of equal content share a buffer.
    tensor.buffer = _buffer(model, data)
    return tensor


def _buffer(model: Any, data: Any) -> int:
    made = schema.BufferT()
    made.data = np.asarray(data, np.uint8)
    model.buffers.append(made)
    return len(model.buffers) - 1


def _named(tensor: Any, suffix: str) -> bytes:
    return bytes(tensor.name) + suffix.encode()

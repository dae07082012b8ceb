"""Which operators the GPU delegate leaves to the processor.

`tf.lite.experimental.Analyzer` once said it; the wheels of TensorFlow call every model compatible
now (2.15 names WHERE, 2.18 and later ones do not). So the rules are here, those that need no more
than kinds, dtypes and shapes: `CheckGpuDelegateCompatibility` in
tensorflow/lite/tools/versioning/gpu_compatibility.cc.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from tltool.export.formats.litert.file import dtype_of, model_table, operator_kinds
from tltool.export.formats.litert.flatbuffer import Table

_KINDS = """
ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS CUMSUM
DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU
EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM
MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE
REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STABLEHLO_CLAMP STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE
TRANSPOSE_CONV
"""
_FLOATS = {"float16", "float32"}
_CASTS = {("float32", "int32"), ("int32", "float32")}


def left_by_gpu(content: bytes) -> dict[str, int]:
    """The operators that the GPU delegate does not take: kind to how many, most often first.

    Raises:
        DamagedError: It is no .tflite file.
    """
    model = model_table(content)
    kinds, _ = operator_kinds(model)
    known = set(_KINDS.split())
    left: Counter[str] = Counter()
    for graph in model["subgraphs"] or []:
        tensors = graph["tensors"] or []
        for operator in graph["operators"] or []:
            kind = kinds[operator["opcode_index"]]
            into, out = (
                [tensors[number] for number in operator[way] if number >= 0]
                for way in ("inputs", "outputs")
            )
            if kind not in known or not _takes(kind, into, out):
                left[kind] += 1
    return dict(left.most_common())


def _takes(kind: str, into: list[Table], out: list[Table]) -> bool:
    """The conditions on dtypes and shapes that models of texts meet with."""
    dtypes = [dtype_of(tensor) for tensor in into]
    match kind:
        case "CAST":
            pair = (dtypes[0], dtype_of(out[0]))
            masks = "bool" in pair and bool(_FLOATS & set(pair))
            return masks or pair[0] == pair[1] or pair in _CASTS
        case "GATHER" | "EMBEDDING_LOOKUP":
            indices = 1 if kind == "GATHER" else 0
            return len(_shape(into[indices])) == 1 and dtypes[indices] == "int32"
        case "MUL":
            first, second = map(_shape, into)
            smaller = {np.sign(a - b) for a, b in zip(first, second, strict=False)}
            return len(first) != len(second) or not {-1, 1} <= smaller
        case "SELECT" | "SELECT_V2":
            return set(dtypes[1:]) <= _FLOATS
        case "SLICE" | "STRIDED_SLICE":
            return len(_shape(into[0])) in {3, 4}
    return True


def _shape(tensor: Table) -> list[int]:
    shape = tensor["shape"]
    return [] if shape is None else shape.tolist()
